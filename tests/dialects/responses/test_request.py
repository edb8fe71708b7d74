"""A request for a response goes upstream byte by byte, but for the model; what the gateway acts on is checked."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.body_changes import BodyChanges
from gateway.dialects.extension import GATEWAY_FIELDS
from gateway.dialects.request_body import KEPT_WHOLE_BYTES, BodyReading, Content
from gateway.dialects.responses.dialect import RESPONSES
from gateway.dialects.responses.request import ResponsesRequest, parse
from gateway.errors import ClientError, InvalidParameter
from gateway.wire.json_members import members_of

GOOD: dict[str, Any] = {"model": "openai/gpt-5", "input": "hi"}
# A request as Codex sends it, with members that only its own provider knows.
CODEX = (
    b'{"model":"gpt-5-codex","instructions":"You are\\u2014Codex","input":[{"type":"message","role":"user","content":'
    b'[{"type":"input_text","text":"hi \\ud83d\\ude00"}]}],"tools":[{"type":"function","name":"shell","strict":false,'
    b'"parameters":{"type":"object","properties":{"timeout":{"maximum":1e3}}}}],"tool_choice":"auto",'
    b'"parallel_tool_calls":false,"reasoning":{"effort":"high","summary":"auto"},"store":false,"stream":true,'
    b'"include":["reasoning.encrypted_content"],"prompt_cache_key":"0199","client_metadata":{"n":12345678901234567890123}}'
)


def sent(
    content: bytes, model: str = "m-at-a", *, in_steps: bool = False, changes: BodyChanges | None = None
) -> bytes:
    """The body that an upstream gets."""
    request = read_in_steps(content) if in_steps else parse(content)
    return joined(request.upstream_body(model, streamed=request.streamed, include_usage=True, changes=changes))


def joined(content: Content) -> bytes:
    return content if isinstance(content, bytes) else b"".join(bytes(part) for part in content.buffers())


def read_in_steps(content: bytes) -> ResponsesRequest:
    reading: BodyReading = RESPONSES.begin_reading(content)
    while not reading.step():
        pass
    return RESPONSES.parse(reading.body())


@pytest.mark.parametrize("in_steps", [False, True])
def test_a_request_of_codex_goes_upstream_as_it_came_but_for_the_model(in_steps: bool) -> None:
    assert sent(CODEX, in_steps=in_steps) == CODEX.replace(b'"gpt-5-codex"', b'"m-at-a"')


def test_what_the_gateway_acts_on_is_known() -> None:
    body = {**GOOD, "stream": True, "background": True, "store": True, "previous_response_id": "resp_0"}
    request = parse(orjson.dumps({**body, "max_output_tokens": 40, "conversation": {"id": "conv_1"}}))
    assert (request.streamed, request.background, request.stores) == (True, True, True)
    assert (request.previous_answer(), request.conversation()) == ("resp_0", "conv_1")
    assert request.max_output_tokens(9000) == 40
    plain = parse(orjson.dumps(GOOD))
    assert (plain.streamed, plain.background, plain.stores, plain.previous_id) == (False, False, None, None)
    assert (plain.max_output_tokens(9000), plain.conversation()) == (9000, None)
    assert plain.only_model() == "openai/gpt-5"


def test_a_response_in_the_background_runs_on_without_a_subscriber() -> None:
    body = {**GOOD, "stream": True}
    assert parse(orjson.dumps(body)).stream_policy().on_last_reader is None
    background = parse(orjson.dumps({**body, "background": True}))
    assert background.stream_policy().on_last_reader == "drain"
    assert background.only_model() is None, "it says more to the gateway than its model"
    own = {"stream": {"on_last_reader": "abort"}}
    asked = parse(orjson.dumps({**body, "background": True, "gateway": own}))
    assert asked.stream_policy().on_last_reader == "abort"


@pytest.mark.parametrize(("limit", "expected"), [(-1, 77), (0, 77), (100.0, 100), ("100", 100), (None, 77)])
def test_limits_that_clients_really_send_are_understood(limit: Any, expected: int) -> None:
    assert parse(orjson.dumps({**GOOD, "max_output_tokens": limit})).max_output_tokens(77) == expected


@pytest.mark.parametrize("name", GATEWAY_FIELDS)
def test_what_is_for_the_gateway_goes_no_further(name: str) -> None:
    value: Any = ["a"] if name == "models" else {"tags": []}
    assert orjson.loads(sent(orjson.dumps({**GOOD, name: value}), "openai/gpt-5")) == GOOD


def test_the_changes_of_an_upstream_are_made_in_place() -> None:
    changes = BodyChanges.build({"max_output_tokens": "max_tokens"}, {"top_k": 4}, ["store", "input.id"])
    content = b'{"model":"m","store":false,"input":[{"id":"i","role":"user"}],"max_output_tokens":1.0}'
    assert sent(content, changes=changes) == (
        b'{"model":"m-at-a","input":[{"role":"user"}],"max_tokens":1.0,"top_k":4}'
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 4}, "model"),
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"input": {"role": "user"}}, "input"),
        ({"input": [{"role": "user"}, "hi"]}, "input[1]"),
        ({"input": [None]}, "input[0]"),
        ({"stream": "true"}, "stream"),
        ({"background": 1, "stream": True}, "background"),
        ({"background": True}, "background"),
        ({"background": True, "stream": False}, "background"),
        ({"store": "yes"}, "store"),
        ({"previous_response_id": 7}, "previous_response_id"),
        ({"gateway": []}, "gateway"),
        ({"routing": 1}, "routing"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse(orjson.dumps({**GOOD, **fields}))
    assert (caught.value.param, caught.value.status) == (param, 400)


@pytest.mark.parametrize("more", [{"prompt": {"id": "p"}}, {"previous_response_id": "r"}, {"conversation": "c"}])
def test_a_request_without_input_that_follows_something_is_for_the_upstream(more: dict[str, Any]) -> None:
    assert parse(orjson.dumps({"model": "m", **more})).model_ids() == ["m"]


def test_a_list_without_items_is_for_the_upstream_to_refuse() -> None:
    assert parse(orjson.dumps({"model": "m", "input": []})).model_ids() == ["m"]


def test_a_body_of_chat_completions_is_refused_with_a_hint() -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse(orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}))
    assert caught.value.param == "input"
    assert "/v1/chat/completions" in caught.value.message


@pytest.mark.parametrize("body", [b"", b"[]", b'{"model":', b"null", b'{"model":"m"}'])
def test_what_is_no_request_is_a_client_error(body: bytes) -> None:
    with pytest.raises(ClientError):
        parse(body)


def test_items_of_a_long_body_that_are_no_objects_are_named() -> None:
    content = orjson.dumps({"model": "m", "input": [{"role": "user", "content": "x" * 80_000}, 7]})
    with pytest.raises(InvalidParameter) as caught:
        read_in_steps(content)
    assert caught.value.param == "input[1]"


def test_the_length_of_an_answer_tells_its_tokens_only_if_it_repeats_nothing() -> None:
    assert parse(orjson.dumps(GOOD)).length_tells_tokens()
    for name in ("tools", "instructions", "include"):
        assert not parse(orjson.dumps({**GOOD, name: ["x"]})).length_tells_tokens()


NAMES = st.sampled_from(["a", "b", "tools", "seed", "metadata", "é", 'q"', "x\\y"])
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**30), 10**30),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8,
)
STYLES = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n ", "\t: ")])


@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=6),
    st.integers(0, 6),
    STYLES,
    st.booleans(),
    st.sampled_from([0, KEPT_WHOLE_BYTES]),
)
def test_order_unknown_members_big_numbers_doubled_names_and_escapes_stay_as_they_are(
    members: list[tuple[str, Any]], at: int, style: tuple[str, str], ascii_only: bool, more: int
) -> None:
    own = [("model", "m"), ("input", "hi" + "x" * more), ("stream", True)]
    whole = [*members[:at], *own, *members[at:]]
    comma, colon = style

    def written(model: str) -> bytes:
        dumped = [
            json.dumps(name, ensure_ascii=ascii_only)
            + colon
            + json.dumps(model if name == "model" else value, ensure_ascii=ascii_only, separators=style)
            for name, value in whole
        ]
        return ("{" + comma.join(dumped) + "}").encode("utf-8", "surrogatepass")

    content = written("m")
    for in_steps in (False, True):
        after = sent(content, "a/b", in_steps=in_steps)
        assert bytes_of_members(after) == bytes_of_members(written("a/b"))


def bytes_of_members(content: bytes) -> list[bytes]:
    """The very bytes of all members, in their order."""
    return [content[member.at : member.end] for member in members_of(content)]


def test_the_gateway_itself_is_the_background() -> None:
    body = b'{"model":"m", "background":true,"stream":true,"input":"a","x":1e400}'
    sent = parse(body).upstream_body("up", streamed=True, include_usage=True)
    assert sent == b'{"model":"up","stream":true,"input":"a","x":1e400}'
