"""The OpenAI SDK for Python, sync and async, as its users write it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.kit.completions import CLIENT_KEY, ENDLESS, MODEL, PROMPT, QUICK, UPSTREAM_KEY, ask, body, text
from tests.kit.gateway import Gateway
from tests.kit.sdks import LazyModule
from tests.kit.upstreams import Upstream

if TYPE_CHECKING:
    import openai
else:
    openai = LazyModule("openai")

WHOLE_TEXT = text(8)


class Counted:
    """A client and the number of requests it has sent, retries included."""

    def __init__(self, gateway: Gateway) -> None:
        self.requests = 0
        http = openai.DefaultHttpxClient(event_hooks={"request": [self._count]})
        self.client = openai.OpenAI(base_url=gateway.url, api_key=CLIENT_KEY, http_client=http)

    def _count(self, request: object) -> None:
        self.requests += 1


@pytest.fixture
def counted(gateway: Gateway) -> Iterator[Counted]:
    counted = Counted(gateway)
    with counted.client:
        yield counted


@pytest.fixture
def client(counted: Counted) -> openai.OpenAI:
    return counted.client


@pytest.fixture
async def aclient(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=gateway.url, api_key=CLIENT_KEY) as client:
        yield client


def test_a_streamed_completion_arrives_whole_and_in_order(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(**ask(QUICK, stream=True)))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == WHOLE_TEXT
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


async def test_a_streamed_completion_arrives_whole_and_in_order_async(aclient: openai.AsyncOpenAI) -> None:
    stream = await aclient.chat.completions.create(**ask(QUICK, stream=True))
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == WHOLE_TEXT


async def test_many_streams_of_one_client_at_once_do_not_mix(aclient: openai.AsyncOpenAI) -> None:
    async def read(seed: int) -> str:
        stream = await aclient.chat.completions.create(**ask({**QUICK, "seed": seed, "tokens": 30}, stream=True))
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    both = await asyncio.gather(*(read(seed) for seed in (*range(20), *range(20))))
    assert both[:20] == both[20:]
    assert len(set(both)) == 20


def test_a_completion_that_is_not_streamed_arrives_with_usage(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(**ask(QUICK))
    assert completion.choices[0].message.content == WHOLE_TEXT
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 8


async def test_a_completion_that_is_not_streamed_arrives_with_usage_async(aclient: openai.AsyncOpenAI) -> None:
    completion = await aclient.chat.completions.create(**ask(QUICK))
    assert completion.choices[0].message.content == WHOLE_TEXT


def test_tool_call_fragments_join_up_to_the_whole_calls(client: openai.OpenAI) -> None:
    behaviour = {**QUICK, "tool_calls": 2, "null_types": True}
    calls: dict[int, dict[str, str]] = {}
    finish = None
    for chunk in client.chat.completions.create(**ask(behaviour, stream=True)):
        finish = chunk.choices[0].finish_reason or finish
        for delta in chunk.choices[0].delta.tool_calls or ():
            call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
            call["id"] += delta.id or ""
            if delta.function is not None:
                call["name"] += delta.function.name or ""
                call["arguments"] += delta.function.arguments or ""
    assert finish == "tool_calls"
    whole = client.chat.completions.create(**ask(behaviour)).choices[0].message.tool_calls
    assert whole is not None
    assert [call.id for call in whole] == [calls[0]["id"], calls[1]["id"]]
    assert json.loads(calls[1]["arguments"])["limit"] == 2
    assert calls[0]["name"] == "lookup"


def test_the_stream_method_of_the_sdk_accumulates_the_answer(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(**ask(QUICK)) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == WHOLE_TEXT


def test_usage_comes_last_and_alone_if_it_was_asked_for(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(**ask(QUICK, stream=True, stream_options={"include_usage": True})))
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 8
    assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + 8
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].id == chunks[0].id


def test_usage_rides_on_the_finish_chunk_if_the_header_says_so(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(**ask(QUICK, stream=True), extra_headers={"X-Usage-Event": "finish"})
    )
    assert all(chunk.choices for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None


def test_usage_is_asked_of_the_provider_even_if_the_client_does_not_want_it(
    client: openai.OpenAI, alpha: Upstream, gateway: Gateway
) -> None:
    answer = client.chat.completions.with_raw_response.create(**ask(QUICK, stream=True))
    list(answer.parse())
    seen = alpha.statistics().last_request
    assert seen is not None
    assert seen["body"]["stream_options"] == {"include_usage": True}
    ended = gateway.ending(answer.headers["x-request-id"])
    assert (ended["completion_tokens"], ended["usage_estimated"]) == (8, False)
    assert ended["cost_usd"] is not None


def test_the_provider_gets_its_own_key_its_own_model_name_and_nothing_of_the_clients(
    client: openai.OpenAI, alpha: Upstream
) -> None:
    request = ask(QUICK, stream=True, temperature=0.5, user="somebody")
    request["extra_body"]["routing"] = {"optimize": "speed"}
    request["extra_body"]["gateway"] = {"metadata": {"user_id": "u"}}
    list(client.chat.completions.create(**request))
    seen = alpha.statistics().last_request
    assert seen is not None
    assert seen["body"]["model"] == "gpt-4o-2024"
    assert seen["body"]["temperature"] == 0.5
    assert seen["body"]["messages"] == [{"role": "user", "content": PROMPT}]
    assert not {"routing", "gateway"} & seen["body"].keys()
    assert seen["headers"]["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert CLIENT_KEY not in json.dumps(seen)
    assert not any(name.startswith("x-stainless") for name in seen["headers"])


def test_the_headers_of_a_stream_tell_who_answered_and_how_fast(client: openai.OpenAI, gateway: Gateway) -> None:
    answer = client.chat.completions.with_raw_response.create(**ask({**QUICK, "ttft_ms": 30}, stream=True))
    headers = answer.headers
    list(answer.parse())
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["x-upstream"] == "alpha"
    assert headers["x-attempts"] == "1"
    assert 25 < float(headers["x-ttft-ms"]) < 2000
    assert headers["x-stream-id"].startswith("st_")
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in headers
    assert gateway.ending(headers["x-request-id"])["stream_id"] == headers["x-stream-id"]


def test_the_request_id_is_the_one_the_client_sent(client: openai.OpenAI) -> None:
    headers = {"x-request-id": "req-of-mine.1"}
    answer = client.chat.completions.with_raw_response.create(**ask(QUICK), extra_headers=headers)
    assert answer.headers["x-request-id"] == "req-of-mine.1"
    assert answer.headers["x-upstream"] == "alpha"


def test_the_request_id_of_an_error_is_in_the_exception(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(**ask(QUICK, model="no-such-model"))
    assert (caught.value.request_id or "").startswith("req_")


def test_models_are_listed_and_found_by_an_id_with_a_slash(client: openai.OpenAI) -> None:
    listed = client.models.list().data
    assert {MODEL, "gpt-4o", "pair"} <= {model.id for model in listed}
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no/such/model")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("streamed", [True, False])
def test_an_unknown_model_is_not_found_at_the_first_try(counted: Counted, streamed: bool) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        counted.client.chat.completions.create(**ask(QUICK, model="no-such-model", stream=streamed))
    assert (caught.value.code, caught.value.type, caught.value.param) == (
        "model_not_found",
        "not_found_error",
        "model",
    )
    assert counted.requests == 1


def test_a_bad_field_is_refused_by_name_at_the_first_try(counted: Counted) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        counted.client.chat.completions.create(**ask(QUICK, stream=True, stream_options={"include_usage": "many"}))
    assert (caught.value.code, caught.value.param) == ("invalid_parameter_value", "stream_options.include_usage")
    assert counted.requests == 1


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(("status", "kind"), [(400, "BadRequestError"), (422, "UnprocessableEntityError")])
def test_a_refusal_of_the_provider_is_told_at_once_as_the_clients_fault(
    counted: Counted, alpha: Upstream, streamed: bool, status: int, kind: str
) -> None:
    before = alpha.statistics().requests
    with pytest.raises(getattr(openai, kind)) as caught:
        counted.client.chat.completions.create(**ask({"status": status}, stream=streamed))
    assert caught.value.type == "invalid_request_error"
    assert f"status {status}" in caught.value.message
    assert counted.requests == 1
    assert alpha.statistics().requests == before + 1


def test_a_body_that_is_too_large_is_refused_at_the_first_try(counted: Counted) -> None:
    request = ask(QUICK, messages=[{"role": "user", "content": "x" * 4_300_000}])
    with pytest.raises(openai.APIStatusError) as caught:
        counted.client.chat.completions.create(**request)
    assert (caught.value.status_code, caught.value.code) == (413, "payload_too_large")
    assert counted.requests == 1


@pytest.mark.parametrize("streamed", [True, False])
def test_the_limit_of_a_provider_is_told_with_its_wait_and_tried_again(counted: Counted, streamed: bool) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        counted.client.chat.completions.create(**ask({"status": 429, "retry_after": 1}, stream=streamed))
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "rate_limit_error")
    assert caught.value.response.headers["retry-after"] == "1"
    assert counted.requests == 3


@pytest.mark.parametrize("behaviour", [{"status": 500}, {"json_instead": True}, {"error_first": True}])
def test_a_failed_provider_is_a_bad_gateway_and_tried_again(counted: Counted, behaviour: dict[str, Any]) -> None:
    client = counted.client.with_options(max_retries=1)
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(**ask({"ttft_ms": 5, **behaviour}, stream=True))
    assert (caught.value.status_code, caught.value.code, caught.value.type) == (502, "upstream_error", "api_error")
    assert counted.requests == 2


def test_a_provider_that_refuses_our_key_is_a_bad_gateway_that_no_retry_helps(counted: Counted) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        counted.client.chat.completions.create(**ask({"status": 401}, stream=True))
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_error")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert counted.requests == 1


def test_an_unreachable_provider_is_a_bad_gateway(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.with_options(max_retries=0).chat.completions.create(**body(model="unreachable"))
    assert caught.value.status_code == 502
    assert "127.0.0.1" not in caught.value.message


@pytest.mark.parametrize("fault", ["error_after", "reset_after", "cut_after", "close_after"])
def test_a_failure_after_content_is_an_error_in_the_stream(counted: Counted, fault: str) -> None:
    seen: list[Any] = []
    stream = counted.client.chat.completions.create(**ask({**QUICK, fault: 3}, stream=True))
    with pytest.raises(openai.APIError) as caught:
        seen.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert not isinstance(caught.value, openai.APIConnectionError)
    assert (caught.value.code, caught.value.type) == ("upstream_error", "api_error")
    assert "".join(seen) in ("", text(3))
    assert counted.requests == 1


def test_a_break_and_a_close_abort_the_provider(client: openai.OpenAI, alpha: Upstream, gateway: Gateway) -> None:
    before = alpha.statistics()
    answer = client.chat.completions.with_raw_response.create(**ask(ENDLESS, stream=True))
    stream = answer.parse()
    for count, _ in enumerate(stream):
        if count == 5:
            break
    stream.close()
    alpha.wait_for_abort(before)
    assert gateway.ending(answer.headers["x-request-id"])["ending"] == "abandoned"


def test_leaving_the_with_block_aborts_the_provider(client: openai.OpenAI, alpha: Upstream) -> None:
    before = alpha.statistics()
    with client.chat.completions.create(**ask(ENDLESS, stream=True)) as stream:
        next(iter(stream))
    alpha.wait_for_abort(before)


def test_a_close_before_anything_was_read_aborts_the_provider(client: openai.OpenAI, alpha: Upstream) -> None:
    before = alpha.statistics()
    client.chat.completions.create(**ask(ENDLESS, stream=True)).close()
    alpha.wait_for_abort(before)


async def test_a_cancelled_task_in_mid_stream_aborts_the_provider(
    aclient: openai.AsyncOpenAI, alpha: Upstream
) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async with await aclient.chat.completions.create(**ask(ENDLESS, stream=True)) as stream:
            async for _ in stream:
                begun.set()

    before = alpha.statistics()
    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(alpha.wait_for_abort, before)


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_cancelled_task_before_the_first_token_aborts_the_provider(
    aclient: openai.AsyncOpenAI, alpha: Upstream, streamed: bool
) -> None:
    before = alpha.statistics()
    task = asyncio.create_task(aclient.chat.completions.create(**ask({"stall_before": "head"}, stream=streamed)))
    await asyncio.to_thread(alpha.wait_for_request, before)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(alpha.wait_for_abort, before)


def test_a_client_that_gives_up_waiting_aborts_the_provider(client: openai.OpenAI, alpha: Upstream) -> None:
    before = alpha.statistics()
    impatient = client.with_options(timeout=0.3, max_retries=0)
    with pytest.raises(openai.APITimeoutError):
        impatient.chat.completions.create(**ask({"ttft_ms": 60_000}, stream=True))
    alpha.wait_for_abort(before)


async def test_three_streams_in_a_row_share_one_connection(gateway: Gateway) -> None:
    ports = set()

    async def note(response: Any) -> None:
        ports.add(response.extensions["network_stream"].get_extra_info("client_addr"))

    http = openai.DefaultAsyncHttpxClient(event_hooks={"response": [note]})
    async with openai.AsyncOpenAI(base_url=gateway.url, api_key=CLIENT_KEY, http_client=http) as client:
        for _ in range(3):
            async for _ in await client.chat.completions.create(**ask(QUICK, stream=True)):
                pass
    assert len(ports) == 1
