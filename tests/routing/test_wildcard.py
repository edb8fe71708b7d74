"""Wildcards: which names fit, and what their `*` stands for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.wildcard import MAX_NAME_CHARACTERS, Wildcard


@pytest.mark.parametrize(
    ("model_id", "name", "rest"),
    [
        ("gpt-*", "gpt-4o", "4o"),
        ("gpt-*", "gpt-", None),
        ("gpt-*", "GPT-4o", None),
        ("gpt-*", "o-gpt-4o", None),
        ("*", "anything/at:all", "anything/at:all"),
        ("*", "", None),
        ("*-latest", "claude-latest", "claude"),
        ("a*a", "a", None),
        ("a*a", "aa", None),
        ("a*a", "aba", "b"),
        ("openai/*", "openai/gpt-4o", "gpt-4o"),
        ("gpt-*", "gpt-*", None),
        ("gpt-*", "gpt-4 o", None),
        ("gpt-*", "gpt-4\no", None),
        ("gpt-*", "gpt-\ud800", None),
        ("gpt-*", "gpt-\u200b", None),
        ("*", "x" * MAX_NAME_CHARACTERS, "x" * MAX_NAME_CHARACTERS),
        ("*", "x" * (MAX_NAME_CHARACTERS + 1), None),
    ],
)
def test_a_name_fits_or_not(model_id: str, name: str, rest: str | None) -> None:
    assert Wildcard.parse(model_id).rest(name) == rest


@given(st.text("ab"), st.text("ab"), st.text("ab", min_size=1))
def test_the_star_stands_for_what_was_put_in_its_place(before: str, behind: str, rest: str) -> None:
    assert Wildcard.parse(f"{before}*{behind}").rest(before + rest + behind) == rest
