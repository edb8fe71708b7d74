"""The clients that four services document, unmodified, on one gateway with its default configuration."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from tests.kit.completions import CLIENT_KEY, ENDLESS, MODEL, QUICK, ask, body, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.sdks import LazyModule
from tests.kit.upstreams import Upstream

if TYPE_CHECKING:
    import auriko
    import openai
    import requests
else:
    auriko = LazyModule("auriko")
    openai = LazyModule("openai")
    requests = LazyModule("requests")

WHOLE_TEXT = text(8)

Node = Callable[..., Any]


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    """One gateway with nothing configured but its port and its upstream."""
    gateway = LocalGateway(logs, configuration([(alpha, [MODEL, "gpt-4o"])]), KEYS)
    try:
        yield gateway
    finally:
        gateway.close()


@pytest.fixture
def openai_client(gateway: Gateway) -> Any:
    with openai.OpenAI(base_url=gateway.url, api_key=CLIENT_KEY) as client:
        yield client


class TestAuriko:
    def test_its_sdk_streams_and_tells_usage_and_routing(self, gateway: Gateway) -> None:
        client = auriko.Client(api_key=CLIENT_KEY, base_url=gateway.url.removesuffix("/v1"))
        request = ask(QUICK, stream=True)
        request["extra_body"]["routing"] = {"optimize": "speed", "max_ttft_ms": 60_000}
        stream = client.chat.completions.create(**request)
        texts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        assert "".join(texts) == WHOLE_TEXT
        assert stream.usage.completion_tokens == 8
        assert stream.routing_metadata.provider == "alpha"
        assert stream.routing_metadata.routing_strategy
        assert stream.response_headers.request_id
        stream.close()

    def test_its_documented_last_event_is_complete(self, gateway: Gateway) -> None:
        request = body(QUICK, stream=True, routing={"optimize": "speed", "max_ttft_ms": 60_000})
        with requests.post(f"{gateway.url}/chat/completions", json=request, stream=True, timeout=10) as response:
            lines = [line for line in response.iter_lines(decode_unicode=True) if line]
        assert lines[-1] == "data: [DONE]"
        last = json.loads(lines[-2][6:])
        assert last["choices"] == []
        assert last["usage"]["completion_tokens"] == 8
        metadata = last["routing_metadata"]
        assert {"provider", "routing_strategy", "total_latency_ms"} <= metadata.keys()
        assert metadata["cost"]["billable_cost_usd"] > 0


class TestAgnic:
    def test_a_loop_that_does_not_guard_choices_reads_the_whole_stream(self, openai_client: openai.OpenAI) -> None:
        text_read = ""
        for chunk in openai_client.chat.completions.create(**ask(QUICK, stream=True)):
            if chunk.choices[0].delta.content:
                text_read += chunk.choices[0].delta.content
        assert text_read == WHOLE_TEXT

    def test_a_break_after_some_tokens_cancels(self, openai_client: openai.OpenAI, alpha: Upstream) -> None:
        before = alpha.statistics()

        def read() -> int:
            tokens = 0
            for chunk in openai_client.chat.completions.create(**ask(ENDLESS, stream=True)):
                if chunk.choices[0].delta.content:
                    tokens += 1
                if tokens >= 20:
                    break
            return tokens

        assert read() == 20
        gc.collect()  # the documented loop closes nothing: the connection ends when the stream is collected
        alpha.wait_for_abort(before)

    @pytest.mark.parametrize("way", ["controller", "break"])
    def test_a_browser_client_cancels(self, node: Node, gateway: Gateway, alpha: Upstream, way: str) -> None:
        assert node("sdk.mjs", "openai", way, gateway.url, alpha.stats_url) == {"tokens": 5, "aborted": True}

    def test_an_api_error_carries_its_status(self, openai_client: openai.OpenAI) -> None:
        with pytest.raises(openai.APIError) as caught:
            openai_client.chat.completions.create(**ask(QUICK, model="openai/gpt-99", stream=True))
        assert isinstance(caught.value, openai.APIStatusError)
        assert caught.value.status_code == 404


class TestParrotRouter:
    def test_the_first_chunk_is_the_assistants_role_with_empty_content(self, openai_client: openai.OpenAI) -> None:
        chunks = list(openai_client.chat.completions.create(**ask(QUICK, stream=True)))
        assert (chunks[0].choices[0].delta.role, chunks[0].choices[0].delta.content) == ("assistant", "")

    @pytest.mark.parametrize("gap_ms", [0, 1, 20])
    def test_a_reader_without_carry_over_reads_every_token(self, node: Node, gateway: Gateway, gap_ms: int) -> None:
        request = body({"ttft_ms": 5, "gap_ms": gap_ms, "tokens": 30}, stream=True)
        result = node("fetch.mjs", "split", gateway.url, json.dumps(request))
        assert "".join(delta.get("content", "") for delta in result["deltas"]) == text(30)
        assert result["done"]
        assert result["error"] is None

    def test_an_error_in_the_stream_is_a_chunk_with_an_error(self, node: Node, gateway: Gateway) -> None:
        request = body({**QUICK, "error_after": 3}, stream=True)
        result = node("fetch.mjs", "split", gateway.url, json.dumps(request))
        assert result["error"]["code"] == "upstream_error"
        assert result["done"]

    def test_lines_read_with_requests_are_the_chunks(self, gateway: Gateway) -> None:
        headers = {"Authorization": f"Bearer {CLIENT_KEY}"}
        text_read, done = "", False
        request = body(QUICK, stream=True)
        url = f"{gateway.url}/chat/completions"
        with requests.post(url, headers=headers, json=request, stream=True, timeout=10) as response:
            for line in response.iter_lines():
                if line and line.startswith(b"data: "):
                    data = line[6:].decode()
                    if data == "[DONE]":
                        done = True
                        break
                    text_read += json.loads(data)["choices"][0]["delta"].get("content", "")
        assert text_read == WHOLE_TEXT
        assert done

    def test_tool_call_fragments_accumulate(self, node: Node, gateway: Gateway) -> None:
        request = body({**QUICK, "tool_calls": 1, "null_types": True}, stream=True)
        result = node("fetch.mjs", "split", gateway.url, json.dumps(request))
        calls = [call for delta in result["deltas"] for call in delta.get("tool_calls", ())]
        assert calls[0]["function"]["name"] == "lookup"
        assert json.loads("".join(call["function"]["arguments"] for call in calls))["limit"] == 1


class TestAssisters:
    OPTIONS = {"include_usage": True}  # noqa: RUF012

    def test_a_loop_that_guards_choices_reads_text_and_usage(self, openai_client: openai.OpenAI) -> None:
        text_read, usage = "", None
        for chunk in openai_client.chat.completions.create(**ask(QUICK, stream=True, stream_options=self.OPTIONS)):
            if chunk.choices and chunk.choices[0].delta.content:
                text_read += chunk.choices[0].delta.content
            usage = chunk.usage or usage
        assert text_read == WHOLE_TEXT
        assert usage is not None
        assert usage.completion_tokens == 8

    def test_a_react_hook_shows_token_by_token(self, node: Node, gateway: Gateway) -> None:
        request = body({"ttft_ms": 5, "gap_ms": 20, "tokens": 10}, stream=True, stream_options=self.OPTIONS)
        result = node("fetch.mjs", "hook", gateway.url, json.dumps(request))
        assert result["state"]["content"] == text(10)
        assert result["state"]["usage"]["completion_tokens"] == 10
        assert not result["state"]["isStreaming"]
        assert result["updates"] == 12

    def test_a_react_hook_shows_an_error(self, node: Node, gateway: Gateway) -> None:
        result = node("fetch.mjs", "hook", gateway.url, json.dumps(body(QUICK, model="no-such-model", stream=True)))
        assert result["status"] == 404
        assert "no-such-model" in result["state"]["error"]

    @pytest.fixture
    async def backend(self, gateway: Gateway) -> Any:
        """A web application that re-streams what it reads with the async SDK; its URL."""
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key=CLIENT_KEY) as client:

            async def chat(request: web.Request) -> web.StreamResponse:
                response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                await response.prepare(request)
                behaviour = await request.json()
                stream = await client.chat.completions.create(
                    **ask(behaviour, stream=True, stream_options=self.OPTIONS)
                )
                async with stream:
                    async for chunk in stream:
                        if chunk.choices and chunk.choices[0].delta.content:
                            said = json.dumps({"content": chunk.choices[0].delta.content})
                            await response.write(f"data: {said}\n\n".encode())
                        if chunk.usage:
                            await response.write(
                                f"data: {json.dumps({'tokens': chunk.usage.total_tokens})}\n\n".encode()
                            )
                await response.write(b"data: [DONE]\n\n")
                return response

            app = web.Application()
            app.router.add_post("/chat", chat)
            runner = web.AppRunner(app, handler_cancellation=True)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/chat"
            await runner.cleanup()

    async def test_a_backend_streams_on_to_its_own_clients(self, backend: str) -> None:
        async with aiohttp.ClientSession() as session, session.post(backend, json=QUICK) as response:
            lines = [line.decode().strip()[6:] async for line in response.content if line.strip()]
        assert lines[-1] == "[DONE]"
        events = [json.loads(line) for line in lines[:-1]]
        assert "".join(event.get("content", "") for event in events) == WHOLE_TEXT
        assert events[-1]["tokens"] > 8

    async def test_a_client_that_leaves_a_backend_aborts_the_provider(self, backend: str, alpha: Upstream) -> None:
        before = alpha.statistics()
        async with aiohttp.ClientSession() as session:
            response = await session.post(backend, json=ENDLESS)
            await response.content.readline()
            response.close()
            for _ in range(400):
                async with session.get(alpha.stats_url) as seen:
                    if (await seen.json())["aborted"] > before.aborted:
                        return
        raise AssertionError("the provider streams on")
