"""Anthropic's SDK for Python, sync and async, as its users write it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.kit.completions import CLIENT_KEY, ENDLESS, PROMPT, QUICK, UPSTREAM_KEY, text
from tests.kit.configuration import ORDERED
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.messages import MODEL, PAIR, ask_message, message_body, messages_gateway
from tests.kit.sdks import LazyModule
from tests.kit.upstreams import Upstream

if TYPE_CHECKING:
    import anthropic
else:
    anthropic = LazyModule("anthropic")

WHOLE_TEXT = text(8)
STYLES: dict[str, dict[str, Any]] = {
    "as it should be": {},
    "no event lines": {"omit": ["event"]},
    "CRLF": {"line_end": "\r\n", "comments": 1, "bom": True},
    "pretty": {"pretty": True},
    "one byte at a time": {"split": 1},
    "compressed": {"gzip": True},
    "no usage": {"usage": "never"},
    "nulls": {"usage": "null_everywhere", "error_null": True},
    "omissions": {"omit": ["model", "role", "id", "index", "event"]},
    "no message_stop": {"done": False},
    "separators": {"unicode_separators": True},
    "of known length": {"body": "length"},
}


@pytest.fixture(scope="module")
def origin(logs: Path, alpha: Upstream, frail_all_session: Upstream) -> Iterator[LocalGateway]:
    """A gateway whose upstreams speak messages."""
    gateway = messages_gateway(logs, [(frail_all_session, [PAIR]), (alpha, [MODEL, PAIR])])
    yield gateway
    gateway.close()


class Counted:
    """A client and the number of requests it has sent, retries included."""

    def __init__(self, gateway: Gateway) -> None:
        self.requests = 0
        http = anthropic.DefaultHttpxClient(event_hooks={"request": [self._count]})
        url = gateway.url.removesuffix("/v1")
        self.client = anthropic.Anthropic(base_url=url, api_key=CLIENT_KEY, http_client=http)

    def _count(self, request: object) -> None:
        self.requests += 1


@pytest.fixture
def counted(origin: LocalGateway) -> Iterator[Counted]:
    counted = Counted(origin)
    with counted.client:
        yield counted


@pytest.fixture
def client(counted: Counted) -> anthropic.Anthropic:
    return counted.client


@pytest.fixture
async def aclient(origin: LocalGateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    url = origin.url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(base_url=url, api_key=CLIENT_KEY) as client:
        yield client


def texts_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_message_that_is_not_streamed_arrives_with_its_usage(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**ask_message(QUICK))
    assert (texts_of(message), message.stop_reason, message.role) == (WHOLE_TEXT, "end_turn", "assistant")
    assert message.usage.output_tokens == 8


def test_a_streamed_message_arrives_whole_and_in_order(client: anthropic.Anthropic) -> None:
    events: list[Any] = list(client.messages.create(**ask_message(QUICK, stream=True)))
    kinds = [event.type for event in events]
    assert kinds == [
        *("message_start", "content_block_start"),
        *["content_block_delta"] * 8,
        *("content_block_stop", "message_delta", "message_stop"),
    ]
    assert "".join(event.delta.text for event in events[2:10]) == WHOLE_TEXT


async def test_a_streamed_message_arrives_whole_and_in_order_async(aclient: anthropic.AsyncAnthropic) -> None:
    async with aclient.messages.stream(**ask_message(QUICK)) as stream:
        pieces = [piece async for piece in stream.text_stream]
        message = await stream.get_final_message()
    assert ("".join(pieces), texts_of(message)) == (WHOLE_TEXT, WHOLE_TEXT)


async def test_many_streams_of_one_client_at_once_do_not_mix(aclient: anthropic.AsyncAnthropic) -> None:
    async def read(seed: int) -> str:
        async with aclient.messages.stream(**ask_message({**QUICK, "seed": seed, "tokens": 30})) as stream:
            return texts_of(await stream.get_final_message())

    both = await asyncio.gather(*(read(seed) for seed in (*range(10), *range(10))))
    assert both[:10] == both[10:]
    assert len(set(both)) == 10


@pytest.mark.parametrize("style", STYLES)
def test_the_stream_method_accumulates_the_message(client: anthropic.Anthropic, style: str) -> None:
    behaviour = {**QUICK, **STYLES[style]}
    with client.messages.stream(**ask_message(behaviour)) as stream:
        message = stream.get_final_message()
    whole = client.messages.create(**ask_message(behaviour))
    assert texts_of(message) == texts_of(whole)
    assert (message.stop_reason, message.role) == ("end_turn", "assistant")
    counted = behaviour.get("usage") in (None, "always")
    assert message.usage.output_tokens == 8 if counted else message.usage.output_tokens > 0


@pytest.mark.parametrize("style", ["as it should be", "omissions", "pretty"])
def test_thoughts_and_tools_are_accumulated(client: anthropic.Anthropic, style: str) -> None:
    behaviour = {**QUICK, **STYLES[style], "reasoning_tokens": 3, "tool_calls": 2}
    with client.messages.stream(**ask_message(behaviour)) as stream:
        message: Any = stream.get_final_message()
    whole: Any = client.messages.create(**ask_message(behaviour))
    thought, first, second = message.content
    assert thought == whole.content[0]
    assert (thought.type, thought.signature) == ("thinking", "c2ltdWxhdGVk")
    assert [(use.name, use.id, use.input) for use in (first, second)] == [
        (use.name, use.id, use.input) for use in whole.content[1:]
    ]
    assert (second.input["limit"], message.stop_reason) == (2, "tool_use")


def test_a_count_of_tokens_arrives_and_costs_nothing(client: anthropic.Anthropic, origin: LocalGateway) -> None:
    count = client.messages.with_raw_response.count_tokens(
        model=MODEL, messages=[{"role": "user", "content": PROMPT}], system="a" * 400
    )
    assert count.parse().input_tokens > 100
    ended = origin.ending(count.headers["x-request-id"])
    assert (ended["prompt_tokens"], ended["completion_tokens"]) == (0, 0)


def test_the_provider_gets_its_own_key_and_the_headers_of_its_api(
    client: anthropic.Anthropic, alpha: Upstream
) -> None:
    request = ask_message(QUICK, system=[{"type": "text", "text": "be brief"}])
    request["extra_body"]["gateway"] = {"metadata": {"user_id": "u"}}
    client.beta.messages.create(**request, betas=["context-1m-2025-08-07"])
    seen = alpha.statistics().last_request
    assert seen is not None
    assert seen["headers"]["anthropic-version"].startswith("20")
    assert seen["headers"]["anthropic-beta"] == "context-1m-2025-08-07"
    assert seen["body"]["model"] == "claude-x-2024"
    assert seen["body"]["system"] == [{"type": "text", "text": "be brief"}]
    assert "gateway" not in seen["body"]
    assert UPSTREAM_KEY in json.dumps(seen["headers"])
    assert CLIENT_KEY not in json.dumps(seen)


def test_the_record_has_the_usage_of_the_provider(client: anthropic.Anthropic, origin: LocalGateway) -> None:
    answer = client.messages.with_raw_response.create(**ask_message(QUICK, stream=True))
    list(answer.parse())
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    ended = origin.ending(answer.headers["x-request-id"])
    assert (ended["completion_tokens"], ended["usage_estimated"]) == (8, False)


# --- errors


def test_the_id_of_a_request_is_in_the_exception(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(**ask_message(QUICK, model="no-such-model"))
    error = caught.value
    assert (error.type, error.error_code) == ("not_found_error", "model_not_found")
    assert (error.request_id or "").startswith("req_")
    assert error.body["request_id"] == error.request_id  # type: ignore[index]


def test_a_bad_field_is_refused_by_name_at_the_first_try(counted: Counted) -> None:
    with pytest.raises(anthropic.BadRequestError, match="messages: List should have at least 1 item") as caught:
        counted.client.messages.create(**ask_message(QUICK, messages=[]))
    assert (caught.value.type, counted.requests) == ("invalid_request_error", 1)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (429, "RateLimitError", "rate_limit_error"),
        (529, "OverloadedError", "overloaded_error"),
        (500, "InternalServerError", "api_error"),
    ],
)
def test_a_failed_provider_is_told_as_what_it_is_with_its_wait_and_tried_again(
    counted: Counted, streamed: bool, status: int, kind: str, told: str
) -> None:
    with pytest.raises(getattr(anthropic, kind)) as caught:
        counted.client.messages.create(**ask_message({"status": status, "retry_after": 1}, stream=streamed))
    assert caught.value.type == told
    assert caught.value.response.headers["retry-after"] == "1"
    assert counted.requests == 3


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(("status", "kind"), [(400, "BadRequestError"), (413, "ContentTooLargeError")])
def test_a_refusal_of_the_provider_is_told_at_once(counted: Counted, streamed: bool, status: int, kind: str) -> None:
    with pytest.raises(getattr(anthropic, kind), match=f"status {status}"):
        counted.client.messages.create(**ask_message({"status": status}, stream=streamed))
    assert counted.requests == 1


def test_a_provider_that_refuses_our_key_is_a_bad_gateway_that_no_retry_helps(counted: Counted) -> None:
    with pytest.raises(anthropic.InternalServerError) as caught:
        counted.client.messages.create(**ask_message({"status": 401}, stream=True))
    assert (caught.value.status_code, caught.value.type) == (502, "api_error")
    assert counted.requests == 1


@pytest.mark.parametrize("behaviour", [{"error_first": True}, {"close_after": 0}, {"reset_after": 0}])
def test_an_error_before_the_content_is_an_answer_with_a_status(counted: Counted, behaviour: dict[str, Any]) -> None:
    client = counted.client.with_options(max_retries=1)
    with pytest.raises(anthropic.InternalServerError) as caught:
        client.messages.create(**ask_message({"ttft_ms": 5, **behaviour}, stream=True))
    assert (caught.value.status_code, caught.value.type) == (502, "api_error")
    assert counted.requests == 2


def by_events(client: anthropic.Anthropic, request: dict[str, Any]) -> Iterator[str]:
    """The texts of a message as they come, by its events."""
    for event in client.messages.create(**request, stream=True):
        if event.type == "content_block_delta":
            yield event.delta.text


def by_helper(client: anthropic.Anthropic, request: dict[str, Any]) -> Iterator[str]:
    """The texts of a message as they come, by the helper of the SDK."""
    with client.messages.stream(**request) as stream:
        yield from stream.text_stream


@pytest.mark.parametrize("fault", ["error_after", "reset_after", "cut_after", "close_after"])
@pytest.mark.parametrize("texts", [by_events, by_helper])
def test_a_failure_after_content_is_an_error_in_the_stream(counted: Counted, fault: str, texts: Any) -> None:
    seen: list[str] = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        seen.extend(texts(counted.client, ask_message({**QUICK, fault: 3})))
    assert caught.value.type == "api_error"
    assert "".join(seen) in ("", text(3))  # a list that is extended may lose what came before the error
    assert counted.requests == 1


@pytest.mark.parametrize("behaviour", [{"status": 529}, {"error_first": True}, {"close_after": 0}, {"status": 401}])
def test_another_provider_answers_and_nothing_of_the_first_goes_out(
    client: anthropic.Anthropic, frail: Upstream, behaviour: dict[str, Any]
) -> None:
    frail.follow(ttft_ms=5, **behaviour)
    request = message_body(model=PAIR, stream=True)
    events = list(client.messages.create(**request))
    assert [event.type for event in events].count("message_start") == 1
    assert events[-1].type == "message_stop"


# --- patience


def test_pings_before_the_first_event_keep_a_client_waiting(logs: Path, alpha: Upstream) -> None:
    sections = "[stream]\ncommit_after_ms = 100\nkeepalive_seconds = 0.1\n" + ORDERED
    gateway = messages_gateway(logs, [(alpha, [MODEL])], sections)
    counted = Counted(gateway)
    with counted.client:
        with counted.client.messages.stream(**ask_message({**QUICK, "ttft_ms": 600, "head_ms": 500})) as stream:
            assert texts_of(stream.get_final_message()) == WHOLE_TEXT
        with pytest.raises(anthropic.APIStatusError) as caught:
            list(
                counted.client.messages.create(
                    **ask_message({"status": 529, "head_ms": 400, "ttft_ms": 400}, stream=True)
                )
            )
    assert caught.value.type == "overloaded_error"
    gateway.close()


def test_leaving_the_with_block_aborts_the_provider(client: anthropic.Anthropic, alpha: Upstream) -> None:
    before = alpha.statistics()
    with client.messages.stream(**ask_message(ENDLESS)) as stream:
        next(iter(stream.text_stream))
    alpha.wait_for_abort(before)
