"""A second dialect from socket to socket: the whole gateway in this process, told of it by its wiring alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from gateway.config import Config
from gateway.dialects.registry import DIALECTS
from gateway.run.service import Seams, Service
from gateway.wire.http1 import LAST_CHUNK, encode_chunk

from .toy import COUNT, END, START, TOY, failure, text

FRAMES = [START, text("one "), text("two "), text("three"), END]
ANSWER = [*FRAMES[:-1], COUNT, END]
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

Serve = Callable[[asyncio.StreamWriter], Awaitable[None]]


def streamed(*frames: bytes, end: bytes = LAST_CHUNK) -> Serve:
    """Answers a request with these frames, each in a write of its own."""

    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        for frame in frames:
            writer.write(encode_chunk(frame))
            await writer.drain()
        writer.write(end)

    return serve


def answered(status: int, body: bytes) -> Serve:
    """Answers a request with this JSON."""

    async def serve(writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % (status, len(body)) + body)

    return serve


class ToyUpstream:
    """An upstream on loopback that answers each request as `serve` says, and then hangs up."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.requests: list[tuple[str, Any]] = []  # request line and JSON

    async def start(self) -> str:
        """The `base_url`."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def close(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        self.requests.append((head.partition("\r\n")[0], orjson.loads(await reader.readexactly(length))))
        try:
            await self.serve(writer)
            await writer.drain()
        finally:
            writer.close()


class Gateway:
    """The service with the toy dialect, and a client."""

    def __init__(self, service: Service, client: aiohttp.ClientSession, upstreams: list[ToyUpstream]) -> None:
        self.client = client
        self.upstreams = upstreams
        self.base = f"http://127.0.0.1:{service.port}"

    async def post(self, **body: Any) -> tuple[aiohttp.ClientResponse, bytes]:
        body = {"model": "m", "ask": "how much?", "live": True, **body}
        async with self.client.post(f"{self.base}/v1/toy", json=body) as response:
            return response, await response.read()

    async def get(self, path: str) -> bytes:
        async with self.client.get(self.base + path) as response:
            return await response.read()


def settings_of(name: str, url: str, price: Decimal) -> dict[str, Any]:
    """The settings of an upstream that has the model under a name of its own."""
    model = {"id": "m", "upstream_id": f"m-at-{name}", "input_usd_per_mtok": price, "output_usd_per_mtok": price}
    return {"name": name, "base_url": url, "models": [model]}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    upstreams = [ToyUpstream(streamed(*ANSWER)) for _ in range(2)]
    urls = [await upstream.start() for upstream in upstreams]
    config = Config.model_validate(
        {
            "server": {"listen": "127.0.0.1:0"},
            "stream": {"commit_after_ms": 250, "keepalive_seconds": 0.05},
            "storage": {"path": str(tmp_path / "books.db")},
            "routing": {"optimize": "cost"},  # so that alpha is asked first
            "upstreams": [settings_of("alpha", urls[0], Decimal(1)), settings_of("beta", urls[1], Decimal(2))],
        }
    )
    service = Service(config, seams=Seams(dialects=[*DIALECTS, TOY]), tunes_collector=False)
    await service.start()
    try:
        async with aiohttp.ClientSession() as client:
            yield Gateway(service, client, upstreams)
    finally:
        await service.stop()
        for upstream in upstreams:
            await upstream.close()


async def test_a_stream_goes_to_the_client_as_it_came_with_nothing_of_another_dialect(gateway: Gateway) -> None:
    response, body = await gateway.post()
    assert (response.status, response.headers["x-upstream"]) == (200, "alpha")
    assert body == b"".join(FRAMES)
    line, requests = gateway.upstreams[0].requests[0]
    assert line == "post /v1/toy http/1.1"
    assert requests == {"model": "m-at-alpha", "ask": "how much?", "live": True}


async def test_a_subscription_to_it_keeps_the_names_and_adds_positions(gateway: Gateway) -> None:
    response, _ = await gateway.post()
    events = await gateway.get(f"/v1/streams/{response.headers['x-stream-id']}/events")
    for frame in FRAMES:
        assert frame[:-1] + b"id: " in events
    assert events.count(b"id: ") == len(FRAMES) + 1  # the frames and the gateway's own `end`


async def test_the_stream_is_described_with_the_usage_that_its_dialect_read(gateway: Gateway) -> None:
    response, _ = await gateway.post()
    description = orjson.loads(await gateway.get(f"/v1/streams/{response.headers['x-stream-id']}"))
    assert (description["state"], description["ending"]) == ("ended", "completed")
    assert description["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "estimated": False}


async def test_the_beginning_of_an_attempt_that_failed_never_goes_out(gateway: Gateway) -> None:
    gateway.upstreams[0].serve = streamed(START, failure("out of ink"))
    response, body = await gateway.post()
    assert (response.headers["x-upstream"], response.headers["x-attempts"]) == ("beta", "2")
    assert body == b"".join(FRAMES)


async def test_a_break_after_the_first_content_is_told_in_the_words_of_the_dialect(gateway: Gateway) -> None:
    gateway.upstreams[0].serve = streamed(START, text("one"), failure("out of ink"))
    response, body = await gateway.post()
    assert response.status == 200
    assert body.startswith(START + text("one") + b"event: failure\ndata: ")
    assert b"alpha: the upstream reported an error: out of ink" in body
    assert body.count(b"event: ") == 3, "a break has no terminal behind it"


async def test_a_silent_start_is_bridged_with_the_keep_alive_of_the_dialect(gateway: Gateway) -> None:
    heard = asyncio.Event()

    async def serve(writer: asyncio.StreamWriter) -> None:
        await heard.wait()
        await streamed(*ANSWER)(writer)

    gateway.upstreams[0].serve = serve
    requests = {"model": "m", "ask": "how much?", "live": True}
    async with gateway.client.post(f"{gateway.base}/v1/toy", json=requests) as response:
        assert await response.content.readexactly(len(TOY.keepalive)) == TOY.keepalive
        heard.set()
        rest = await response.content.read()
    assert rest.replace(TOY.keepalive, b"") == b"".join(FRAMES)


async def test_a_whole_answer_is_read_and_told_by_its_dialect(gateway: Gateway) -> None:
    gateway.upstreams[0].serve = answered(200, b'{"text": "much", "in": 3, "out": 1}')
    response, body = await gateway.post(live=False)
    assert response.status == 200
    assert orjson.loads(body) == {"text": "much", "in": 3, "out": 1, "by": "alpha"}


async def test_events_in_the_place_of_a_whole_answer_are_joined_by_its_dialect(gateway: Gateway) -> None:
    gateway.upstreams[0].serve = streamed(*ANSWER)
    response, body = await gateway.post(live=False)
    assert (response.status, response.content_type) == (200, "application/json")
    assert orjson.loads(body) == {"text": "one two three", "in": 3, "out": 2, "by": "alpha"}


async def test_a_refusal_has_the_envelope_of_its_dialect(gateway: Gateway) -> None:
    response, body = await gateway.post(ask=7)
    assert response.status == 400
    request_id = response.headers["x-request-id"]
    assert orjson.loads(body) == {"reason": "ask: must be a string", "request": request_id}
    assert response.headers["toy-request"] == request_id


async def test_what_an_upstream_says_of_a_refused_request_reaches_the_client(gateway: Gateway) -> None:
    gateway.upstreams[0].serve = answered(400, b'{"reason": "no such question"}')
    response, body = await gateway.post()
    assert response.status == 400
    assert orjson.loads(body)["reason"] == "no such question"
