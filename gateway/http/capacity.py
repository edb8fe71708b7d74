"""Shell: the capacity of the gateway: whether it takes new work, and how many connections it may have."""

import secrets

from gateway.delivery.watch import Watch
from gateway.errors import ServiceUnavailable

_DRAINING_RETRY_SECONDS = 1


class ConnectionCount:
    """The number of client connections that aiohttp's server holds, without the sockets that were taken over."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0

    def on_made(self) -> None:
        """Count a connection that a client has made."""
        self.total += 1

    def on_lost(self) -> None:
        """Count a connection that is gone, or that was taken over."""
        self.total -= 1


class NoRoom(ServiceUnavailable):
    """A refusal after which the connection is closed, so that it makes room."""


class Capacity:
    """Counts the connections of clients against their limit. It begins closed, and without any room."""

    def __init__(self) -> None:
        self.held = ConnectionCount()  # the connections of aiohttp's server
        self.watch: Watch | None = None  # the watch over sockets that were taken over; set while the service runs
        self.max_connections = 0
        self.ready = False  # whether new work is taken; false before the start and while draining

    @property
    def connections(self) -> int:
        """The number of client connections, including sockets that were taken over."""
        return self.held.total + (len(self.watch) if self.watch is not None else 0)

    def check(self, method: str) -> None:
        """Refuse new work while draining, and any request over `max_connections`. Raises `NoRoom`.

        Requests that run already go on. A connection that is kept alive into the drain gets no new completion.
        """
        if not self.ready and method == "POST":
            raise NoRoom("the gateway is shutting down; try again", retry_after=_DRAINING_RETRY_SECONDS)
        if self.connections > self.max_connections:
            raise NoRoom("the gateway has all the connections it may have", retry_after=jittered_retry_seconds())


def jittered_retry_seconds() -> int:
    """A random wait from 1 to 5 seconds, so that clients refused together do not come back together."""
    return 1 + secrets.randbelow(5)
