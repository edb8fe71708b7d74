"""One connection against a raw peer on loopback."""

import asyncio
import socket
from functools import partial
from typing import Any

import pytest

from .kit import passes, until
from .lines import Line, Recorder, reset
from .responses import CHUNKED, CLOSE, FRAMED, LENGTH

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")


def has_request(line: Line) -> bool:
    return b"GET" in line.peer.recv(100)


def abort_at(moment: str, line: Line, name: str) -> None:
    if name == moment:
        line.connection.abort()


async def test_a_head_that_comes_over_the_wire_is_told_in_lower_case() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.peer.sendall(LENGTH)
        await until(lambda: recorder.ends)
        assert line.peer.recv(100) == b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (recorder.status, recorder.headers) == (200, {"content-length": "11", "x-head": "a"})


async def test_a_close_delimited_body_ends_with_the_connection() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.peer.sendall(CLOSE)
        line.hang_up()
        await until(lambda: line.lost)
        assert (recorder.body, recorder.ends, line.idle) == (b"hello world", ["end"], [])


async def test_a_close_delimited_body_that_is_reset_is_lost() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.peer.sendall(CLOSE)
        await until(lambda: recorder.body)
        reset(line.peer)
        await until(lambda: line.lost)
        assert (recorder.ends, recorder.untouched) == (["lost"], False)


async def test_bytes_on_an_idle_connection_cost_it() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.connection.data_received(LENGTH)
        line.peer.sendall(LENGTH)
        await until(lambda: line.lost)
        assert recorder.ends == ["end"]


async def test_a_response_before_the_request_was_sent_does_not_go_back_to_the_pool() -> None:
    async with Line.open() as line:
        recorder = Recorder()
        line.connection.send(b"P" * (32 << 20), recorder)
        line.peer.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
        await until(lambda: recorder.ends)
        assert (recorder.status, recorder.body, recorder.ends) == (413, b"no", ["end"])
        assert (line.idle, line.connection.is_open) == ([], False)


@pytest.mark.parametrize("name", [*FRAMED, "close"])
async def test_an_end_of_file_on_the_wire_ends_the_exchange_exactly_once(name: str) -> None:
    response = FRAMED.get(name, CLOSE)
    head = CLOSE.index(b"\r\n\r\n") + 4
    for cut in (0, 5, head, len(response) - 1, len(response)):
        async with Line.open() as line:
            recorder = line.ask()
            line.peer.sendall(response[:cut])
            line.hang_up()
            await until(partial(getattr, line, "lost"))
            complete = cut == len(response) or (name == "close" and cut >= head)
            assert recorder.ends == ["end" if complete else "lost"], cut
            assert recorder.untouched is (None if complete else False)
            assert len(line.idle) == (complete and name != "close")


@pytest.mark.parametrize("abort", [False, True])
async def test_a_used_connection_that_dies_without_a_byte_is_told_as_untouched(abort: bool) -> None:
    for cut in (0, 1, 12):
        async with Line.open() as line:
            line.ask()
            line.peer.sendall(LENGTH)
            await until(partial(getattr, line, "idle"))
            second = line.ask()
            line.peer.sendall(LENGTH[:cut])
            await until(partial(has_request, line))
            (reset if abort else socket.socket.close)(line.peer)
            await until(partial(getattr, line, "lost"))
            assert second.ends == ["lost"]
            if not (abort and cut):  # a reset may overtake the bytes before it
                assert second.untouched is (cut == 0)


async def test_a_reset_in_mid_answer_is_told_once() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.peer.sendall(CHUNKED[:-20])
        await until(lambda: recorder.body)
        reset(line.peer)
        await until(lambda: line.lost)
        assert recorder.ends == ["lost"]
        assert recorder.error is not None
        assert "in mid-answer" in recorder.error.message


@pytest.mark.parametrize("moment", ["head", "body"])
async def test_an_abort_in_a_callback_stops_all_others_at_once(moment: str) -> None:
    for piece in (1, len(CHUNKED)):
        async with Line.open() as line:
            recorder = Recorder(partial(abort_at, moment, line))
            line.ask(recorder)
            for start in range(0, len(CHUNKED), piece):
                line.connection.data_received(CHUNKED[start : start + piece])
            line.peer.close()
            await until(partial(getattr, line, "lost"))
            assert recorder.calls == (["head"] if moment == "head" else ["head", "body"])
            assert not line.idle


async def test_an_abort_closes_the_socket_at_once_and_tells_nobody() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.peer.recv(100)
        line.connection.abort()
        line.connection.abort()
        assert not line.connection.is_open
        await passes(2)
        assert line.peer.recv(1) == b""
        assert (recorder.calls, line.lost) == ([], [line.connection])


async def test_a_fault_of_ours_in_a_callback_is_not_told_to_the_client_as_the_upstreams() -> None:
    seen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: seen.append(context))

    def fail(name: str) -> None:
        if name == "body":
            raise KeyError("a private prompt")

    async with Line.open() as line:
        recorder = line.ask(Recorder(fail))
        line.peer.sendall(LENGTH)
        await until(lambda: line.lost)
        assert recorder.calls == ["head", "body", "lost"]
        assert recorder.error is not None
        assert "private prompt" not in recorder.error.message
        assert recorder.error.code == "internal_error"
        assert [type(context["exception"]) for context in seen] == [KeyError]


def fill(peer: socket.socket) -> None:
    """Send until no more is taken."""
    while True:
        peer.send(b"x" * 65536)


async def test_a_pause_stops_reading_and_a_resume_starts_it_again() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        await until(lambda: recorder.status)
        line.connection.pause()
        line.connection.pause()
        line.peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            fill(line.peer)
        before = len(recorder.body)
        await passes(50)
        assert len(recorder.body) == before
        line.connection.resume()
        line.connection.resume()
        await until(lambda: len(recorder.body) > before + 65536)


async def test_a_connection_paused_in_its_last_read_goes_back_reading() -> None:
    async with Line.open() as line:
        first = Recorder(lambda name: line.connection.pause() if name == "body" else None)
        line.ask(first)
        line.peer.sendall(LENGTH)
        await until(lambda: first.ends)
        second = line.ask()
        line.peer.sendall(LENGTH)
        await until(lambda: second.ends)
        assert second.body == b"hello world"


async def test_an_idle_connection_notices_the_close_of_the_other_side() -> None:
    async with Line.open() as line:
        line.ask()
        line.connection.data_received(LENGTH)
        line.hang_up()
        await until(lambda: not line.connection.is_open)
        await until(lambda: line.lost)
