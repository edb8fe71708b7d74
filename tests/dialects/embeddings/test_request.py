"""A request for embeddings: its bytes go upstream but for the model; its input is what costs."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.embeddings.dialect import EMBEDDINGS
from gateway.dialects.embeddings.request import parse
from gateway.errors import ClientError


def sent(content: bytes) -> bytes:
    body = parse(content).upstream_body("up", streamed=False, include_usage=True)
    assert isinstance(body, bytes)
    return body


@given(
    st.dictionaries(
        st.sampled_from(["user", "x", "dimensions"]), st.none() | st.integers(-9, 9) | st.text(max_size=5)
    ),
    st.text(max_size=5) | st.lists(st.integers(0, 9), min_size=1),
    st.sampled_from(["float", "base64"]),
)
def test_a_body_goes_upstream_as_it_came_but_for_the_model(more: dict[str, Any], given: Any, encoding: str) -> None:
    content = orjson.dumps({**more, "input": given, "model": "m-1", "encoding_format": encoding})
    assert sent(content) == content.replace(b'"model":"m-1"', b'"model":"up"')


def test_odd_bytes_are_kept() -> None:
    content = b' {"input" : "A\\/", "big": 123456789012345678901234, "x":1.0, "x": 2, "model":"m"}'
    assert sent(content) == content.strip().replace(b'"m"', b'"up"')


def test_what_is_for_the_gateway_goes_no_further() -> None:
    content = b'{"model":"m","gateway":{"routing":{"optimize":"cost"}},"input":["a"],"models":["x"]}'
    assert sent(content) == b'{"model":"up","input":["a"]}'
    assert parse(content).routing_options() == {"optimize": "cost"}


def test_the_input_is_all_that_is_reserved_and_no_stream_is_asked_for() -> None:
    request = parse(b'{"model":"m","input":[[1,2,3],[4]],"stream":true}')
    assert (request.estimate_prompt_tokens(), request.max_output_tokens(1000)) == (4 + 4, 0)
    assert (request.streamed, request.wants_usage(), request.length_tells_tokens()) == (False, False, False)


def test_messages_in_place_of_an_input_go_upstream_as_they_came_and_are_estimated() -> None:
    content = b'{"model":"m","messages":[ {"role":"user","content":"%b"} ],"add_special_tokens":true}' % (b"a" * 400)
    assert sent(content) == content.replace(b'"m"', b'"up"')
    assert parse(content).estimate_prompt_tokens() == pytest.approx(100 + 12, abs=9)


def test_long_messages_in_place_of_an_input_are_estimated_by_their_bytes() -> None:
    parts = [{"type": "text", "text": "a" * 400}] * 1000
    content = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]})
    reading = EMBEDDINGS.begin_reading(content)
    while not reading.step():
        pass
    tokens = EMBEDDINGS.parse(reading.body()).estimate_prompt_tokens()
    assert 100_000 < tokens < 110_000
    assert tokens == pytest.approx(parse(content).estimate_prompt_tokens(), rel=0.01)


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (b'{"model":"m"}', "input"),
        (b'{"model":"m","messages":"hi"}', "input"),
        (b'{"model":"m","messages":[]}', "messages"),
        (b'{"model":"m","messages":[{"role":"user","content":"hi"},7]}', "messages[1]"),
        (b'{"model":"m","input":null,"messages":[{"role":"user","content":"hi"}]}', "input"),
        (b'{"model":"m","prompt":"hi"}', "input"),
        (b'{"model":"m","input":[]}', "input"),
        (b'{"model":"m","input":1.5}', "input"),
        (b'{"input":"a"}', "model"),
        (b'{"model":"","input":"a"}', "model"),
    ],
)
def test_a_bad_field_is_named(content: bytes, param: str) -> None:
    with pytest.raises(ClientError) as caught:
        parse(content)
    assert (caught.value.status, caught.value.param) == (400, param)
