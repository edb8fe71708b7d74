"""Pure: counts what a provider has seen.

In: one call for each thing that happens. Out: `ProviderStatistics`, a frozen snapshot. Only requests for answers and
feeds are counted; a request for statistics or models is not.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any, TypedDict

MAX_ABORTS = 4096  # the newest aborts that are kept: enough for a run of a bench, and bounded in a run of days


class Abort(TypedDict):
    """A response whose client closed the connection before its end."""

    request: int  # the number of the request, from 1
    at: float  # the `time.monotonic()` at which the close was seen
    tokens: int  # the tokens that were written before the close


class LastRequest(TypedDict):
    headers: dict[str, str]  # names in lower case
    body: Any  # the parsed JSON; null for a request without a body


@dataclass(frozen=True, slots=True)
class ProviderStatistics:
    """What a provider has seen so far; also the JSON of `GET /stats`."""

    requests: int
    open_connections: int
    connections_accepted: int
    streams_running: int  # responses of counted requests that have not ended, stalled ones included
    completed: int
    broken: int  # responses broken off because the script said so
    aborted: int  # responses whose client closed the connection before their end
    aborts: tuple[Abort, ...]
    last_request: LastRequest | None


class Tally:
    """The counts of one provider."""

    def __init__(self) -> None:
        self._requests = 0
        self._open = 0
        self._accepted = 0
        self._running = 0
        self._completed = 0
        self._broken = 0
        self._aborted = 0
        self._aborts: deque[Abort] = deque(maxlen=MAX_ABORTS)
        self._last_request: LastRequest | None = None

    def on_connected(self) -> None:
        self._open += 1
        self._accepted += 1

    def on_disconnected(self) -> None:
        self._open -= 1

    def on_request(self, headers: dict[str, str], body: Any) -> int:
        """Count a request whose response starts now; returns its number, from 1."""
        self._requests += 1
        self._running += 1
        self._last_request = {"headers": headers, "body": body}
        return self._requests

    def on_completed(self) -> None:
        self._running -= 1
        self._completed += 1

    def on_broken(self) -> None:
        self._running -= 1
        self._broken += 1

    def on_aborted(self, request: int, at: float, tokens: int) -> None:
        self._running -= 1
        self._aborted += 1
        self._aborts.append({"request": request, "at": at, "tokens": tokens})

    def on_dropped(self) -> None:
        """Count a response that ended because the provider itself closes down."""
        self._running -= 1

    def statistics(self) -> ProviderStatistics:
        return ProviderStatistics(
            requests=self._requests,
            open_connections=self._open,
            connections_accepted=self._accepted,
            streams_running=self._running,
            completed=self._completed,
            broken=self._broken,
            aborted=self._aborted,
            aborts=tuple(self._aborts),
            last_request=self._last_request,
        )
