"""Whichever way a request takes, the client gets the same: status, headers and body, byte for byte."""

import asyncio
from pathlib import Path

import pytest

from .corpus import GROUPS, Case, body, post
from .two_ways import WAYS, Bench, as_it_was, masked

__all__ = ["as_it_was"]  # the fixture


def test_the_corpus_is_large() -> None:
    names = [case.name for group in GROUPS.values() for case in group()]
    assert len(names) == len(set(names)) >= 500


LEAST_FAST = {"types": 200, "extension": 60, "documents": 35, "heads": 20, "options": 20, "keys": 30, "upstreams": 20,
              "mutations": 60, "lines": 0}  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
async def test_both_ways_give_the_same(tmp_path: Path, group: str) -> None:
    differences = {}
    async with Bench.open(tmp_path) as bench:
        await asyncio.sleep(1.1 if group == "keys" else 0)  # until the key that expires has expired
        for case in GROUPS[group]():
            fast, slow = map(masked, await bench.both(case))
            if fast != slow:
                differences[case.name] = (fast, slow)
        assert bench.way.answered >= LEAST_FAST[group]
    assert differences == {}


@pytest.mark.parametrize("group", ["keys", "lines"])
async def test_both_ways_count_the_same_refusals(tmp_path: Path, group: str) -> None:
    async with Bench.open(tmp_path) as bench:
        await asyncio.sleep(1.1)  # until the key that expires has expired
        counts = [await bench.refusals()]
        for way in WAYS:
            for case in GROUPS[group]():
                async with bench.connection(way) as exchange:
                    await exchange(case)
            counts.append(await bench.refusals())
    fast, slow = counts[1] - counts[0], counts[2] - counts[1]
    assert fast == slow
    assert fast.total() > 10


@pytest.mark.parametrize(
    ("case", "word"),
    [
        (Case("no Host", post("").content, fields=("Content-Type: application/json",)), b"'Host'"),
        (post("140 fields", None, *[f"X-{number}: 1" for number in range(140)]), b"Too many headers"),
    ],
)
async def test_what_http_forbids_is_refused_on_both_ways_as_aiohttp_refuses_it(
    tmp_path: Path, case: Case, word: bytes
) -> None:
    async with Bench.open(tmp_path) as bench:
        fast, slow = map(masked, await bench.both(case))
        assert fast == slow
        assert fast.status == 400
        assert word in fast.body
        assert bench.way.answered == 0


@pytest.mark.parametrize(
    "case", [post("a stream"), post("a broken body", b'"stream": true'), post("a wrong key", key="long")]
)
async def test_a_draining_gateway_refuses_on_both_ways_alike_and_closes(tmp_path: Path, case: Case) -> None:
    async with Bench.open(tmp_path) as bench, bench.connection("fast") as fast, bench.connection("aiohttp") as slow:
        for exchange in (fast, slow):
            assert (await exchange(post("before"))).status == 200
        await bench.service.drain()
        answers = [masked(await exchange(case)) for exchange in (fast, slow)]
        assert answers[0] == answers[1]
        assert answers[0].status == 503
        assert answers[0].closed
        assert b"shutting down" in answers[0].body


@pytest.mark.parametrize("case", [post("a stream"), post("a broken body", b'"stream": true')])
async def test_a_full_gateway_refuses_on_both_ways_alike_and_closes(tmp_path: Path, case: Case) -> None:
    async with Bench.open(tmp_path, max_connections=1) as bench, bench.connection("fast") as other:
        assert (await other(post("alone"))).status == 200
        fast, slow = map(masked, await bench.both(case))
        assert fast == slow
        assert fast.status == 503
        assert fast.closed
        assert b"all the connections" in fast.body


async def test_a_key_with_all_its_requests_running_is_refused_on_both_ways_alike(tmp_path: Path) -> None:
    slow_stream = body(simulate={"ttft_ms": 300})
    async with Bench.open(tmp_path) as bench:
        for way in WAYS:
            async with bench.connection(way) as first, bench.connection(way) as second:
                running = asyncio.create_task(first(post("running", slow_stream, key="single")))
                await asyncio.sleep(0.1)
                refused = masked(await second(post("one too many", key="single")))
                assert refused.status == 429
                assert b"1 requests running" in refused.body
                assert (await running).status == 200


async def test_a_connection_serves_on_behind_errors_of_every_kind_on_both_ways_alike(tmp_path: Path) -> None:
    row = [
        post("a wrong field", body(n=0)), post("a stream"), post("an unknown model", body(model="x")),
        post("broken JSON", b'{"stream": true'), post("a whole answer", body(stream=False)),
        post("a failing upstream", body(simulate={"status": 500})), post("a wrong key", key="long"), post("the last"),
    ]  # fmt: skip
    async with Bench.open(tmp_path) as bench, bench.connection("fast") as fast, bench.connection("aiohttp") as slow:
        for case in row:
            answers = [masked(await exchange(case)) for exchange in (fast, slow)]
            assert answers[0] == answers[1]
            assert not answers[0].closed
        assert bench.way.answered == len(row) - 1  # the fast way answered all requests but the one for a whole answer


async def test_a_plain_request_takes_the_fast_way_behind_a_request_that_is_not_plain(tmp_path: Path) -> None:
    async with Bench.open(tmp_path) as bench, bench.connection("fast") as exchange:
        for number in range(5):
            get = post("models", b"", line="GET /v1/models HTTP/1.1", length="")
            assert (await exchange(get)).status == 200
            assert (await exchange(post("a stream"))).status == 200
            assert bench.way.answered == number + 1
