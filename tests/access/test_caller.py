"""In open mode a key names an owner; without one it is the machine's own operator, who sees everything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.caller import Caller, caller_of

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=80)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer   ", "Basic dXNlcjpwYXNz", "sk-naked-key"])
def test_who_sends_no_key_owns_nothing_and_sees_everything(header: str | None) -> None:
    operator = caller_of(header)
    assert operator == Caller("", everything=True)
    assert operator.may_see("")
    assert operator.may_see(caller_of("Bearer a").id)


@given(KEYS, KEYS)
def test_a_key_sees_its_own_and_no_others(one: str, other: str) -> None:
    first, second = caller_of(f"Bearer {one}"), caller_of(f"Bearer {other}")
    assert first.may_see(caller_of(f"Bearer {one}").id)
    assert not first.everything
    assert not first.may_see("")
    assert first.may_see(second.id) == (one == other)


@pytest.mark.parametrize("header", ["bearer key", "BEARER key", "Bearer  key", "Bearer key "])
def test_the_spelling_of_the_scheme_does_not_matter(header: str) -> None:
    assert caller_of(header) == caller_of("Bearer key")


@given(KEYS)
def test_an_owner_is_named_without_its_key(key: str) -> None:
    owner = caller_of(f"Bearer {key}").id
    assert owner.startswith("open_")
    assert len(key) < 4 or key not in owner


def test_a_key_that_is_not_ascii_names_an_owner_too() -> None:
    assert caller_of("Bearer schlüssel").id.startswith("open_")
    assert caller_of("Bearer k\udce9y").id.startswith("open_")  # as a server hands over bytes that are not UTF-8
