"""A gateway whose fast way a test can switch off, and what its clients get, to compare the two ways of a request."""

import asyncio
import contextlib
import gc
import json
import re
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.access import secret as key_secret
from gateway.commands import key_orders
from gateway.config import Config
from gateway.http.client_connection import ClientProtocol
from gateway.http.fast_path import FastPath
from gateway.http.request_parser import PlainRequest, Unparsed
from gateway.http.streamed_reply import ReplyParts
from gateway.run.service import Seams, Service
from gateway.simulate import Provider, Script

from .corpus import MAX_BODY_BYTES, MODEL, Case, post

WAYS = ("fast", "aiohttp")
PATIENCE = 20.0
SILENCE = 0.3  # seconds without an answer after which the server counts as waiting for the rest of a request
KEYS: dict[str, dict[str, Any]] = {
    "plain": {}, "revoked": {}, "expired": {"expires": "1s"}, "narrow": {"models": "gone/model"},
    "poor": {"balance_usd": "1"}, "empty": {"balance_usd": "0"}, "single": {"max_streams": 1}, "slow": {"rpm": 2},
}  # fmt: skip


class SwitchedWay:
    """The fast way, which a test can switch off: then aiohttp answers all requests of the same gateway."""

    def __init__(self, parts: ReplyParts, max_body_bytes: int) -> None:
        self._fast = FastPath(parts, max_body_bytes)
        self.is_on = True
        self.answered = 0

    def parse(self, data: bytes) -> PlainRequest | Unparsed:
        return self._fast.parse(data) if self.is_on else Unparsed.NOT_PLAIN

    def answer(self, client: ClientProtocol, request: PlainRequest) -> bool:
        taken = self._fast.answer(client, request)
        self.answered += taken
        return taken


@dataclass(frozen=True, slots=True)
class Received:
    """The answer that a client gets: the lines of all heads, interim heads too, and the body without its chunks."""

    heads: tuple[tuple[str, ...], ...]
    body: bytes
    closed: bool  # whether the server closed the connection behind it

    @property
    def status(self) -> int:
        return int(self.heads[-1][0].split()[1]) if self.heads else 0


