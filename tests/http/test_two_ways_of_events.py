"""Whichever way a subscription takes, the client gets the same: status, headers and body, byte for byte."""

import asyncio
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.access import token_keys
from gateway.access.viewer_token import ViewerToken, mint

from .corpus import Case, body, post
from .events_corpus import ENDED, FEED, GROUPS, PRELUDE_ENDS, RUNNING, get
from .two_ways import WAYS, Bench, Received, as_it_was, masked

__all__ = ["as_it_was"]  # the fixture

Names = dict[str, str]  # what a case may name, and what it is on one way


async def names_of(bench: Bench, way: str, folder: Path) -> Names:
    """The streams that the keys of this way own, and tokens for them."""

    async def create(key: str, ttft_ms: int) -> str:
        async with bench.connection(way) as exchange:
            content = body(simulate={"ttft_ms": ttft_ms, "tokens": 2})
            made = await exchange(post("create", content, line="POST /v1/streams HTTP/1.1", key=key))
        stream_id: str = json.loads(made.body)["id"]
        return stream_id

    ended = await create("plain", 0)
    async with bench.connection(way) as exchange:
        whole = await exchange(get("whole", f"/v1/streams/{ended}/events"))
    epoch, last = re.findall(rb"id: (\w+)-(\d+)", whole.body)[-1]
    key = token_keys.load(folder / "two_ways.db")[0]
    now = int(time.time())
    return {
        "ended": ended,
        "running": await create("plain", 60_000),
        "other": await create("single", 60_000),
        "epoch": epoch.decode(),
        "last": last.decode(),
        "token": mint(ViewerToken(f"stream:{ended}", now + 1000), key),
        "expired": mint(ViewerToken(f"stream:{ended}", now - 1000), key),
        "feed_token": mint(ViewerToken("feed:quiet", now + 1000), key),
    }


def filled(case: Case, names: Names) -> Case:
    """The case with the names that it has in braces."""
    found = re.compile(r"\{(\w+)\}")
    line, *fields = [found.sub(lambda match: names[match[1]], text) for text in (case.line, *case.fields)]
    return replace(case, line=line, fields=tuple(fields))


async def both(bench: Bench, case: Case, names: dict[str, Names]) -> list[Received]:
    """The answers to one request on the fast way and on aiohttp's."""
    answers = []
    for way in WAYS:
        async with bench.connection(way) as exchange:
            answers.append(masked(await exchange(filled(case, names[way]))))
    return answers


def test_the_corpus_is_large() -> None:
    names = [case.name for group in GROUPS.values() for case in group()]
    assert len(names) == len(set(names)) >= 200


LEAST_FAST = {"positions": 60, "tokens": 30, "targets": 4, "channels": 20, "fields": 30}


@pytest.mark.parametrize("group", GROUPS)
async def test_both_ways_give_the_same(tmp_path: Path, group: str) -> None:
    differences = {}
    async with Bench.open(tmp_path) as bench:
        await asyncio.sleep(1.1 if group == "tokens" else 0)  # until the key that expires has expired
        names = {way: await names_of(bench, way, tmp_path) for way in WAYS}
        for case in GROUPS[group]():
            fast, slow = await both(bench, case, names)
            if fast != slow:
                differences[case.name] = (fast, slow)
        assert bench.way.answered >= LEAST_FAST[group]
    assert differences == {}


async def test_both_ways_count_the_same_refusals(tmp_path: Path) -> None:
    async with Bench.open(tmp_path) as bench:
        names = {way: await names_of(bench, way, tmp_path) for way in WAYS}
        await asyncio.sleep(1.1)  # until the key that expires has expired
        counts = [await bench.refusals()]
        for way in WAYS:
            for case in GROUPS["tokens"]():
                async with bench.connection(way) as exchange:
                    await exchange(filled(case, names[way]))
            counts.append(await bench.refusals())
    fast, slow = counts[1] - counts[0], counts[2] - counts[1]
    assert fast == slow
    assert fast.total() > 30


# What a client accepts, and whether it is told in an event stream when to come again.
ACCEPTS = [
    ("text/event-stream", True),
    ("text/event-stream, */*;q=0.5", True),
    ("Text/Event-Stream", True),
    ("*/*", False),
    ("application/json", False),
    ("", False),
]
COME_AGAIN = b"retry: \n"  # its milliseconds are masked


