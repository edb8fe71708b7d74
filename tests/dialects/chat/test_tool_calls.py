"""Tool calls of a stream are told apart, and the fragments of one call stay together."""

from typing import Any

import pytest

from gateway.dialects.chat.tool_calls import MAX_CALLS, ToolCalls, complete_calls


def call(name: str = "", arguments: str | None = None, **more: Any) -> dict[str, Any]:
    function = {**({"name": name} if name else {}), **({} if arguments is None else {"arguments": arguments})}
    return {**more, "function": function}


def numbers(*events: list[dict[str, Any]]) -> list[int]:
    calls = ToolCalls()
    for event in events:
        calls.number(event, "call_x")
    return [fragment["index"] for event in events for fragment in event]


WHOLE = '{"x":1}'


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        # without index and id
        ([[call("f", WHOLE), call("g", WHOLE)]], [0, 1]),
        ([[call("f", WHOLE)], [call("g", WHOLE)]], [0, 1]),
        ([[call("f", WHOLE)], [call("f", WHOLE)]], [0, 1]),
        ([[call("f"), call("f")]], [0, 1]),
        (
            [[call("f", "")], [call("", '{"x"')], [call("", ":1}")], [call("g", "")], [call("", "{}")]],
            [0, 0, 0, 1, 1],
        ),
        ([[call("f", "")], [call("f", '{"x"')], [call("f", ":1}")]], [0, 0, 0]),
        # without index
        ([[call("f", WHOLE, id="a")], [call("f", WHOLE, id="b")], [call("", "{}", id="a")]], [0, 1, 0]),
        ([[call("f", "", id="a")], [call("", "{", id="b")], [call("", "}")]], [0, 0, 0]),
        # one index for all
        ([[call("f", WHOLE, index=0, id="a"), call("g", WHOLE, index=0, id="b")]], [0, 1]),
        ([[call("f", "", index=0, id="a")], [call("", "{}", index=0)], [call("g", "", index=0, id="b")]], [0, 0, 1]),
        ([[call("f", "", index=0, id="a"), call("g", "", index=0, id="b")], [call("", "{}", index=0)]], [0, 1, 1]),
        ([[call("f", WHOLE, index=0)], [call("g", WHOLE, index=0)]], [0, 1]),
        ([[call("f", WHOLE, index=0, id=""), call("f", WHOLE, index=0, id="")]], [0, 1]),
        # as it should be
        ([[call("f", "", index=0, id="a"), call("g", "", index=1, id="b")], [call("", "{}", index=0)]], [0, 1, 0]),
        ([[call("f", "", index=1, id="a")], [call("g", "", index=0, id="b")], [call("", "{}", index=1)]], [1, 0, 1]),
        ([[call("f", "", index=0, id="a")], [call("f", "{", index=0, id="a")]], [0, 0]),
        # a name in two pieces, and a new id for each fragment
        ([[call("get_", index=0, id="a")], [call("time", index=0)], [call("", "{}", index=0)]], [0, 0, 0]),
        (
            [[call("f", "", index=0, id="a")], [call("", "{", index=0, id="b")], [call("", "}", index=0, id="c")]],
            [0] * 3,
        ),
    ],
)
def test_each_call_has_an_index_of_its_own(events: list[list[dict[str, Any]]], expected: list[int]) -> None:
    assert numbers(*events) == expected


@pytest.mark.parametrize("index", [None, "0", True, 0.0, -1])
def test_an_index_that_is_none_is_replaced(index: Any) -> None:
    assert numbers([call("f", index=index), call("g", index=index)]) == [0, 1]


def test_a_call_without_id_gets_one_and_keeps_it_to_itself() -> None:
    fragments = [call("f", WHOLE), call("g", WHOLE), call("h", WHOLE, id="own", type="function")]
    assert ToolCalls().number(fragments, "call_x")
    assert [(fragment["id"], fragment["type"]) for fragment in fragments] == [
        ("call_x_0", "function"),
        ("call_x_1", "function"),
        ("own", "function"),
    ]
    assert complete_calls([call("f")], "call_x")
    assert not complete_calls([call("f", id="a", type="function")], "call_x")


def test_what_conforms_is_left_alone() -> None:
    calls = ToolCalls()
    assert not calls.number([call("f", "", index=0, id="a", type="function")], "call_x")
    assert not calls.number([call("", "{}", index=0)], "call_x")


def test_one_call_beyond_the_limit_is_refused() -> None:
    calls = ToolCalls()
    for _ in range(MAX_CALLS):
        calls.number([call("f", WHOLE)], "call_x")
    with pytest.raises(ValueError, match="more than 512 tool calls"):
        calls.number([call("f", WHOLE)], "call_x")
