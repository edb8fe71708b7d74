"""An exception is told with its type, place and message, and without the values that it quotes."""

import json
from collections.abc import Callable

import pytest

from gateway.observe.told_exception import MAX_CHAIN, MAX_WORDS, told

SECRET = "a secret word"


def raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("call", "last"),
    [
        (lambda: int(SECRET), "ValueError: invalid literal for int() with base 10: '...'"),
        (lambda: int(SECRET.encode() + b"'"), "ValueError: invalid literal for int() with base 10: '...'"),
        (lambda: {"a": 1}[SECRET], "KeyError"),
        (lambda: ["a"].index(SECRET), "ValueError: '...' is not in list"),
        (lambda: json.loads(SECRET), "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        (lambda: None.secret, "AttributeError: 'NoneType' object has no attribute 'secret'"),  # type: ignore[attr-defined]
        (lambda: SECRET + 1, 'TypeError: can only concatenate str (not "int") to str'),  # type: ignore[operator]
    ],
)
def test_the_values_that_python_quotes_are_not_told(call: Callable[[], object], last: str) -> None:
    text = told(raised(call))
    assert text.splitlines()[-1] == last
    assert SECRET not in text
    assert text.startswith("Traceback (most recent call last):\n")


@pytest.mark.parametrize("words", [f"no: '{SECRET}", f'no: "{SECRET}\\"', f"no: b'{SECRET}'"])
def test_a_quotation_without_an_end_is_not_told_either(words: str) -> None:
    assert told(RuntimeError(words)) == "RuntimeError: no: '...'"


def test_a_long_message_is_cut() -> None:
    assert told(RuntimeError("x" * (MAX_WORDS + 1))) == f"RuntimeError: {'x' * MAX_WORDS}"


def test_the_exceptions_that_led_to_it_are_told_before_it() -> None:
    error: BaseException = raised(lambda: int(SECRET))
    for number in range(MAX_CHAIN + 1):
        before, error = error, RuntimeError(f"fault {number}")
        error.__context__ = before
    text = told(error)
    assert text.splitlines()[-1] == f"RuntimeError: fault {MAX_CHAIN}"
    assert text.count("and then:") == MAX_CHAIN - 1
    assert SECRET not in text
