"""Shell: the memory of request bodies that wait: they come in, or wait for an upstream's first content."""

from collections.abc import Callable

from gateway.errors import ServiceUnavailable
from gateway.http.capacity import jittered_retry_seconds


class WaitingBytes:
    """Counts the bytes of all waiting bodies against `server.max_waiting_bytes`."""

    __slots__ = ("_limit", "total")

    def __init__(self, limit: Callable[[], int]) -> None:
        """`limit` gives the setting in force, which a reload exchanges."""
        self._limit = limit
        self.total = 0

    def take(self, size: int) -> None:
        """Count these bytes. Raises `ServiceUnavailable` if there is no room for them."""
        if self.total + size > self._limit():
            message = "the bodies of other requests take all the memory that they may have; try again"
            raise ServiceUnavailable(message, retry_after=jittered_retry_seconds())
        self.total += size

    def give_back(self, size: int) -> None:
        """Count these bytes no longer."""
        self.total -= size


class WaitingBody:
    """The share of one body in the waiting bytes."""

    __slots__ = ("_all", "_size")

    def __init__(self, waiting: WaitingBytes) -> None:
        self._all = waiting
        self._size = 0

    def grow(self, size: int) -> None:
        """Count bytes that have come. Raises `ServiceUnavailable`."""
        self._all.take(size)
        self._size += size

    def close(self) -> None:
        """Count the body no longer: an upstream answers, or the request is over. Idempotent."""
        size, self._size = self._size, 0
        self._all.give_back(size)
