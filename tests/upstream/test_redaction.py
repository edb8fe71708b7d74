"""No secret of ours is left in what an upstream says, in whatever form, and what is no secret stays."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.redaction import REDACTED, Redactor

KEY = "sk-never-to-be-told-7f3a"
PASSWORD = "p@ss/word+x"
SHORT = "5f4-x9q2-w7k1-m3"
REDACTOR = Redactor([KEY, PASSWORD, SHORT, base64.b64encode(b"user:hidden-word-12").decode()])


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
        ("Authorization: Basic YWJjZGVmZ2g6MTIzNA==", "Authorization: [redacted]"),
        ("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzIn0.c2lnbmF0dXJl", "token [redacted]"),
        ("SK-NE***7F3A, SK-NEVER-TO-BE-TOLD", "[redacted], [redacted]"),
        ("see /keys/7f3a/x, 7f3a", "see /keys/[redacted]/x, [redacted]"),
        ("7F3A is how it ends", "[redacted] is how it ends"),
        ("https://host/path?sk-never-to", "https://host/path?[redacted]"),
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
        "what?? basic authentication is asked for: Basic realm",
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


CODES = list(KEY.encode())


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        (list(KEY), [REDACTED] * len(KEY)),
        (CODES[:20], [REDACTED] * 20),
        ({"type": "Buffer", "data": CODES}, {"type": "Buffer", "data": [REDACTED] * len(KEY)}),
        (dict(zip("abcd", ["5f4-x", "9q2-w", "7k1-m", "3"], strict=True)), dict.fromkeys("abcd", REDACTED)),
        ({str(n): letter for n, letter in enumerate(KEY)}, {str(n): REDACTED for n in range(len(KEY))}),
        ({str(n): code for n, code in enumerate(CODES)}, {str(n): REDACTED for n in range(len(KEY))}),
        ([[letter] for letter in KEY], [[REDACTED]] * len(KEY)),
        ([{"c": letter, "ok": True} for letter in KEY], [{"c": REDACTED, "ok": REDACTED}] * len(KEY)),
        ([f"{code:02x}" for code in CODES], [REDACTED] * len(KEY)),
        (dict.fromkeys(["5f4-x", "9q2-w", "7k1-m"], 1), {REDACTED: REDACTED}),
        (
            {"last4": 7, "codes": [1, 2, 3], "words": ["a", "b"]},
            {"last4": 7, "codes": [1, 2, 3], "words": ["a", "b"]},
        ),
    ],
)
def test_a_secret_that_is_spread_over_values_is_taken_out(value: Any, cleaned: Any) -> None:
    assert REDACTOR.clean_value(value) == cleaned


def test_the_last_digits_of_a_key_as_a_number_are_taken_out() -> None:
    assert Redactor(["key-abcdef-123498"]).clean_value({"last4": 3498, "code": 4000}) == {
        "last4": REDACTED,
        "code": 4000,
    }


@pytest.mark.parametrize(
    "text", ["gpt-4o", "hf-models-of-somebody-else", "sk-models/of-a-kind-12345678", "7f3a", "be-told"]
)
def test_a_name_that_holds_no_secret_of_ours_is_none(text: str) -> None:
    assert not REDACTOR.finds_in(text)
    assert REDACTOR.finds_in(f"{text}-{KEY}")


def test_without_a_secret_words_stay() -> None:
    assert Redactor([]).clean("your api key: ***abcd") == "your api key: ***abcd"


def test_a_very_short_secret_is_taken_out_where_it_stands_alone() -> None:
    assert Redactor(["k"]).clean("the key k is a key") == "the key [redacted] is a key"


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_secret_is_taken_out_of_any_text(before: str, after: str) -> None:
    assert KEY not in REDACTOR.clean(f"{before}{KEY}{after}")
