"""Requests that come together are answered in their order, whatever comes behind them, on both ways alike."""

import asyncio
import json
import re
import tomllib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.http.corpus import MODEL
from tests.http.two_ways import WAYS, Bench, as_it_was

__all__ = ["as_it_was"]  # the fixture

CASES: list[Mapping[str, Any]] = tomllib.loads((Path(__file__).parent / "pipelines.toml").read_text())["case"]
PATIENCE = 5.0
HOST = "Host: localhost\r\n"


def post(key: str, **fields: Any) -> bytes:
    """A request for an answer."""
    content = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]} | fields)
    return f"{_head(key)}Content-Length: {len(content)}\r\n\r\n{content}".encode()


def get(key: str, path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\n{HOST}Authorization: Bearer {key}\r\n{more}\r\n".encode()


def parts(key: str) -> dict[str, bytes]:
    """What a client may send, by the words of the cases."""
    content = post(key).partition(b"\r\n\r\n")[2]
    chunked = f"{_head(key)}Transfer-Encoding: chunked\r\n\r\n".encode()
    return {
        "whole": post(key),
        "stream": post(key, stream=True),
        "refused": post(key, model=5),
        "unknown": post(key, model="nobody/knows"),
        "chunked": chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content),
        "broken chunks": chunked + b"zz\r\n\r\n",
        "models": get(key, "/v1/models"),
        "events": get(key, "/v1/streams/st_none/events"),
        "long head": get(key, "/v1/models", f"X-Long: {'x' * 9000}\r\n"),
        "wrong length": f"{_head(key)}Content-Length: x\r\n\r\n".encode(),
        "version": f"GET /v1/models HTTP/3.7\r\n{HOST}\r\n".encode(),
        "preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "garbage": b"\x00\x01\x02 nonsense\r\n\r\n",
        "lines": b"\r\n\r\n",
        "half a head": _head(key).encode(),
        "half a body": post(key)[:-3],
    }


def _head(key: str) -> str:
    line = "POST /v1/chat/completions HTTP/1.1\r\n"
    return f"{line}{HOST}Content-Type: application/json\r\nAuthorization: Bearer {key}\r\n"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench.open(tmp_path) as bench:
        yield bench


async def statuses(bench: Bench, way: str, case: Mapping[str, Any]) -> list[int]:
    """The statuses of all answers up to the end of the connection."""
    bench.way.is_on = way == "fast"
    key = bench.secret(way, "plain")
    assert key is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.service.port)
    known = parts(key)
    writer.write(b"".join(known[word] for word in case["send"]))
    received = await _received(reader, writer, case)
    writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d+) ", received)]


async def _received(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, case: Mapping[str, Any]) -> bytes:
    received = bytearray()
    leaves = case.get("leaves", False)
    try:
        async with asyncio.timeout(PATIENCE):
            while not (leaves and received.count(b"HTTP/1.") == len(case["expect"])):
                if not (more := await reader.read(1 << 16)):
                    return bytes(received)
                received += more
            writer.write_eof()
            received += await reader.read()
    except TimeoutError:
        received += b"HTTP/1.1 0 the connection is still open"
    return bytes(received)


async def test_requests_before_broken_bytes_are_answered_in_their_order_on_both_ways(bench: Bench) -> None:
    wrong = {}
    for case in CASES:
        for way in WAYS:
            found = await statuses(bench, way, case)
            if found != case["expect"]:
                wrong[case["name"], way] = found
    assert wrong == {}
    assert await bench.running() == 0
