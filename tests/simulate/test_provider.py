"""The simulated provider on real loopback ports; the client is made of asyncio streams only."""

import asyncio
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.simulate import Provider, Script
from gateway.simulate.dice import settled
from tests.kit.async_http import read_chunk, read_chunks, read_head
from tests.kit.waiting import until

FAST = Script(ttft_ms=0, gap_ms=0, tokens=5)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = await Provider.start(script=FAST)
    yield provider
    await provider.close()


class Client:
    """One connection that sends requests and reads whole responses."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, provider: Provider, context: ssl.SSLContext | None = None) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", provider.port, ssl=context))

    def send(self, method: str, target: str, body: Any = None, **headers: str) -> None:
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"{method} {target} HTTP/1.1\r\nHost: sim\r\n{named}Content-Length: {len(data)}\r\n\r\n"
        self.writer.write(head.encode() + data)

    def complete(self, **simulate: Any) -> None:
        body: dict[str, Any] = {"model": "m", "stream": True, "messages": []}
        self.send("POST", "/v1/chat/completions", body | ({"simulate": simulate} if simulate else {}))

    async def head(self) -> tuple[int, dict[str, str]]:
        return await read_head(self.reader)

    async def chunk(self) -> bytes:
        return await read_chunk(self.reader)

    async def chunks(self) -> list[bytes]:
        return await read_chunks(self.reader)

    async def answer(self) -> tuple[int, Any]:
        status, headers = await self.head()
        body = await self.reader.readexactly(int(headers["content-length"]))
        return status, orjson.loads(body)

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[Client]:
    client = await Client.connect(provider)
    yield client
    client.writer.transport.abort()


async def test_a_stream_arrives_event_by_event_and_the_connection_serves_the_next(
    provider: Provider, client: Client
) -> None:
    for _ in range(3):
        client.complete()
        status, headers = await client.head()
        chunks = await client.chunks()
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert len(chunks) == 8
        assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in chunks)
        assert chunks[-1] == b"data: [DONE]\n\n"
    seen = provider.statistics()
    assert (seen.requests, seen.completed, seen.connections_accepted, seen.aborted) == (3, 3, 1, 0)


async def test_tokens_are_not_early_and_do_not_drift(client: Client) -> None:
    started = time.monotonic()
    client.complete(ttft_ms=60, gap_ms=2, tokens=20)
    await client.head()
    await client.chunk()
    await client.chunk()
    assert time.monotonic() - started >= 0.058
    await client.chunks()
    assert time.monotonic() - started >= 0.098


async def test_a_slow_request_is_as_late_as_told_and_the_dice_are_those_of_its_number(client: Client) -> None:
    dice: dict[str, Any] = {"ttft_ms": 1, "slow_share": 0.5, "slow_ttft_ms": 60, "tokens": 1}
    waits = [settled(Script.parse(dice), number).ttft_ms for number in range(1, 9)]
    assert set(waits) == {1, 60}
    for wait in waits:
        started = time.monotonic()
        client.complete(**dice)
        await client.head()
        assert len(await client.chunks()) == 4
        assert time.monotonic() - started >= wait / 1000 - 0.002


async def test_a_request_that_is_not_streamed_gets_json(client: Client) -> None:
    client.send("POST", "/v1/chat/completions", {"model": "m", "messages": []})
    status, answer = await client.answer()
    assert (status, answer["object"], answer["usage"]["completion_tokens"]) == (200, "chat.completion", 5)


async def test_a_request_in_pieces_is_put_together(client: Client) -> None:
    body = b'{"model":"m","messages":[]}'
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: s\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    for n in range(len(request)):
        client.writer.write(request[n : n + 1])
        await asyncio.sleep(0)
    assert (await client.answer())[0] == 200


async def test_requests_sent_ahead_are_answered_in_turn(client: Client) -> None:
    client.complete(tokens=2)
    client.complete(tokens=1)
    for tokens in (2, 1):
        await client.head()
        assert len(await client.chunks()) == tokens + 3


async def test_a_reset_is_a_reset_and_a_cut_is_an_end(provider: Provider) -> None:
    reset = await Client.connect(provider)
    reset.complete(reset_after=2)
    with pytest.raises(ConnectionResetError):
        await reset.reader.read(-1)
    reset.writer.transport.abort()
    cut = await Client.connect(provider)
    cut.complete(cut_after=2)
    assert not (await cut.reader.read(-1)).endswith(b"\n")
    await cut.close()
    assert (provider.statistics().broken, provider.statistics().completed) == (2, 0)


async def test_the_half_frame_arrives_before_the_reset(client: Client) -> None:
    client.complete(reset_after=1)
    await client.head()
    await client.chunk()
    await client.chunk()
    assert int(await client.reader.readuntil(b"\r\n"), 16) > 100
    assert await client.reader.readexactly(6) == b"data: "


@pytest.mark.parametrize("simulate", [{"close_after": 1}, {"error_after": 1}, {"keep_alive": False}])
async def test_a_proper_end_may_be_followed_by_the_close(client: Client, simulate: dict[str, Any]) -> None:
    client.complete(**simulate)
    assert (await client.reader.read(-1)).endswith(b"0\r\n\r\n")


async def test_a_close_delimited_body_ends_with_the_connection(client: Client) -> None:
    client.complete(body="close")
    assert (await client.reader.read(-1)).endswith(b"data: [DONE]\n\n")


async def test_http_1_0_gets_no_chunks(client: Client) -> None:
    body = b'{"model":"m","stream":true,"messages":[]}'
    request = b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body)
    client.writer.write(request + body)
    assert (await client.reader.read(-1)).endswith(b"\n\ndata: [DONE]\n\n")


async def test_pieces_of_one_byte_join_to_the_same_stream(client: Client) -> None:
    client.complete(split=1)
    await client.head()
    assert len(await client.chunks()) == 8


async def test_an_error_status_is_answered_and_the_connection_goes_on(client: Client) -> None:
    client.complete(status=429, retry_after=3)
    status, headers = await client.head()
    assert (status, headers["retry-after"]) == (429, "3")
    await client.reader.readexactly(int(headers["content-length"]))
    client.complete()
    assert (await client.head())[0] == 200


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize("simulate", [{"stall_after": 2}, {"stall_before": "head"}, {"gap_ms": 60_000}])
async def test_a_client_that_leaves_is_noticed_even_in_silence(
    provider: Provider, simulate: dict[str, Any], how: str
) -> None:
    client = await Client.connect(provider)
    client.complete(**simulate)
    if "stall_before" not in simulate:
        await client.head()
        await client.chunk()
        await client.chunk()
    await until(lambda: provider.statistics().streams_running == 1)
    left_at = time.monotonic()
    if how == "fin":
        await client.close()
    else:
        client.reset()
    await until(lambda: provider.statistics().aborted == 1 and provider.statistics().open_connections == 0)
    seen = provider.statistics()
    (abort,) = seen.aborts
    assert abort["request"] == 1
    assert abort["at"] >= left_at
    assert abort["tokens"] == {"stall_after": 2, "stall_before": 0, "gap_ms": 1}[next(iter(simulate))]
    assert (seen.streams_running, seen.completed) == (0, 0)


async def test_leaving_after_the_end_is_no_abort(provider: Provider) -> None:
    client = await Client.connect(provider)
    client.complete()
    await client.head()
    await client.chunks()
    client.reset()
    await until(lambda: provider.statistics().open_connections == 0)
    assert provider.statistics().aborted == 0


async def test_a_client_that_does_not_read_holds_the_stream_back(provider: Provider, client: Client) -> None:
    transport = client.writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    client.complete(tokens=1_000_000)
    await until(lambda: provider.statistics().streams_running == 1)
    for _ in range(2_000):  # far more passes than a million tokens would need without a hold
        await asyncio.sleep(0)
    client.reset()
    await until(lambda: provider.statistics().aborted == 1)
    assert 0 < provider.statistics().aborts[0]["tokens"] < 100_000


async def test_a_slow_client_gets_everything_in_the_end(client: Client) -> None:
    client.complete(tokens=20_000)
    await client.head()
    assert len(await client.chunks()) == 20_003


async def test_close_ends_everything_at_once_and_blames_nobody(provider: Provider) -> None:
    clients = [await Client.connect(provider) for _ in range(3)]
    for client in clients[:2]:
        client.complete(stall_after=1)
        await client.head()
    await provider.close()
    seen = provider.statistics()
    assert (seen.open_connections, seen.streams_running, seen.aborted) == (0, 0, 0)
    for client in clients:
        client.writer.transport.abort()
    with pytest.raises(ConnectionRefusedError):
        await Client.connect(provider)


async def test_the_script_can_be_set_at_run_time_in_both_ways(provider: Provider, client: Client) -> None:
    client.send("PUT", "/script", {"ttft_ms": 0, "gap_ms": 0, "tokens": 1})
    status, script = await client.answer()
    assert (status, script["tokens"], script["usage"]) == (200, 1, "auto")
    assert provider.script == Script(ttft_ms=0, gap_ms=0, tokens=1)
    client.complete()
    await client.head()
    assert len(await client.chunks()) == 4
    provider.script = FAST
    client.complete()
    await client.head()
    assert len(await client.chunks()) == 8


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "complaint"),
    [
        ("PUT", "/script", {"tempo": 1}, 400, "tempo: no such field"),
        ("PUT", "/script", b"{", 400, "not JSON"),
        ("POST", "/v1/chat/completions", b"nonsense", 400, "not JSON"),
        ("POST", "/v1/chat/completions", [1], 400, "must be a JSON object"),
        (
            "POST",
            "/v1/chat/completions",
            {"simulate": {"tokens": "x"}},
            400,
            "tokens: must be a whole number",
        ),
        ("POST", "/v1/chat/completions", {"simulate": 1}, 400, "must be a JSON object"),
        ("GET", "/v1/events?count=x", None, 400, "count: must be a number"),
        ("GET", "/v1/chat/completions", None, 405, "wants POST"),
        ("GET", "/nowhere", None, 404, "no /nowhere"),
    ],
)
async def test_a_wrong_request_is_told_why(
    provider: Provider, client: Client, method: str, target: str, body: Any, status: int, complaint: str
) -> None:
    client.send(method, target, body)
    seen, answer = await client.answer()
    assert seen == status
    assert complaint in answer["error"]["message"]
    assert provider.script == FAST
    assert provider.statistics().requests == 0


async def test_what_is_not_http_is_refused_and_closed(client: Client) -> None:
    client.writer.write(b"\x16\x03\x01 hello\r\n\r\n")
    assert (await client.reader.read(-1)).startswith(b"HTTP/1.1 400 ")


async def test_statistics_tell_the_last_request(provider: Provider, client: Client) -> None:
    client.send("POST", "/v1/chat/completions", {"model": "m", "messages": []}, Authorization="Bearer k")
    await client.answer()
    client.send("GET", "/stats")
    status, seen = await client.answer()
    assert status == 200
    assert (seen["requests"], seen["completed"], seen["open_connections"], seen["aborts"]) == (1, 1, 1, [])
    assert seen["last_request"]["headers"]["authorization"] == "Bearer k"
    assert seen["last_request"]["body"] == {"model": "m", "messages": []}


async def test_models_are_listed(client: Client) -> None:
    client.send("GET", "/v1/models")
    status, answer = await client.answer()
    assert (status, answer["object"], answer["data"][0]["owned_by"]) == (200, "list", "sim")


async def test_a_feed_can_be_resumed(provider: Provider, client: Client) -> None:
    client.send("GET", "/v1/events?count=3&gap_ms=0", Last_Event_ID="1")
    await client.head()
    chunks = await client.chunks()
    assert chunks == [b"retry: 100\n\n"] + [b'event: tick\nid: %d\ndata: {"n":%d}\n\n' % (n, n) for n in (2, 3)]
    client.send("GET", "/v1/events?count=3", Last_Event_ID="3")
    assert (await client.head())[0] == 204
    last = provider.statistics().last_request
    assert last is not None
    assert last["headers"]["last-event-id"] == "3"


async def test_the_provider_speaks_tls_and_can_break_it_off(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    _make_certificate(key, certificate)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))
    provider = await Provider.start(script=FAST, ssl=server)
    assert provider.base_url == f"https://127.0.0.1:{provider.port}/v1"
    client = await Client.connect(provider, trusting)
    client.complete()
    await client.head()
    assert len(await client.chunks()) == 8
    client.complete(reset_after=1)
    with pytest.raises(ConnectionError):
        await client.reader.read(-1)
    client.writer.transport.abort()
    await provider.close()


def _make_certificate(key: Path, certificate: Path) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=sim"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command.split() + files, check=True, capture_output=True)


@pytest.fixture
async def groq() -> AsyncIterator[Provider]:
    provider = await Provider.start(script=FAST, like="groq")
    yield provider
    await provider.close()


async def test_a_real_provider_is_played_on_its_own_paths_only(groq: Provider) -> None:
    assert groq.base_url == f"{groq.origin}/openai/v1"
    client = await Client.connect(groq)
    client.send("POST", "/v1/chat/completions", {"model": "m"}, Authorization="Bearer k")
    status, answer = await client.answer()
    assert (status, answer["error"]["code"]) == (404, "unknown_url")
    client.send("GET", "/openai/v1/models", Authorization="Bearer k")
    assert (await client.answer())[1]["data"][0]["id"] == "llama-3.1-8b-instant"
    client.send("GET", "/openai/v1/models")
    assert (await client.answer())[0] == 401
    client.send("POST", "/openai/v1/chat/completions", {"model": "m", "stream": True}, Authorization="Bearer k")
    await client.head()
    assert b"x_groq" in (await client.chunks())[0]
    await client.close()


async def test_a_refusal_of_a_played_provider_is_counted_with_its_headers(groq: Provider) -> None:
    client = await Client.connect(groq)
    client.send("POST", "/openai/v1/chat/completions", {"model": "m"}, Authorization="Bearer wrong-key")
    assert (await client.answer())[0] == 401
    seen = groq.statistics()
    assert (seen.requests, seen.completed) == (1, 1)
    assert seen.last_request is not None
    assert seen.last_request["headers"]["authorization"] == "Bearer wrong-key"
    await client.close()


async def test_a_played_provider_has_the_controls_of_any_other(groq: Provider) -> None:
    client = await Client.connect(groq)
    client.send("PUT", "/script", {"status": 429, "retry_after": 8})
    assert (await client.answer())[1]["status"] == 429
    client.send("POST", "/openai/v1/chat/completions", {"model": "m"}, Authorization="Bearer k")
    status, answer = await client.answer()
    assert (status, answer["error"]["code"]) == (429, "rate_limit_exceeded")
    client.send("POST", "/openai/v1/chat/completions", b"no JSON", Authorization="Bearer k")
    assert (await client.answer())[0] == 400
    await client.close()


async def test_the_script_of_a_played_provider_is_that_of_its_likeness() -> None:
    provider = await Provider.start(like="deepseek")
    assert (provider.script.comment, provider.script.reasoning_tokens) == ("keep-alive", 8)
    await provider.close()
    with pytest.raises(ValueError, match="no provider is called 'deepsink'"):
        await Provider.start(like="deepsink")


async def test_the_first_request_alone_waits_for_the_model(client: Client) -> None:
    for waits in (True, False):
        started = time.monotonic()
        client.complete(ttft_ms=0, gap_ms=0, tokens=1, load_ms=60)
        await client.head()
        assert (time.monotonic() - started >= 0.058) is waits
        await client.chunks()
