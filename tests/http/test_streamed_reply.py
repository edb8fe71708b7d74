"""A streamed reply on the fast way and on aiohttp's: quiet upstreams, clients that leave, joins, full streams."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .corpus import body, post
from .two_ways import WAYS, Bench, Exchange, as_it_was

__all__ = ["as_it_was"]  # the fixture

SLOW = {"ttft_ms": 300, "gap_ms": 1, "tokens": 3}
ENDLESS = {"ttft_ms": 1, "gap_ms": 5, "tokens": 100_000}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench.open(tmp_path, stream={"commit_after_ms": 50, "max_subscribers": 2}) as bench:
        yield bench


@contextlib.asynccontextmanager
async def exchange_for(bench: Bench, way: str, *more: str, **simulate: float) -> AsyncIterator[Exchange]:
    """A connection on which a stream was asked for."""
    async with bench.connection(way) as exchange:
        exchange.send(post("asked", body(simulate=simulate), *more))
        yield exchange


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_that_waits_long_gets_the_head_and_a_comment_before_the_content(
    bench: Bench, way: str
) -> None:
    async with exchange_for(bench, way, **SLOW) as exchange:
        early = await exchange.until(b": keepalive\n\n")
        assert early.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"x-upstream" not in early  # nobody knows it yet
        assert b"data: " not in early
        assert b"[DONE]" in await exchange.until(b"0\r\n\r\n")
        assert (await exchange(post("another"))).status == 200


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("simulate", [SLOW, ENDLESS], ids=["before the first token", "in the middle"])
async def test_a_client_that_leaves_ends_its_stream_at_once(
    bench: Bench, way: str, simulate: dict[str, float]
) -> None:
    async with exchange_for(bench, way, **simulate) as exchange:
        await exchange.until(b"data: " if simulate is ENDLESS else b"")
        while not await bench.running():
            pass
    async with asyncio.timeout(5):
        while await bench.running():
            pass


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_is_joined_by_its_key_and_has_limited_places(bench: Bench, way: str) -> None:
    key = "X-Stream-Key: shared"
    async with exchange_for(bench, way, key, **SLOW) as first, exchange_for(bench, way, key, **SLOW) as second:
        heads = [await exchange.until(b": keepalive\n\n") for exchange in (first, second)]
        ids = {line for head in heads for line in head.split(b"\r\n") if line.startswith(b"x-stream-id")}
        assert len(ids) == 1
        async with bench.connection(way) as third:
            refused = await third(post("one too many", body(simulate=SLOW), key))
            assert refused.status == 503
            assert b"all the readers" in refused.body
            assert (await third(post("another"))).status == 200
        bodies = [await exchange.until(b"0\r\n\r\n") for exchange in (first, second)]
        assert bodies[0] == bodies[1]


@pytest.mark.parametrize("way", WAYS)
async def test_a_failure_behind_the_head_is_told_in_the_stream_and_closes_it(bench: Bench, way: str) -> None:
    async with exchange_for(bench, way, ttft_ms=200, status=500, head_ms=200) as exchange:
        received = await exchange.until(b"0\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b'"code":"upstream_error"' in received
        assert received.endswith(b"0\r\n\r\n")
