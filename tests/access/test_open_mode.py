"""The rule of open mode: which names of header fields mark what a proxy has forwarded, and which hosts are served."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.cors import Cors
from gateway.access.open_mode import fault_of, is_allowed, is_proxy_mark

NAMES = tomllib.loads((Path(__file__).parents[1] / "cases" / "proxy_marks.toml").read_text())
ALLOWED = ("gateway.lan", "*.dev.lan", "[fd00::1]", "10.0.0.5")


@pytest.mark.parametrize("spell", [str, str.lower, str.upper])
def test_what_a_proxy_adds_is_told_from_what_clients_send(spell: type[str]) -> None:
    assert [name for name in NAMES["marks"] if not is_proxy_mark(spell(name))] == []
    assert [name for name in NAMES["ordinary"] if is_proxy_mark(spell(name))] == []


@pytest.mark.parametrize("name", NAMES["marks"])
def test_a_mark_beside_a_good_host_and_origin_is_the_fault(name: str) -> None:
    fault = fault_of({"Host": "localhost", "Origin": "http://localhost", name: ""}, (), Cors(()))
    assert fault is not None
    assert (fault.proxy, fault.header) == (True, name)


@given(st.text(alphabet="locahst.evi127[]:@/#%_-", max_size=30))
def test_no_other_name_is_taken_for_this_machine(host: str) -> None:
    if is_allowed(host, ALLOWED):
        bare = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        bare = bare.lower().removesuffix(".")
        assert bare == "localhost" or bare.endswith(".localhost") or bare.startswith(("127.", "["))
