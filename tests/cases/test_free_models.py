"""A key without money is served what costs nothing, in every dialect, and refused what costs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import MODEL, QUICK, body
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import call
from tests.kit.keyring import FREE, Keyring
from tests.kit.upstreams import Upstream, Upstreams

HI = [{"role": "user", "content": "hi"}]
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": body(QUICK),
    "/v1/completions": {"prompt": "hi"},
    "/v1/embeddings": {"input": "hi"},
    "/v1/messages": {"messages": HI, "max_tokens": 9},
    "/v1/responses": {"input": "hi"},
}


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory, alpha: Upstream) -> Keyring:
    return Keyring(tmp_path_factory.mktemp("free"), [(alpha, [MODEL])])


@pytest.fixture(scope="module")
def gateway(logs: Path, keyring: Keyring) -> Iterator[LocalGateway]:
    with keyring.serving(logs) as gateway:
        yield gateway


def test_a_key_without_money_is_served_what_costs_nothing(gateway: LocalGateway, keyring: Keyring) -> None:
    key = keyring.create(balance_usd="0")

    def status(path: str, asked: dict[str, Any], **more: Any) -> int:
        return call(gateway, "POST", path, {**asked, **more}, Authorization=key.bearer).status

    for path, asked in ASKED.items():
        assert (path, status(path, asked, model=FREE)) == (path, 200)
        assert (path, status(path, asked, model=MODEL)) == (path, 402)
    assert status("/v1/chat/completions", body(QUICK), model=FREE, stream=True) == 200
    assert status("/v1/messages/count_tokens", {"messages": HI}, model=MODEL) == 200
    assert keyring.balance(key) == 0


def test_a_key_without_money_is_served_by_the_upstream_that_asks_for_none(
    logs: Path, tmp_path: Path, alpha: Upstream, upstreams: Upstreams
) -> None:
    """The first upstream of the model has a price, and the last one has none to pay."""
    free = upstreams.start("free", tokens=8)
    keyring = Keyring(tmp_path, [(alpha, [MODEL, FREE]), (free, [MODEL])])
    poor, rich = keyring.create(balance_usd="0"), keyring.create(balance_usd="1")
    with keyring.serving(logs) as gateway:
        for path, whole in ASKED.items():
            asked = {name: value for name, value in whole.items() if name != "model"}
            for fields in ({"model": FREE}, {"gateway": {"models": [MODEL, FREE]}}):
                answers = [
                    call(gateway, "POST", path, {**asked, **fields}, Authorization=key.bearer) for key in (poor, rich)
                ]
                found = [(answer.status, answer.headers.get("x-upstream")) for answer in answers]
                assert (path, found) == (path, [(200, free.name), (200, alpha.name)])
            only = {"gateway": {"routing": {"providers": [alpha.name]}}, "model": FREE}
            assert call(gateway, "POST", path, {**asked, **only}, Authorization=poor.bearer).status == 402
    assert keyring.balance(poor) == 0
