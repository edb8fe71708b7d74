"""A request for a message: a bad field is named, what the gateway does not know passes, byte by byte."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.body_changes import BodyChanges
from gateway.dialects.count_tokens.dialect import COUNT_TOKENS
from gateway.dialects.extension import GATEWAY_FIELDS
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.messages.request import MessageRequest
from gateway.dialects.request_body import BodyReading, Content, LongContent
from gateway.errors import ClientError, InvalidParameter

TURNS = [{"role": "user", "content": "hi"}]
GOOD: dict[str, Any] = {"model": "claude", "max_tokens": 64, "messages": TURNS}
DIALECTS = pytest.mark.parametrize("dialect", [MESSAGES, COUNT_TOKENS], ids=["messages", "count_tokens"])


def parsed(**fields: Any) -> MessageRequest:
    return MESSAGES.parse(orjson.dumps({**GOOD, **fields}))


def whole(content: Content) -> bytes:
    """The bytes of a body for an upstream."""
    return b"".join(map(bytes, content.buffers())) if isinstance(content, LongContent) else content


def sent(content: bytes, model: str = "m", changes: BodyChanges | None = None) -> bytes:
    request = MESSAGES.parse(content)
    return whole(request.upstream_body(model, streamed=request.streamed, include_usage=True, changes=changes))


def test_a_request_says_what_the_gateway_acts_on() -> None:
    request = parsed(stream=True)
    assert (request.streamed, request.model_ids(), request.models_field()) == (True, ["claude"], "model")
    assert (request.max_output_tokens(9), request.only_model(), request.wants_usage()) == (64, "claude", False)
    assert MESSAGES.parse(orjson.dumps({"model": "claude", "messages": TURNS})).max_output_tokens(9) == 9


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("model", {"model": 4}),
        ("model", {"model": ""}),
        ("model", {"model": None}),
        ("messages", {"messages": None}),
        ("messages", {"messages": []}),
        ("messages", {"messages": "hi"}),
        ("messages[1]", {"messages": [*TURNS, "hi"]}),
        ("gateway", {"gateway": []}),
        ("routing", {"routing": "speed"}),
        ("gateway.models", {"gateway": {"models": ["b"]}}),
    ],
)
@DIALECTS
def test_a_bad_field_is_named(dialect: Any, param: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter) as caught:
        dialect.parse(orjson.dumps({**GOOD, **fields}))
    assert (caught.value.param, caught.value.status) == (param, 400)


def test_a_body_of_the_responses_api_is_refused_by_the_field_that_it_lacks() -> None:
    with pytest.raises(InvalidParameter, match="messages: is required"):
        MESSAGES.parse(b'{"model":"m","input":"hi","stream":true}')


@pytest.mark.parametrize("stream", ["true", 1])
def test_a_stream_that_is_no_truth_value_is_refused(stream: Any) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parsed(stream=stream)
    assert caught.value.param == "stream"


@DIALECTS
@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a":' * 300 + b"1" + b"}" * 300])
def test_what_is_no_object_is_refused(dialect: Any, content: bytes) -> None:
    with pytest.raises(ClientError):
        dialect.parse(content)


@pytest.mark.parametrize("name", GATEWAY_FIELDS)
def test_what_is_for_the_gateway_does_not_go_upstream(name: str) -> None:
    value: Any = ["a"] if name == "models" else {"tags": []}
    content = orjson.dumps({"x": 1, name: value, **GOOD})
    assert orjson.loads(sent(content)) == {"x": 1, **GOOD, "model": "m"}


def test_models_of_the_extension_are_asked_for() -> None:
    request = MESSAGES.parse(orjson.dumps({"messages": TURNS, "gateway": {"models": ["a", "b"]}}))
    assert (request.model_ids(), request.models_field()) == (["a", "b"], "gateway.models")
    assert orjson.loads(whole(request.upstream_body("a", streamed=False, include_usage=False))) == {
        "model": "a",
        "messages": TURNS,
    }


JSON_TEXTS = st.recursive(
    st.sampled_from(
        ["null", "true", "1.0", "1e3", "-0", "12345678901234567890123456789", '"\\u0041\\/\\ud83d"', '"é😀"', "1E+2"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda found: "[ " + " ,".join(found) + "]")
        | st.lists(st.tuples(st.sampled_from(["a", "a", "type", "model"]), inner), max_size=3).map(
            lambda found: "{" + ",".join(f'"{name}" :{value}' for name, value in found) + " }"
        )
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["system", "tools", "thinking", "x", "x", "max_tokens", "metadata", "caf\\u00e9", "stop_sequences"]
)
MEMBERS = st.lists(st.tuples(NAMES, JSON_TEXTS), max_size=5)
BLANKS = st.sampled_from(["", " ", "\n\t"])


@given(MEMBERS, MEMBERS, BLANKS, st.booleans())
def test_the_body_goes_upstream_byte_by_byte_but_for_the_model(
    before: list[tuple[str, str]], after: list[tuple[str, str]], blank: str, is_long: bool
) -> None:
    text = "A" * 70_000 if is_long else "hi"
    messages = f'[{{"role":"user","content":"{text}"}}]'

    def body(model: str) -> bytes:
        members = [*before, ("model", model), ("messages", messages), ("stream", "true"), *after]
        inner = f",{blank}".join(f'"{name}"{blank}:{blank}{value}' for name, value in members)
        return f"{blank}{{{inner}}}{blank}".encode()

    came = body('"cl\\u0061ude"')
    if is_long:
        reading = MESSAGES.begin_reading(came)
        while not reading.step():
            pass
        request = MESSAGES.parse(reading.body())
    else:
        request = MESSAGES.parse(came)
    content = whole(request.upstream_body("claude-upstream", streamed=True, include_usage=True))
    assert content.strip() == body('"claude-upstream"').strip()


def test_changes_of_an_upstream_are_made() -> None:
    changes = BodyChanges.build({"max_tokens": "max_output"}, {"top_k": 5}, ["thinking"])
    content = orjson.dumps({**GOOD, "thinking": {"type": "enabled"}, "y": 1})
    assert orjson.loads(sent(content, changes=changes)) == {
        "model": "m",
        "messages": TURNS,
        "max_output": 64,
        "y": 1,
        "top_k": 5,
    }


def read_in_steps(reading: BodyReading) -> Any:
    while not reading.step():
        pass
    return reading.body()


def test_a_long_body_is_read_in_steps() -> None:
    content = orjson.dumps({**GOOD, "messages": [{"role": "user", "content": "A" * 100_000}] * 3})
    request = MESSAGES.parse(read_in_steps(MESSAGES.begin_reading(content)))
    assert request.max_output_tokens(9) == 64
    body = whole(request.upstream_body("m", streamed=False, include_usage=False))
    assert body == content.replace(b'"claude"', b'"m"')
    counting = COUNT_TOKENS.parse(read_in_steps(COUNT_TOKENS.begin_reading(content)))
    assert whole(counting.upstream_body("m", streamed=False, include_usage=False)) == body


def test_a_long_list_with_something_else_than_objects_is_refused() -> None:
    content = orjson.dumps({**GOOD, "messages": [{"role": "user", "content": "A" * 100_000}, 7]})
    with pytest.raises(InvalidParameter) as caught:
        read_in_steps(MESSAGES.begin_reading(content))
    assert caught.value.param == "messages[1]"


def test_a_count_reserves_nothing_and_is_not_streamed() -> None:
    request = COUNT_TOKENS.parse(orjson.dumps({**GOOD, "stream": True}))
    assert not request.streamed
    assert (request.max_output_tokens(9), request.estimate_prompt_tokens()) == (0, 0)
    assert not request.length_tells_tokens()
    content = whole(request.upstream_body("m", streamed=False, include_usage=False))
    assert json.loads(content) == {**GOOD, "model": "m", "stream": True}
