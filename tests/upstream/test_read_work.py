"""Long work on a read is done step by step, in order, and gets one turn of the loop after the other."""

import asyncio
from collections.abc import Iterator

import pytest

from gateway.upstream.bodies import Steps
from gateway.upstream.later_turns import LaterTurns
from gateway.upstream.read_work import SLICE_BYTES, ReadWork

from .kit import until
from .lines import Recorder, StandingLine

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSED = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
LARGE = b"x" * (3 * SLICE_BYTES)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def test_slices_steps_and_tasks_are_done_in_order() -> None:
    done: list[str] = []

    def read(data: bytes) -> Steps:
        done.append(f"slice {len(data)}")
        return steps() if len(data) < SLICE_BYTES else None

    def steps() -> Iterator[None]:
        done.append("step")
        yield
        done.append("last step")

    work = ReadWork()
    work.add_read(b"x" * (2 * SLICE_BYTES + 1), read)
    work.then(lambda: done.append("then"))
    assert work.has_more
    assert work.run()
    assert done == [f"slice {SLICE_BYTES}", f"slice {SLICE_BYTES}", "slice 1", "step", "last step", "then"]
    assert not work.has_more


def test_endless_steps_are_interrupted_and_gone_on_with() -> None:
    released = False

    def steps() -> Iterator[None]:
        while not released:
            yield

    work = ReadWork(steps())
    assert not work.run()
    released = True
    assert work.run()


def test_nothing_is_done_after_a_cancel_even_within_a_step() -> None:
    done: list[str] = []

    def steps() -> Iterator[None]:
        work.cancel()
        yield
        done.append("step")

    work = ReadWork(steps())
    work.then(lambda: done.append("task"))
    assert work.run()
    assert done == []


async def test_one_callback_runs_in_each_turn() -> None:
    later, turns, turn = LaterTurns(), list[int](), 0
    for _ in range(3):
        later.add(lambda: turns.append(turn))
    while len(turns) < 3:
        turn += 1
        await asyncio.sleep(0)
    assert len(set(turns)) == 3


async def test_a_callback_that_fails_does_not_stop_the_others() -> None:
    later, done = LaterTurns(), list[int]()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    later.add(lambda: [][0])
    later.add(lambda: done.append(1))
    await until(lambda: done)


class SlowReceiver(Recorder):
    """A receiver whose work on a body ends only when it is told."""

    released = False

    def on_body(self, data: bytes) -> Steps:  # type: ignore[override]  # a recorder leaves no steps
        super().on_body(data)
        return self._steps()

    def _steps(self) -> Iterator[None]:
        while not self.released:
            yield


def asked() -> tuple[StandingLine, SlowReceiver]:
    line, receiver = StandingLine(), SlowReceiver()
    line.ask(receiver)
    return line, receiver


async def finished(line: StandingLine, receiver: SlowReceiver) -> None:
    receiver.released = True
    await until(lambda: receiver.ends)


@pytest.mark.parametrize("data", [b"ab", LARGE], ids=["short", "long"])
async def test_nothing_is_read_until_the_work_is_done_and_then_the_connection_is_reused(data: bytes) -> None:
    line, receiver = asked()
    line.feed(CHUNKED + chunk(data) + b"0\r\n\r\n")
    assert not line.transport.is_reading()
    assert not receiver.ends
    line.connection.resume()  # the owner has room, but the work goes first
    assert not line.transport.is_reading()
    await finished(line, receiver)
    assert (receiver.body, receiver.ends) == (data, ["end"])
    assert line.idle == [line.connection]
    assert line.transport.is_reading()


async def test_a_read_during_the_work_comes_after_it() -> None:
    line, receiver = asked()
    line.feed(CHUNKED + chunk(LARGE))
    line.feed(chunk(b"y") + b"0\r\n\r\n")
    await finished(line, receiver)
    assert receiver.body == LARGE + b"y"


async def test_the_owner_s_pause_outlasts_the_work() -> None:
    line, receiver = asked()
    line.feed(CHUNKED + chunk(LARGE))
    line.connection.pause()
    receiver.released = True
    await until(lambda: len(receiver.body) == len(LARGE))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not line.transport.is_reading()
    line.connection.resume()
    assert line.transport.is_reading()


async def test_bytes_behind_the_response_close_the_connection_though_they_are_in_a_later_slice() -> None:
    line, receiver = asked()
    line.feed(CHUNKED + chunk(LARGE) + b"0\r\n\r\n" + b"HTTP/1.1 200 OK\r\n" * SLICE_BYTES)
    await finished(line, receiver)
    assert receiver.body == LARGE
    assert line.idle == []
    assert line.transport.is_closing()


@pytest.mark.parametrize(("head", "end"), [(CLOSED, "end"), (CHUNKED, "lost")])
async def test_the_end_of_the_connection_is_told_behind_the_work(head: bytes, end: str) -> None:
    line, receiver = asked()
    line.feed(head + (LARGE if head is CLOSED else chunk(LARGE)))
    line.connection.eof_received()
    line.connection.connection_lost(None)
    assert (receiver.ends, line.lost) == ([], [])
    await finished(line, receiver)
    assert (receiver.body, receiver.ends, line.lost) == (LARGE, [end], [line.connection])


async def test_a_lost_connection_that_is_given_up_is_forgotten_once() -> None:
    line, receiver = asked()
    line.feed(CHUNKED + chunk(LARGE))
    line.connection.connection_lost(None)
    line.connection.abort()
    line.connection.abort()
    receiver.released = True
    for _ in range(5):
        await asyncio.sleep(0)
    assert (receiver.ends, line.lost) == ([], [line.connection])


async def test_a_fault_in_a_later_turn_is_told_to_the_receiver() -> None:
    line, faults = StandingLine(), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context["exception"]))

    class Failing(SlowReceiver):
        def _steps(self) -> Iterator[None]:
            yield from super()._steps()
            raise ZeroDivisionError

    receiver = Failing()
    line.ask(receiver)
    line.feed(CHUNKED + chunk(b"a"))
    await finished(line, receiver)
    assert receiver.ends == ["lost"]
    assert line.transport.is_closing()
    assert list(map(type, faults)) == [ZeroDivisionError]
