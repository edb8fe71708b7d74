"""What is read of an error answer is bounded, whatever its size, its nesting and its types."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.error_shapes import MAX_DEPTH, MAX_DETAIL, MAX_DETAILS, MAX_VALUES, MAX_WORDS, read_refusal

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["error", "message", "detail", "code", "errors", "loc", "msg", "x"]), inner)
    ),
    max_leaves=20,
)


def nested(depth: int, inner: Any) -> Any:
    for _ in range(depth):
        inner = {"error": inner}
    return inner


@given(JSON)
def test_any_json_is_read_without_a_fault(value: Any) -> None:
    found = read_refusal(value)
    assert found is None or (found.text and isinstance(found.text, str))


def test_words_are_found_down_to_a_depth() -> None:
    assert read_refusal(nested(MAX_DEPTH, {"message": "deep"})) is not None
    assert read_refusal(nested(MAX_DEPTH + 1, {"message": "deep"})) is None


def test_the_message_and_each_detail_are_cut() -> None:
    found = read_refusal({"error": {"message": "m" * 9999, "raw": "r" * 9999}})
    assert found is not None
    assert (len(found.text), len(found.details["raw"])) == (MAX_WORDS, MAX_DETAIL)


def test_the_details_are_bounded_together() -> None:
    many = {f"k{number}": [[number] * 99] * 99 for number in range(99)}
    found = read_refusal({"error": {"message": "m", **many}})
    assert found is not None
    assert len(orjson.dumps(found.details)) < 40 * MAX_VALUES


def test_the_texts_of_the_details_are_bounded_together() -> None:
    found = read_refusal({"error": {"message": "m", **{f"k{number}": "r" * 9999 for number in range(19)}}})
    assert found is not None
    assert sum(map(len, found.details.values())) + sum(map(len, found.details)) == MAX_DETAILS


@pytest.mark.parametrize("value", [None, 1, True, [], {}, "", "  ", [[]], {"error": None}, {"error": {}}, {"x": 1}])
def test_a_value_without_words_has_no_message(value: Any) -> None:
    assert read_refusal(value) is None


def test_what_no_client_can_read_is_replaced() -> None:
    found = read_refusal({"error": {"message": "a\x00b\ud800c\nd"}})
    assert found is not None
    assert found.text == "a b?c\nd"
