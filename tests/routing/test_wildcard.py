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
        # A secret that a client puts in the place of a model would stand in the log, in the ledger and on pages.
        ("open/*", "open/rg_CjKzP0VVvULVxp87FIOHc3J127f7QZpaO", None),
        ("*", "rgv_k1_1796062302_c3RyZWFtOnN0X2E.c2lnbmF0dXJl", None),
        ("*", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl", None),
        ("*", "key=sk-proj-0123456789abcdefABCDEF", None),
        ("*", "AIzaSyA0123456789abcdefghijklmnopqrstuv", None),
        ("*", "xai-grok-4-fast-reasoning-0709", "xai-grok-4-fast-reasoning-0709"),
        ("*", "hf-internal-testing/tiny-random-Llama-3", "hf-internal-testing/tiny-random-Llama-3"),
        ("*", "sk-hynix/A.X-4.0-Light", "sk-hynix/A.X-4.0-Light"),
        ("*", "x" * MAX_NAME_CHARACTERS, "x" * MAX_NAME_CHARACTERS),
        ("*", "x" * (MAX_NAME_CHARACTERS + 1), None),
    ],
)
def test_a_name_fits_or_not(model_id: str, name: str, rest: str | None) -> None:
    assert Wildcard.parse(model_id).rest(name) == rest


@given(st.text("ab"), st.text("ab"), st.text("ab", min_size=1))
def test_the_star_stands_for_what_was_put_in_its_place(before: str, behind: str, rest: str) -> None:
    assert Wildcard.parse(f"{before}*{behind}").rest(before + rest + behind) == rest