@pytest.mark.parametrize(("accept", "comes_again"), ACCEPTS)
async def test_a_full_gateway_refuses_on_both_ways_alike_and_closes(
    tmp_path: Path, accept: str, comes_again: bool
) -> None:
    async with Bench.open(tmp_path, max_connections=1) as bench, bench.connection("fast") as other:
        assert (await other(post("alone"))).status == 200
        before = await bench.refusals()
        fast, slow = map(masked, await bench.both(get("a feed", FEED, accept=accept)))
        assert fast == slow
        assert (fast.status, fast.body == COME_AGAIN) == ((200, True) if comes_again else (503, False))
        assert fast.closed
        assert bench.way.answered == 1
        assert await bench.refusals() - before == {'{code="service_unavailable",status="503"}': 2}


@pytest.mark.parametrize(("accept", "comes_again"), ACCEPTS[2:4])
@pytest.mark.parametrize("limit", ["max_subscribers", "max_subscribers_per_key"])
async def test_a_subscriber_beyond_a_limit_is_refused_on_both_ways_alike(
    tmp_path: Path, limit: str, accept: str, comes_again: bool
) -> None:
    async with Bench.open(tmp_path, {limit: 1}) as bench:
        names = {way: await names_of(bench, way, tmp_path) for way in WAYS}
        answers = []
        for way in WAYS:
            case = filled(get("one more", RUNNING, mark=PRELUDE_ENDS, accept=accept), names[way])
            async with bench.connection(way) as first, bench.connection(way) as second:
                assert (await first(case)).status == 200
                answers.append(masked(await second(case)))
        assert answers[0] == answers[1]
        refused = 429 if limit == "max_subscribers_per_key" else 503
        assert answers[0].status == (200 if comes_again else refused)
        assert (answers[0].body == COME_AGAIN) is comes_again
        assert not answers[0].closed


@pytest.mark.parametrize("way", WAYS)
async def test_a_subscriber_that_comes_while_draining_gives_its_place_back(tmp_path: Path, way: str) -> None:
    case = get("a feed", FEED, mark=PRELUDE_ENDS)
    async with (
        Bench.open(tmp_path, {"max_subscribers_per_key": 1}) as bench,
        bench.connection(way) as first,
        bench.connection(way) as second,
    ):
        for exchange in (first, second):
            assert (await exchange(post("before"))).status == 200
        await bench.service.drain()
        for exchange in (first, second):
            assert (await exchange(case)).status == 200


@pytest.mark.parametrize("token", ["x", "{expired}", "{token}", "{feed_token}"])
async def test_a_token_that_is_refused_learns_no_name_of_a_feed(tmp_path: Path, token: str) -> None:
    async with Bench.open(tmp_path) as bench:
        names = {way: await names_of(bench, way, tmp_path) for way in WAYS}
        fast, slow = await both(bench, get("no feed", f"/v1/feeds/nothing/events?token={token}", key=None), names)
        assert fast == slow
        assert fast.status in (401, 403)
        assert b"quiet" not in fast.body


async def test_a_key_that_only_the_books_know_subscribes_by_aiohttps_way_and_then_by_the_fast_one(
    tmp_path: Path,
) -> None:
    async with Bench.open(tmp_path) as bench:
        bench.make_key("fast", "new")
        for number in range(2):
            async with bench.connection("fast") as exchange:
                assert (await exchange(get("a feed", FEED, key="new", mark=PRELUDE_ENDS))).status == 200
            assert bench.way.answered == number


async def test_a_connection_serves_on_behind_a_refusal_and_behind_the_end_of_events(tmp_path: Path) -> None:
    async with Bench.open(tmp_path) as bench:
        names = await names_of(bench, "fast", tmp_path)
        before = bench.way.answered
        async with bench.connection("fast") as exchange:
            for case, status in (
                (get("a wrong position", f"{ENDED}?from=x"), 400),
                (get("nothing more", f"{ENDED}?last_event_id={{epoch}}-{{last}}"), 204),
                (post("a stream"), 200),
                (get("no feed", "/v1/feeds/nothing/events"), 404),
                (get("a wrong token", f"{ENDED}?token=x"), 401),
                (get("the whole stream", ENDED), 200),
            ):
                assert (await exchange(filled(case, names))).status == status
        assert bench.way.answered == before + 6


async def test_what_is_sent_ahead_of_a_subscription_is_answered_before_it(tmp_path: Path) -> None:
    async with Bench.open(tmp_path) as bench:
        names = await names_of(bench, "fast", tmp_path)
        async with bench.connection("fast") as exchange:
            exchange.send(post("a stream"))
            assert (await exchange(filled(get("events", ENDED), names))).body.count(b"chat.completion.chunk") > 0
            assert b"id: " in await exchange.until(b"event: end")
