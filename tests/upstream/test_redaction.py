"""No secret of ours is left in what an upstream says, in whatever form, and what is no secret stays."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.redaction import REDACTED, Redactor

KEY = "sk-never-to-be-told-7f3a"
PASSWORD = "p@ss/word+x"
REDACTOR = Redactor([KEY, PASSWORD, base64.b64encode(b"user:hidden-word-12").decode()])


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (KEY, "[redacted]"),
        (f"key={KEY}.", "key=[redacted]."),
        (KEY.upper(), "[redacted]"),
        ("sk-ne***7f3a", "[redacted]"),
        ("sk-never...7f3a is wrong", "[redacted] is wrong"),
        ("sk-never\u2026", "[redacted]"),
        ("****7f3a", "[redacted]"),
        ("sk-n****************", "[redacted]"),
        ("a key ending in 7f3a", "a key ending in [redacted]"),
        ("last 4: 7f3a", "last 4: [redacted]"),
        ("sk-never-to-be-told", "[redacted]"),
        ("told-7f3a", "[redacted]"),
        ("the beginning, cut: sk-never", "the beginning, cut: [redacted]"),
        ("p%40ss%2Fword%2Bx", "[redacted]"),
        ("p@ss\\/word+x", "[redacted]"),
        (base64.b64encode(f":{KEY}".encode()).decode(), "[redacted]"),
        ("dXNlcjpoaWRkZW4td29yZC0xMg==", "[redacted]"),
        ("user:hidden-word-12 hidden-word-12", "[redacted] [redacted]"),
        ("Authorization: Bearer abcdefgh1234", "Authorization: [redacted]"),
        ("sk-proj-somebody-else-0123456789", "[redacted]"),
    ],
)
def test_a_secret_is_taken_out(text: str, cleaned: str) -> None:
    assert REDACTOR.clean(text) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "the model gpt-4o-mini-2024-07-18 was never told",
        "**bold** and ... dots, `max_completion_tokens` # heading",
        "ending in tears",
        "a****z",
        "https://platform.example.com/account/api-keys",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert REDACTOR.clean(text) == text


def test_names_and_values_are_cleaned_at_any_depth() -> None:
    value = {KEY: [KEY, {"a": KEY, "n": 1, "none": None}], "b": True}
    assert REDACTOR.clean_value(value) == {REDACTED: [REDACTED, {"a": REDACTED, "n": 1, "none": None}], "b": True}


def test_without_a_secret_words_stay() -> None:
    assert Redactor([]).clean("your api key: ***abcd") == "your api key: ***abcd"


def test_a_very_short_secret_is_taken_out_where_it_stands_alone() -> None:
    assert Redactor(["k"]).clean("the key k is a key") == "the key [redacted] is a key"


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_secret_is_taken_out_of_any_text(before: str, after: str) -> None:
    assert KEY not in REDACTOR.clean(f"{before}{KEY}{after}")
