"""A bad field is named; what the gateway does not know passes; what is its own goes no further."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.chat.request import ChatRequest, parse
from gateway.dialects.choices.request import ChoicesFields
from gateway.dialects.extension import GATEWAY_FIELDS
from gateway.dialects.request_fields import MAX_FAULT_TEXT
from gateway.errors import ClientError, InvalidParameter

MESSAGES = [{"role": "user", "content": "hi"}]
GOOD: dict[str, Any] = {"model": "openai/gpt-4o", "messages": MESSAGES}
FIELDS = [*ChoicesFields.model_fields, "messages", "models"]


def parsed(**fields: Any) -> tuple[ChatRequest, dict[str, Any]]:
    request = parse(orjson.dumps({**GOOD, **fields}))
    return request, request.body


def sent(request: ChatRequest, *, streamed: bool, include_usage: bool) -> dict[str, Any]:
    content = request.upstream_body("gpt", streamed=streamed, include_usage=include_usage)
    assert isinstance(content, bytes)
    body: dict[str, Any] = orjson.loads(content)
    return body


def refusal(body: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        parse(orjson.dumps(body))
    error = caught.value
    assert (error.status, error.type) == (400, "invalid_request_error")
    assert len(error.message) <= MAX_FAULT_TEXT
    return error


def test_a_plain_request_goes_upstream_as_it_came() -> None:
    request, upstream = parsed()
    assert request.model_ids() == ["openai/gpt-4o"]
    assert request.models_field() == "model"
    assert upstream == GOOD
    assert not request.streamed
    assert not request.wants_usage()


def test_fields_that_nobody_here_knows_pass_with_their_values() -> None:
    more = {
        "top_k": 4,
        "reasoning_effort": "max",
        "extensions": {"anthropic": {"thinking": None}},
        "logit_bias": {"50256": -100},
        "x": [{"y": None}],
    }
    assert parsed(**more)[1] == {**GOOD, **more}


def test_parts_and_unknown_keys_of_messages_pass() -> None:
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": None, "tool_calls": [], "reasoning_content": "hm"},
    ]
    assert parsed(messages=messages)[1]["messages"] == messages


@pytest.mark.parametrize("name", GATEWAY_FIELDS)
def test_what_is_for_the_gateway_is_taken_out(name: str) -> None:
    value: Any = ["a"] if name == "models" else {"tags": []}
    assert parsed(**{name: value})[1] == GOOD


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("model", {"model": 4}),
        ("model", {"model": ""}),
        ("model", {"model": ["a"]}),
        ("messages", {"messages": None}),
        ("messages", {"messages": []}),
        ("messages", {"messages": "hi"}),
        ("messages[1]", {"messages": [*MESSAGES, "hi"]}),
        ("stream", {"stream": "true"}),
        ("stream", {"stream": 1}),
        ("stream_options", {"stream_options": []}),
        ("stream_options.include_usage", {"stream_options": {"include_usage": "yes"}}),
        ("messages[0]", {"messages": [1] * 50_000}),
        ("stream_options", {"stream_options": {f"k{index}": 1 for index in range(101)}}),
        ("routing", {"routing": {f"k{index}": 1 for index in range(101)}}),
        ("gateway", {"gateway": {f"k{index}": 1 for index in range(101)}}),
        ("gateway.stream", {"gateway": {"stream": {f"k{index}": 1 for index in range(101)}}}),
        ("routing", {"routing": "speed"}),
        ("gateway", {"gateway": []}),
        ("gateway.routing", {"gateway": {"routing": "speed"}}),
        ("gateway.metadata", {"gateway": {"metadata": []}}),
        ("gateway.models", {"gateway": {"models": "a"}}),
        ("gateway.models", {"gateway": {"models": ["b"]}}),
    ],
)
def test_a_bad_field_is_named(param: str, fields: dict[str, Any]) -> None:
    error = refusal({**GOOD, **fields})
    assert isinstance(error, InvalidParameter)
    assert error.code == "invalid_parameter_value"
    assert error.param == param
    assert param in error.message


@pytest.mark.parametrize(
    ("param", "models"),
    [
        ("gateway.models", []),
        ("gateway.models", ["a"] * 21),
        ("gateway.models[1]", ["a", 5]),
    ],
)
def test_a_bad_list_of_models_is_named(param: str, models: Any) -> None:
    assert refusal({"messages": MESSAGES, "gateway": {"models": models}}).param == param


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"gateway": 1}, "gateway: Input should be a valid dictionary or instance of Gateway"),
        (
            {"gateway": {"stream": 1}},
            "gateway.stream: Input should be a valid dictionary or instance of StreamPolicy",
        ),
    ],
)
def test_a_member_that_is_no_object_is_told_so_in_words_that_stay(body: dict[str, Any], message: str) -> None:
    assert refusal({**GOOD, **body}).message == message


@pytest.mark.parametrize(
    "body", [{"messages": MESSAGES}, {**GOOD, "model": None}, {"messages": MESSAGES, "gateway": {}}]
)
def test_a_request_without_a_model_is_told_so(body: dict[str, Any]) -> None:
    error = refusal(body)
    assert error.param == "model"
    assert "is required" in error.message


def test_a_request_without_messages_is_told_so() -> None:
    error = refusal({"model": "m"})
    assert (error.param, error.message) == ("messages", "messages: is required")


def test_a_body_of_another_dialect_is_told_where_it_belongs() -> None:
    assert refusal({"model": "m", "input": "a"}).message == (
        "messages: is required (a body with `input` is for /v1/responses)"
    )
    assert refusal({"model": "m", "prompt": "a"}).message == (
        "messages: is required (a body with `prompt` is for /v1/completions)"
    )


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"model":NaN}', b"[" * 3000])
def test_what_is_not_json_is_told_so(content: bytes) -> None:
    with pytest.raises(ClientError, match="the body is not valid JSON") as caught:
        parse(content)
    assert (caught.value.code, caught.value.param) == ("invalid_request", None)


@pytest.mark.parametrize("content", [b"[]", b"null", b'"x"', b"1"])
def test_json_that_is_no_object_is_told_so(content: bytes) -> None:
    with pytest.raises(ClientError, match="must be a JSON object"):
        parse(content)


def test_several_models_are_asked_for_in_their_order() -> None:
    requests = parse(orjson.dumps({"messages": MESSAGES, "gateway": {"models": ["b", "a"]}}))
    assert requests.model_ids() == ["b", "a"]
    assert requests.models_field() == "gateway.models"
    assert requests.body == {"messages": MESSAGES}


def test_the_nested_routing_wins_over_that_of_older_documents_key_by_key() -> None:
    request, _ = parsed(routing={"optimize": "speed", "max_ttft_ms": 100}, gateway={"routing": {"optimize": "cost"}})
    assert request.routing_options() == {"optimize": "cost", "max_ttft_ms": 100}
    assert parsed()[0].routing_options() == {}


def test_nulls_stand_for_absent_fields() -> None:
    names = set(ChoicesFields.model_fields) - {"model"}
    request, upstream = parsed(**dict.fromkeys(names))
    assert not request.wants_usage()
    assert request.routing_options() == {}
    assert upstream == {**GOOD, **dict.fromkeys(names - set(GATEWAY_FIELDS))}


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1, "max_tokens": 1, "temperature": 0, "top_p": 0.5, "seed": -1},
        {"n": 128, "stop": "x", "tool_choice": "auto", "tools": []},
        {"stop": ["a", "b"], "tool_choice": {"type": "function"}, "response_format": {"type": "json_object"}},
        {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
    ],
)
def test_the_values_of_ordinary_clients_pass(fields: dict[str, Any]) -> None:
    assert parsed(**fields)[1] == {**GOOD, **fields}


def test_usage_is_wanted_only_if_it_was_asked_for() -> None:
    assert parsed(stream_options={"include_usage": True})[0].wants_usage()
    assert not parsed(stream_options={"include_usage": False})[0].wants_usage()
    assert not parsed(stream_options={})[0].wants_usage()


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False), st.text(max_size=5)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*FIELDS, "other"]), JSON))
def test_any_json_is_taken_or_refused_with_a_field_of_the_request(body: dict[str, Any]) -> None:
    fault: InvalidParameter | None = None
    upstream: dict[str, Any] = {}
    try:
        upstream = parse(orjson.dumps(body)).body
    except InvalidParameter as error:
        fault = error
    if fault is None:
        assert upstream == {name: value for name, value in body.items() if name not in GATEWAY_FIELDS}
    else:
        assert fault.param
        assert fault.param.partition(".")[0].partition("[")[0] in FIELDS


def test_the_body_for_an_upstream_is_the_one_that_came_with_the_name_of_the_model_there() -> None:
    request, _ = parsed(temperature=1, gateway={"metadata": {}}, routing={})
    upstream = request.upstream_body("gpt", streamed=False, include_usage=True)
    assert isinstance(upstream, bytes)
    assert orjson.loads(upstream) == {**GOOD, "model": "gpt", "temperature": 1}


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_obfuscation": False}}])
def test_an_upstream_that_knows_how_is_asked_for_the_usage_of_a_stream(options: dict[str, Any]) -> None:
    request, _ = parsed(**options)
    requests = sent(request, streamed=True, include_usage=True)
    assert requests["stream"] is True
    assert requests["stream_options"] == {**options.get("stream_options", {}), "include_usage": True}
    assert sent(request, streamed=True, include_usage=False) == {**GOOD, "model": "gpt", "stream": True, **options}


def test_the_longest_answer_is_that_of_all_choices() -> None:
    assert parsed()[0].max_output_tokens(1000) == 1000
    assert parsed(n=3)[0].max_output_tokens(1000) == 3000
    assert parsed(max_tokens=5)[0].max_output_tokens(1000) == 5
    assert parsed(max_tokens=5, max_completion_tokens=7, n=3)[0].max_output_tokens(1000) == 21
    assert parsed(max_tokens=9, max_completion_tokens=7)[0].max_output_tokens(1000) == 9  # whichever is kept


@pytest.mark.parametrize(
    ("members", "tokens"),
    [
        ('"max_tokens":100000,"max_tokens":1', 100_000),
        ('"max_tokens":1,"max_tokens":100000', 100_000),
        (r'"max_tok\u0065ns":100000,"max_tokens":1', 100_000),
        ('"max_tokens":null,"max_tokens":9', 9),
        ('"max_tokens":9,"max_tokens":1e999', 9),
        ('"n":100,"n":1,"max_tokens":3', 300),
        ('"n":2,"user":"\\"n\\"","max_tokens":3', 6),
    ],
)
def test_of_limits_that_stand_twice_the_largest_is_reserved(members: str, tokens: int) -> None:
    body = f'{{"model":"m","messages":[{{"role":"user","content":"x"}}],{members}}}'.encode()
    assert CHAT.parse(body).max_output_tokens(1000) == tokens
    reading = CHAT.begin_reading(body)
    while not reading.step():
        pass
    assert CHAT.parse(reading.body()).max_output_tokens(1000) == tokens


def test_the_length_of_an_answer_with_probabilities_does_not_tell_its_tokens() -> None:
    assert parsed()[0].length_tells_tokens()
    assert not parsed(logprobs=True)[0].length_tells_tokens()