class Bench:
    """A gateway in this process with an upstream, and for each way one key of each kind."""

    def __init__(
        self, service: Service, way: SwitchedWay, settings: Config, secrets: dict[str, dict[str, str]]
    ) -> None:
        self.service = service
        self._settings = settings
        self.way = way
        self._secrets = secrets

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, folder: Path, stream: dict[str, int] | None = None, **server: int) -> AsyncIterator["Bench"]:
        upstream = await Provider.start(script=Script(ttft_ms=0, gap_ms=0, tokens=2))
        settings = _settings(folder, upstream.base_url, server, stream or {})
        secrets = {way: _make_keys(settings) for way in WAYS}
        built: list[SwitchedWay] = []

        def build(parts: ReplyParts, max_body_bytes: int) -> SwitchedWay:
            built.append(SwitchedWay(parts, max_body_bytes))
            return built[0]

        service = Service(settings, seams=Seams(build_fast_way=build), tunes_collector=False)
        await service.start()
        try:
            yield cls(service, built[0], settings, secrets)
        finally:
            await service.stop()
            await upstream.close()

    async def both(self, case: Case) -> tuple[Received, Received]:
        """The answers to one request on the fast way and on aiohttp's."""
        answers = []
        for way in WAYS:
            async with self.connection(way) as exchange:
                answers.append(await exchange(case))
        return answers[0], answers[1]

    @contextlib.asynccontextmanager
    async def connection(self, way: str) -> AsyncIterator["Exchange"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
        try:
            yield Exchange(self, way, reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def running(self) -> int:
        """How many completions run."""
        async with self.connection("aiohttp") as exchange:
            answer = await exchange(post("ready", b"", line="GET /readyz HTTP/1.1", length=""))
        streams: int = json.loads(answer.body)["streams"]
        return streams

    async def refusals(self) -> Counter[str]:
        """How many requests were answered with an error, by status and code."""
        async with self.connection("aiohttp") as exchange:
            answer = await exchange(post("metrics", b"", line="GET /metrics HTTP/1.1", length=""))
        rows = re.findall(r"^rivergate_refusals_total(\{.*\}) (\d+)", answer.body.decode(), re.MULTILINE)
        return Counter({labels: int(count) for labels, count in rows})

    def make_key(self, way: str, name: str) -> None:
        """Make another key, which the gateway has not read from the books yet."""
        self._secrets[way][name], _ = key_orders.create(self._settings, key_orders.KeyOrder(name))

    def secret(self, way: str, key: str | None) -> str | None:
        return None if key is None else self._secrets[way][key]


class Exchange:
    """A connection, on which one request after the other is answered on one way."""

    def __init__(self, bench: Bench, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._bench = bench
        self._way = way
        self._reader = reader
        self._writer = writer

    def send(self, case: Case) -> None:
        self._bench.way.is_on = self._way == "fast"
        self._writer.write(case.encode(self._bench.secret(self._way, case.key)))

    async def until(self, mark: bytes) -> bytes:
        """The bytes that come, up to and including `mark`."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.readuntil(mark) if mark else b""

    async def __call__(self, case: Case) -> Received:
        self.send(case)
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._receive(case)
        except ConnectionError:
            return Received((), b"", closed=True)

    async def _receive(self, case: Case) -> Received:
        heads: list[tuple[str, ...]] = []
        while True:
            try:
                async with asyncio.timeout(SILENCE if not heads and "Length" in case.name else PATIENCE):
                    head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            except asyncio.IncompleteReadError as end:
                return Received(tuple(heads), end.partial, closed=True)
            except TimeoutError:
                return Received((), b"", closed=False)
            lines = tuple(head.split("\r\n")[:-2])
            heads.append(lines)
            if lines[0].split()[1] != "100":
                break
        fields = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines[1:]}
        if case.mark and lines[0].split()[1] == "200" and "content-length" not in fields:
            content = await self.until(case.mark)
        else:
            content = b"" if case.line.startswith("HEAD") else await self._content(lines[0], fields)
        closed = fields.get("connection") == "close" or "content-length" not in fields
        return Received(tuple(heads), content, closed and "transfer-encoding" not in fields)

    async def _content(self, line: str, fields: dict[str, str]) -> bytes:
        if fields.get("transfer-encoding") == "chunked":
            content = b""
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                content += (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readexactly(2)
            return content
        if "content-length" in fields:
            return await self._reader.readexactly(int(fields["content-length"]))
        return b"" if " 204 " in line else await self._reader.read()


def _settings(folder: Path, base_url: str, server: dict[str, int], stream: dict[str, int]) -> Config:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        gone_port = gone.getsockname()[1]
    price = {"input_usd_per_mtok": Decimal(1), "output_usd_per_mtok": Decimal(2)}
    return Config.model_validate(
        {
            "server": {
                "listen": "127.0.0.1:0",
                "max_body_bytes": MAX_BODY_BYTES,
                "cors_origins": ["http://good.example"],
                **server,
            },
            "storage": {"path": str(folder / "two_ways.db")},
            "routing": {"breaker_failures": 0},
            "stream": stream,
            "upstreams": [
                {"name": "alpha", "base_url": base_url, "models": [{"id": MODEL, **price}]},
                {
                    "name": "gone",
                    "base_url": f"http://127.0.0.1:{gone_port}/v1",
                    "models": [{"id": "gone/model", **price}],
                },
            ],
            "feeds": [{"name": "quiet", "url": f"http://127.0.0.1:{gone_port}/events"}],
        }
    )


def _make_keys(settings: Config) -> dict[str, str]:
    made = {}
    for name, order in KEYS.items():
        secret, key = key_orders.create(settings, key_orders.KeyOrder(name, **order))
        made[name] = secret
        if name == "revoked":
            key_orders.revoke(settings, key.id)
    unknown = key_secret.make(lambda alphabet: alphabet[3])
    return {**made, "unknown": unknown, "mistyped": unknown[:-1] + "!", "long": "x" * 2000, "blank": ""}


# Parts of an answer that differ between any two requests; everything else has to be the same.
VARYING = re.compile(
    rb"(?<=req_)[0-9a-f]{24}|(?<=chatcmpl-)[\w.:-]+|(?<=\"created\":)\d+|(?<=_ms\":)[\d.]+|(?<=throughput_tps\":)[\d.]+"
    rb"|(?<=st_)[\w-]{24}|(?<=\"uptime_seconds\":)\d+|(?<=retry: )\d{4}|(?<=id: )\w+(?=-)|(?<=\"epoch\":\")\w+"
)
VARYING_FIELDS = re.compile(
    r"^(date|x-stream-id|x-ttft-ms|x-ratelimit-reset-requests|retry-after|location): .*$", re.IGNORECASE
)
GENERATED_ID = re.compile(r"(?<=^x-request-id: req_)[0-9a-f]{24}$")


LENGTH = re.compile(r"(?<=^Content-Length: )\d+$")


def masked(received: Received) -> Received:
    """The answer with all parts in `VARYING` replaced by a mask; its length is that of the masked body."""
    content = VARYING.sub(b"", received.body)
    heads = []
    for lines in received.heads:
        lengths = [int(found[0]) for line in lines if (found := LENGTH.search(line))]
        assert not received.body or lengths in ([], [len(received.body)])
        same = [
            LENGTH.sub(str(len(content)), VARYING_FIELDS.sub(r"\1", GENERATED_ID.sub("", line))) for line in lines
        ]
        heads.append(tuple(same))
    return Received(tuple(heads), content, received.closed)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Undo, after the test, what a service changes in its process."""
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)
    gc.unfreeze()
