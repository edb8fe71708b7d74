"""A probe sees a pause in its whole length, by every question that was due meanwhile."""

import contextlib
import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest

from bench.kit.loop import Loop, clock
from bench.kit.script import BrokenStream
from bench.requests import Prober

PERIOD = 0.005
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def loop() -> Iterator[Loop]:
    with contextlib.closing(Loop()) as loop:
        yield loop


def probed(loop: Loop, answers: list[tuple[float, bytes]], seconds: float) -> list[float]:
    """What a probe has seen of a server that gives each answer this long after its question."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        prober = Prober(loop, listener.getsockname()[1], "/healthz", PERIOD)
        server, _ = listener.accept()

        def on_question(mask: int) -> None:
            assert server.recv(1000).startswith(b"GET /healthz HTTP/1.1\r\n")
            after, answer = answers.pop(0) if answers else (0.0, OK)
            loop.call_at(clock() + after, lambda now: server.sendall(answer))

        loop.watch(server.fileno(), on_question)
        with contextlib.closing(prober), server:
            loop.run(clock() + seconds)
            loop.forget(server.fileno())
    return prober.waits


def test_questions_that_are_due_during_a_pause_wait_for_its_end(loop: Loop) -> None:
    pause = 8 * PERIOD
    waits = probed(loop, [(pause, OK)], 2 * pause)
    assert waits[0] >= pause
    held = waits[:8]  # they were due one period after the other, and were answered at once
    assert [first - second for first, second in pairwise(held)] == pytest.approx([PERIOD] * 7)


def test_an_answer_that_is_no_200_ends_the_run(loop: Loop) -> None:
    with pytest.raises(BrokenStream, match="a probe was answered"):
        probed(loop, [(0.0, b"HTTP/1.1 503 Service Unavailable\r\n\r\n")], 1.0)
