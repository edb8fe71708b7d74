"""The texts of a request are counted: how many there are, and the tokens of all that goes upstream."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.request_body import RequestBody
from gateway.dialects.text_input import InputReading, TextInput, check_input, count_input
from gateway.errors import InvalidParameter

PARAMETERS = ("model", "n")


def counted(content: bytes) -> TextInput:
    return count_input(RequestBody.read(content), "input", PARAMETERS)


def counted_in_steps(content: bytes) -> TextInput:
    reading = InputReading(content, "input")
    while not reading.step():
        pass
    return count_input(reading.body(), "input", PARAMETERS)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", (1, 0)),
        ("four", (1, 1)),
        ("five!", (1, 2)),
        ("\u00e9\u00e9\u00e9", (1, 2)),
        (["four", "four"], (2, 2)),
        ([1, 2, 3], (1, 3)),
        ([[1, 2], [3]], (2, 3)),
        ([1, "four", 2], (1, 3)),
        ([[1, 2], "four"], (2, 3)),
        ({"prompt_string": "a"}, (1, 6)),
        ([{"image": "aaaa"}, "four"], (2, 5)),
        ([True], (1, 1)),
        ([[]], (1, 1)),
    ],
)
def test_texts_count_by_their_bytes_and_tokens_as_tokens(value: Any, found: tuple[int, int]) -> None:
    assert counted(orjson.dumps({"model": "m", "n": 3, "input": value})) == found


def test_what_stands_beside_the_input_counts_but_for_usual_parameters_and_our_own_fields() -> None:
    assert counted(b'{"model":"m","n":7,"input":"four","gateway":{"metadata":{"a":"long long long"}}}') == (1, 1)
    assert counted(b'{"model":"m","input":"four","suffix":"one"}').tokens == 1 + 4
    assert counted(b'{"model":"%b","input":"four"}' % (b"m" * 400)).tokens > 100


def test_a_member_that_stands_twice_counts_twice() -> None:
    assert counted(b'{"input":["four","four"],"input":"four"}') == (2, 3)
    assert counted(b'{"inpu\\u0074":[1,2,3],"input":"four"}') == (1, 4)


@given(
    st.lists(st.integers(0, 99_999), min_size=1)
    | st.lists(st.lists(st.integers(0, 99_999), min_size=1), min_size=1)
    | st.lists(st.text(max_size=4).filter(str.isascii), min_size=1)
)
def test_a_body_that_is_read_in_steps_counts_the_same_texts(value: list[Any]) -> None:
    content = orjson.dumps({"model": "m", "input": value})
    at_once, in_steps = counted(content), counted_in_steps(content)
    assert in_steps.texts == at_once.texts
    assert in_steps.tokens >= at_once.tokens


def test_a_long_list_of_tokens_counts_them_all_in_short_steps() -> None:
    tokens = list(range(100_000, 400_000))
    content = orjson.dumps({"model": "m", "input": tokens})
    assert counted_in_steps(content).texts == 1
    assert len(tokens) <= counted_in_steps(content).tokens <= len(tokens) + 20
    many = orjson.dumps({"model": "m", "input": [[1, 2, 3]] * 30_000})
    assert counted_in_steps(many).texts == 30_000


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "input: is required"),
        ({"input": None}, "input: is required"),
        ({"messages": []}, "input: is required (a body with `messages` is for another path)"),
        ({"input": 4}, "input: Input should be a text or a list"),
        ({"input": True}, "input: Input should be a text or a list"),
        ({"input": []}, "input: List should have at least 1 item after validation, not 0"),
    ],
)
def test_a_body_without_texts_is_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check_input(document, "input")
    assert (caught.value.message, caught.value.param) == (message, "input")


@pytest.mark.parametrize("value", ["", "a", ["a"], [1], [[1]], {"prompt_string": "a"}])
def test_every_form_of_texts_is_taken(value: Any) -> None:
    check_input({"input": value}, "input")
