"""Shell: a late subscriber that reads as fast as the kernel lets it, and compares afterwards.

In: the events that a stream has. Out: nothing, or a complaint. Invariant: what was read while the clock ran is kept,
and every byte of it is compared when the clock has stopped: at full speed the comparison would be the slower side.
"""

from __future__ import annotations

import socket

from bench.kit.check import Broken, Published, SubscriberCheck

TIMEOUT = 10.0
FRAMING_BYTES = 100  # around each event, at most: id line and chunk
HEAD_BYTES = 1 << 14


class LateSubscriber:
    def __init__(self, events: tuple[bytes, ...]) -> None:
        self._events = events
        # Written to once, so that no page is new when the clock runs.
        self._buffer = bytearray(b"x") * (sum(map(len, events)) + len(events) * FRAMING_BYTES + HEAD_BYTES)
        self._size = 0

    def read(self, port: int, path: str) -> None:
        """Join, and return when the last event is there. Raises `Broken`, `OSError`."""
        last, into = self._events[-1] + b"\r\n", memoryview(self._buffer)
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            while not self._buffer.endswith(last, 0, self._size):
                count = sock.recv_into(into[self._size :])
                if not count:
                    raise Broken(f"ended, or went on, after {self._size} bytes")
                self._size += count

    def check(self) -> None:
        """Raises `Broken`."""
        check = SubscriberCheck(Published(self._events, len(self._events)))
        found = check.advance(check.start(), bytes(self._buffer[: self._size]))
        if (found.events, found.held, found.rest) != (len(self._events), b"", b""):
            raise Broken(f"a late joiner has {found.events} of {len(self._events)} events")
