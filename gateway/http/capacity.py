"""Shell: the room for another request: open or draining, and how many connections there may be."""

import secrets

from gateway.delivery.watch import Watch
from gateway.errors import ServiceUnavailable

_DRAINING_RETRY_SECONDS = 1


class ConnectionCount:
    """How many client connections aiohttp's server holds; a socket that was taken over counts no more."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0


class NoRoom(ServiceUnavailable):
    """A refusal behind which the connection is closed, so that it makes room."""


class Capacity:
    """Counts the connections of clients against their limit. It begins closed, and without any room."""

    def __init__(self) -> None:
        self.held = ConnectionCount()  # those of aiohttp's server
        self.watch: Watch | None = None  # the sockets that were taken over; there is one while the service runs
        self.max_connections = 0
        self.ready = False  # whether new work is taken; false before the start and while draining

    @property
    def connections(self) -> int:
        """Client connections, those that were taken over included."""
        return self.held.total + (len(self.watch) if self.watch is not None else 0)

    def check(self, method: str) -> None:
        """Refuse what is new while draining or over `max_connections`; what runs already goes on. Raises `NoRoom`.

        A connection that is kept alive into the drain gets no new completion.
        """
        if not self.ready and method == "POST":
            raise NoRoom("the gateway is shutting down; try again", retry_after=_DRAINING_RETRY_SECONDS)
        if self.connections > self.max_connections:
            raise NoRoom("the gateway has all the connections it may have", retry_after=jittered_retry_seconds())


def jittered_retry_seconds() -> int:
    """From 1 to 5 seconds: those who were refused together do not come back together."""
    return 1 + secrets.randbelow(5)
