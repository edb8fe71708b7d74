"""A request for a text completion: its bytes go upstream but for the model, and its limits are understood."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.body_changes import BodyChanges
from gateway.dialects.completions.request import CompletionsRequest, parse
from gateway.errors import ClientError
from gateway.wire.json_members import members_of

UNLIMITED = 100


def sent(content: bytes, *, streamed: bool = False, include_usage: bool = True, **more: Any) -> bytes:
    """What goes to an upstream that calls the model `up`."""
    body = parse(content).upstream_body("up", streamed=streamed, include_usage=include_usage, **more)
    assert isinstance(body, bytes)
    return body


def members(content: bytes) -> list[tuple[bytes, bytes]]:
    """The names and the values of an object, as they are written."""
    found = members_of(content)
    return [(content[each.at : each.start].rstrip(b" :"), content[each.start : each.end]) for each in found]


def test_a_body_goes_upstream_as_it_came_but_for_the_model() -> None:
    content = b'{ "prompt": "A b", "x": 12345678901234567890123, "model" : "m", "y": 1.0, "y": 2 }'
    assert sent(content) == content.replace(b'"m"', b'"up"')
    escaped = content.replace(b"A b", b"\\u0041 b")
    assert members(sent(escaped)) == members(escaped.replace(b'"m"', b'"up"'))


def test_usage_is_asked_for_of_every_stream() -> None:
    content = b'{"model":"m","prompt":"a","stream":true}'
    assert orjson.loads(sent(content, streamed=True))["stream_options"] == {"include_usage": True}
    assert sent(content, streamed=True, include_usage=False) == content.replace(b'"m"', b'"up"')
    asked = b'{"model":"m","prompt":"a","stream":true,"stream_options":{"include_usage":true,"x":1}}'
    assert sent(asked, streamed=True) == asked.replace(b'"m"', b'"up"')
    bare = parse(asked).without_usage().upstream_body("up", streamed=True, include_usage=False)
    assert bare == b'{"model":"up","prompt":"a","stream":true}'
    assert parse(asked).wants_usage()


def test_what_is_for_the_gateway_goes_no_further() -> None:
    content = b'{"model":"m","routing":{"optimize":"cost"},"prompt":["a","b"],"gateway":{"metadata":{}}}'
    assert sent(content) == b'{"model":"up","prompt":["a","b"]}'
    assert parse(content).routing_options() == {"optimize": "cost"}


def test_an_upstreams_changes_are_made_last() -> None:
    changes = BodyChanges.build({"max_tokens": "n_predict"}, {"cache_prompt": True}, ["user"])
    content = b'{"model":"m","prompt":"a","max_tokens":3,"user":"u"}'
    assert orjson.loads(sent(content, changes=changes)) == {
        "model": "up", "prompt": "a", "n_predict": 3, "cache_prompt": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, UNLIMITED),
        ({"max_tokens": 7}, 7),
        ({"max_tokens": -1}, UNLIMITED),
        ({"max_tokens": 16.0}, 16),
        ({"n": 3}, 3 * UNLIMITED),
        ({"n": 2, "best_of": 4, "max_tokens": 10}, 40),
        ({"prompt": ["a", "b"], "n": 2, "max_tokens": 10}, 40),
        ({"prompt": [[1, 2], [3]], "max_tokens": 10}, 20),
        ({"prompt": [1, 2, 3], "max_tokens": 10}, 10),
    ],
)
def test_the_longest_answer_counts_all_alternatives_of_all_prompts(fields: dict[str, Any], tokens: int) -> None:
    request = parse(orjson.dumps({"model": "m", "prompt": "a", **fields}))
    assert request.max_output_tokens(UNLIMITED) == tokens


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        (b'"echo":true,"max_tokens":0', 0),
        (b'"max_tokens":0,"echo":true,"logprobs":1,"n":3', 0),
        (b'"max_tokens":0', UNLIMITED),
        (b'"max_tokens":0,"echo":false', UNLIMITED),
        (b'"echo":true,"max_tokens":null', UNLIMITED),
        (b'"echo":true,"max_tokens":false', UNLIMITED),
        (b'"echo":true,"max_tokens":0,"n_predict":-1', UNLIMITED),
        (b'"echo":true,"max_tokens":-1,"max_tokens":0', UNLIMITED),
        (b'"echo":true,"max_tokens":0,"max_tokens":9', 9),
        (b'"echo":false,"max_tokens":0,"echo":true', UNLIMITED),
    ],
)
def test_no_tokens_are_asked_for_where_the_prompt_alone_is_wanted_back(fields: bytes, tokens: int) -> None:
    assert parse(b'{"model":"m","prompt":"a",%b}' % fields).max_output_tokens(UNLIMITED) == tokens


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        (b'"prompt":"hello"', 0),
        (b'"prompt":"hello","echo":false', 0),
        (b'"prompt":"hello","echo":true', 5),
        (b'"echo":true,"prompt":"hello","n":3', 15),
        (b'"echo":true,"prompt":"hello","best_of":3', 5),
        (b'"echo":true,"prompt":"a\\nb\\u0041"', 4),
        (b'"echo":true,"prompt":"\xc3\xa9"', 2),
        (b'"echo":true,"prompt":[11,12]', 5),
        (b'"echo":true,"prompt":"hello","prompt":"a"', 0),
        (b'"echo":true,"prompt":"hello","n":9,"n":1', 0),
        (b'"echo":false,"prompt":"hello","echo":true', 0),
        (b'"echo":true,"prompt":"%b"' % (b"a" * 2_000_000), 0),
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_echo_of_the_prompt_is_known_by_its_bytes_and_never_too_long(fields: bytes, size: int) -> None:
    assert parse(b'{"model":"m",%b}' % fields).echoed_bytes == size


def test_the_length_of_an_answer_with_probabilities_or_with_its_prompt_tells_nothing() -> None:
    assert parse(b'{"model":"m","prompt":"a"}').length_tells_tokens()
    assert not parse(b'{"model":"m","prompt":"a","logprobs":5}').length_tells_tokens()
    assert not parse(b'{"model":"m","prompt":"a","echo":true}').length_tells_tokens()


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (b'{"model":"m"}', "prompt"),
        (b'{"model":"m","messages":[{"role":"user","content":"hi"}]}', "prompt"),
        (b'{"model":"m","input":"hi"}', "prompt"),
        (b'{"model":"m","prompt":[]}', "prompt"),
        (b'{"model":"m","prompt":7}', "prompt"),
        (b'{"prompt":"a"}', "model"),
        (b'{"model":7,"prompt":"a"}', "model"),
        (b'{"model":"m","prompt":"a","stream":"yes"}', "stream"),
        (b'{"model":"m","prompt":"a","stream_options":{"include_usage":1}}', "stream_options.include_usage"),
        (b"[]", None),
    ],
)
def test_a_bad_field_is_named(content: bytes, param: str | None) -> None:
    with pytest.raises(ClientError) as caught:
        parse(content)
    assert (caught.value.status, caught.value.param) == (400, param)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_BLANKS = st.sampled_from(["", " ", "\n  "])
_NAMES = st.sampled_from(["echo", "suffix", "seed", "x", "\u00e9", "logit_bias", "stop"])


def _dumped(value: Any, *, ascii_only: bool) -> str:
    return json.dumps(value, ensure_ascii=ascii_only)


@given(st.lists(st.tuples(_NAMES, _VALUES, _BLANKS, st.booleans()), max_size=6), st.integers(0, 6), st.booleans())
def test_order_unknown_members_digits_and_escapes_are_kept(
    others: list[tuple[str, Any, str, bool]], place: int, streamed: bool
) -> None:
    texts = [
        f"{_dumped(name, ascii_only=a)}:{blank}{_dumped(value, ascii_only=a)}" for name, value, blank, a in others
    ]
    texts.insert(place, '"prompt":"p\\u0041\\/"')
    if streamed:
        texts.append('"stream":true')
    before, after = [("\t{ " + " , ".join([*texts, f'"model":{model}']) + " }").encode() for model in ('"m"', '"up"')]
    found = sent(before, streamed=streamed, include_usage=False)
    assert members(found) == members(after.strip())
    assert b"u00" in before or found == after.strip()


def test_a_request_is_itself_until_its_body_is_let_go() -> None:
    request = parse(b'{"model":"m","prompt":"a"}')
    assert isinstance(request, CompletionsRequest)
    request.release()
    assert request.body == {}
