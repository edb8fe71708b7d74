"""Requests go upstream as they came, byte by byte, but for what is the gateway's; read at once and read in steps."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.dialects.chat.prompt import MESSAGE_TOKENS
from gateway.dialects.chat.request import LISTS_OF_OBJECTS, ChatRequest, parse
from gateway.dialects.relayed_request import NOT_SENT
from gateway.dialects.request_body import BodyReading, Content, RequestBody
from gateway.dialects.usage import text_tokens
from gateway.errors import ClientError, InvalidParameter

CASES: list[Mapping[str, Any]] = tomllib.loads((Path(__file__).parent / "requests.toml").read_text())["case"]
GOOD = [case for case in CASES if "error" not in case]
BAD = [case for case in CASES if "error" in case]
NAMES = [case["name"] for case in GOOD]
LONG = b'"pad":"' + b"x" * 100_000 + b'",'

UNLIMITED = 7  # tokens of a choice without a limit


def read_in_steps(content: bytes) -> RequestBody:
    reading = BodyReading(bytearray(content), LISTS_OF_OBJECTS)
    while not reading.step():
        pass
    return reading.body()


def sent(request: ChatRequest, case: Mapping[str, Any]) -> Content:
    return request.upstream_body(
        "up",
        streamed=case.get("streamed", False),
        include_usage=case.get("include_usage", False),
        takes_models=case.get("takes_models", False),
    )


def whole(content: Content) -> bytes:
    if isinstance(content, bytes):
        return content
    joined = b"".join(content.buffers())
    assert len(joined) == len(content)
    return joined


def places(content: bytes, request: ChatRequest) -> list[tuple[str, int, bytes]]:
    """The members, without the blanks behind them."""
    return [
        (member.name, member.at, content[member.start : member.end].strip()) for member in request.source.members()
    ]


@pytest.mark.parametrize("case", GOOD, ids=NAMES)
def test_a_request_reaches_its_upstream_as_it_came(case: Mapping[str, Any]) -> None:
    request = parse(case["sends"].encode())
    assert whole(sent(request, case)).decode() == case["gets"]
    assert request.untaken_fields(takes_models=case.get("takes_models", False)) == case.get("untaken", [])
    assert request.model_ids() == case.get("models", ["m"])
    limit = case.get("limit")
    assert request.max_output_tokens(UNLIMITED) == (limit or UNLIMITED * request.choices)


@pytest.mark.parametrize("case", GOOD, ids=NAMES)
def test_a_request_that_is_read_in_steps_says_the_same(case: Mapping[str, Any]) -> None:
    content = case["sends"].encode()
    at_once, in_steps = parse(content), parse(read_in_steps(content))
    same = ("model", "streamed", "max_tokens", "choices", "listed", "has_own_models", "is_extended")
    assert [getattr(in_steps, name) for name in same] == [getattr(at_once, name) for name in same]
    own = sum(member.end - member.at for member in in_steps.source.members() if member.name in NOT_SENT)
    assert in_steps.estimate_prompt_tokens() == text_tokens(len(content) - own)
    assert in_steps.estimate_prompt_tokens() >= at_once.estimate_prompt_tokens() - MESSAGE_TOKENS
    assert places(content, in_steps) == places(content, at_once)


@pytest.mark.parametrize("case", GOOD, ids=NAMES)
def test_a_long_request_reaches_its_upstream_in_buffers_that_hold_the_same(case: Mapping[str, Any]) -> None:
    opening, _, rest = case["sends"].encode().partition(b"{")
    request = parse(read_in_steps(opening + b"{" + LONG + rest))
    content = whole(sent(request, case))
    assert LONG in content
    assert content.count(b"up") == case["gets"].count("up")
    short = orjson.loads(case["gets"]) if "d800" not in case["gets"] and "1e999" not in case["gets"] else None
    if short is not None:
        body = orjson.loads(content)
        assert body.pop("pad") == "x" * 100_000
        assert body == short


@pytest.mark.parametrize("case", BAD, ids=[case["name"] for case in BAD])
def test_a_request_at_fault_is_refused_with_the_field(case: Mapping[str, Any]) -> None:
    content = case["sends"].encode()
    with pytest.raises(InvalidParameter) as at_once:
        parse(content)
    with pytest.raises(InvalidParameter) as in_steps:
        parse(read_in_steps(content))
    assert (at_once.value.param, in_steps.value.param) == (case["error"], case["error"])
    assert at_once.value.message == in_steps.value.message


def test_a_body_that_was_let_go_holds_nothing() -> None:
    request = parse(read_in_steps(b'{"model":"m",' + LONG + b'"messages":[{}]}'))
    assert request.estimate_prompt_tokens() >= 24_000
    request.release()
    assert (request.source.content, request.body) == (b"", {})
    request.release()


@pytest.mark.parametrize("name", ["gateway", "routing", "stream_options", "max_tokens"])
def test_a_field_that_the_gateway_acts_on_may_not_be_too_long_to_be_read(name: str) -> None:
    long = b'{"model":"m","messages":[{}],"x":[' + b"1.5," * 20_000 + b'0],"%b":{"a":[' % name.encode()
    with pytest.raises(ClientError) as caught:
        parse(read_in_steps(long + b"1," * 20_000 + b"1]}}"))
    assert caught.value.param == name
