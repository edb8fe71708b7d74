"""An exception at any step of an end leaves nothing held, and whoever asked hears of the end.

Each test ends answers one after the other: with an exception at the first step of the end, at the second, and so on.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from gateway.completion.completion import Completion, State
from gateway.completion.whole import WholeAnswer
from gateway.endings import Ending
from gateway.simulate import Script
from gateway.stream.stream import Stream
from gateway.upstream.attempt import Attempt
from gateway.upstream.connection import UpstreamConnection
from tests.delivery.memory import MemorySink, frames, stream_of, subscriber_of

from .house import PATIENCE, House, Street, ask, street
from .trap import Trap

BALANCE = 1_000_000_000
ONE_TOKEN = Script(ttft_ms=0, gap_ms=0, tokens=1)
SILENT = Script(stall_before="head")
REFUSING = Script(status=500)
MAX_STEPS = 2000
ERRORS = (RecursionError, MemoryError, ValueError, KeyError)
End = Callable[[Trap], Coroutine[None, None, None]]


class Site:
    """A house, and the answers that end in it with a fault."""

    def __init__(self, place: Street, house: House) -> None:
        self.street = place
        self.house = house

    async def end_stream(self, trap: Trap) -> None:
        """Ask for a stream, and wait until it has ended; a silent upstream is stopped."""
        completion = self.house.opening(ask(stream=True)).open()
        assert isinstance(completion, Completion)
        decided = asyncio.Event()
        completion.when_decided(lambda failure: decided.set())
        subscriber, sink = subscriber_of(completion.stream)
        with trap.set():
            await self._stop_if_silent(completion)
            async with asyncio.timeout(PATIENCE):
                await decided.wait()
                await subscriber.wait_closed()
        assert completion.stream.ending is not None
        assert sink.closed

    async def end_whole(self, trap: Trap) -> None:
        """Ask for a whole answer, and wait for it; a silent upstream is stopped."""
        completion = self.house.opening(ask()).open_whole()
        waiting = asyncio.ensure_future(completion.wait_answer())
        with trap.set():
            await self._stop_if_silent(completion)
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait([waiting])
        assert waiting.exception() is not None or isinstance(waiting.result(), WholeAnswer)

    async def _stop_if_silent(self, completion: Completion) -> None:
        if self.street.providers[0].script is not SILENT:
            return
        await asyncio.sleep(0)  # a whole answer is waited for
        try:
            completion.stop(Ending.STOPPED)
        except ERRORS:
            if completion.state is not State.ENDED:  # the stop has not begun: then it can be tried again
                completion.stop(Ending.STOPPED)

    async def check(self, place: str) -> None:
        """Check that nothing is held, and that the records that there are took their cost off the balance."""
        account, bank = self.house.account, self.house.bank
        async with asyncio.timeout(PATIENCE):
            while bank.statistics().unwritten:  # noqa: ASYNC110 - it is written in another thread
                await asyncio.sleep(0.001)
        assert (account.running, account.reserved) == (0, 0), place
        assert self.house.hub.statistics().running == 0, place
        assert self.street.balance == BALANCE - self.street.spent, place


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr("gateway.access.settling.GATHER_SECONDS", 0.0)
    monkeypatch.setattr("gateway.access.settling.LINGER_SECONDS", 0.0)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # it gets the faults, as raised
    async with street(ONE_TOKEN, balance=BALANCE) as place:
        house = place.house()
        yield Site(place, house)
        await house.close()


async def at_every_step(site: Site, entry: Callable[..., object], end: End) -> list[str]:
    """End an answer with a fault at each step of `entry`; returns the places of the faults."""
    places: list[str] = []
    for at in range(1, MAX_STEPS):
        trap = Trap(entry, at, ERRORS[at % len(ERRORS)])
        try:
            await end(trap)
        except TimeoutError:
            raise AssertionError(f"nobody heard of the end: {trap.place}") from None
        if not trap.is_sprung:
            return places
        places.append(trap.place)
        await site.check(trap.place)
    raise AssertionError("there are too many steps")


# What the upstream does, where the steps begin, and how many there are at least.
ENTRIES: dict[str, tuple[Script, Callable[..., object], int]] = {
    "complete": (ONE_TOKEN, Attempt.on_complete, 100),
    "stopped": (SILENT, Completion.stop, 100),
    "failed": (REFUSING, Attempt.on_broken, 100),
    "begun": (ONE_TOKEN, Attempt.on_content, 10),
    "answered": (ONE_TOKEN, Attempt.on_head, 3),
    "read": (ONE_TOKEN, UpstreamConnection.data_received, 15),
}


@pytest.mark.parametrize("how", ENTRIES)
@pytest.mark.parametrize("way", ["stream", "whole"])
async def test_an_end_with_a_fault_at_any_step_holds_nothing(site: Site, way: str, how: str) -> None:
    site.street.providers[0].script, entry, least = ENTRIES[how]
    places = await at_every_step(site, entry, site.end_stream if way == "stream" else site.end_whole)
    assert len(places) >= least
    settled = len(site.street.store.usage)
    # A fault in the bank itself costs the record; the log line of the answer still has it.
    in_bank = sum("bookkeeping" in place or "bank" in place or "settle" in place for place in places)
    assert len(places) - in_bank <= settled <= len(places) + 1


async def test_a_fault_at_any_step_of_closing_a_stream_leaves_no_subscriber_waiting() -> None:
    for at in range(1, MAX_STEPS):
        stream = stream_of()
        served = [subscriber_of(stream) for _ in range(3)]
        late = stream.join(chunked=False)
        stream.on_frames(frames(2))
        trap = Trap(Stream.close, at, ERRORS[at % len(ERRORS)])
        with trap.set():
            try:
                stream.close(Ending.COMPLETED, [b"data: last\n\n"])
            except ERRORS:
                if stream.ending is None:  # it has not begun: then it can be tried again
                    stream.close(Ending.COMPLETED, [b"data: last\n\n"])
        for _ in range(20):  # a pass over the subscribers is cut into slices of a millisecond
            await asyncio.sleep(0)
        assert stream.ending is Ending.COMPLETED, trap.place
        async with asyncio.timeout(PATIENCE):
            while any(subscriber.ending is None for subscriber, _ in served):  # noqa: ASYNC110 - slices of a slow pass
                await asyncio.sleep(0)
        assert all(subscriber.ending is not None and sink.closed for subscriber, sink in served), trap.place
        late.attach(MemorySink())
        for _ in range(20):
            await asyncio.sleep(0)
        assert late.ending is Ending.COMPLETED, trap.place
        assert stream.statistics().subscribers == 0, trap.place
        if not trap.is_sprung:
            assert at > 50
            return
