"""Shell: a client that asks a peer for one small answer again and again, on schedule.

In: a loop, a port, a path, the seconds between two questions. Out: how long after it was due each question was
answered. Invariant: a question that is due while the answer to an earlier one is missing waits for that answer and
counts from its own time, so that a pause of the peer shows in its whole length, and in many questions.
"""

import socket

from bench.kit.ends import CONNECT_TIMEOUT, RECEIVE_BYTES
from bench.kit.loop import Loop, clock
from bench.kit.script import BrokenStream


class Prober:
    """Asks while the loop runs, over one connection; `waits`: the seconds of every answered question."""

    def __init__(self, loop: Loop, port: int, path: str, period: float) -> None:
        self._loop, self._period = loop, period
        self._request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        self._sock = socket.create_connection(("127.0.0.1", port), CONNECT_TIMEOUT)
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open: list[float] = []  # when the questions without an answer were due
        self.waits: list[float] = []
        self._due = clock() + period
        loop.watch(self._sock.fileno(), self._on_ready)
        loop.call_at(self._due, self._on_time)

    def close(self) -> None:
        self._loop.forget(self._sock.fileno())
        self._sock.close()

    def _on_time(self, now: float) -> float:
        self._open.append(self._due)
        if len(self._open) == 1:
            self._sock.send(self._request)
        self._due += self._period
        return self._due

    def _on_ready(self, mask: int) -> None:
        """The answer, which is small and comes in one piece, answers all who wait. Raises `BrokenStream`."""
        data = self._sock.recv(RECEIVE_BYTES)
        if not data.startswith(b"HTTP/1.1 200 ") or not self._open:
            raise BrokenStream(f"a probe was answered {data[:100]!r}")
        now = clock()
        self.waits += [now - due for due in self._open]
        self._open.clear()
