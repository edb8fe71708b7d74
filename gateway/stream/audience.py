"""Shell: who is listening to a stream. Decides when nobody is, and what follows from that.

Three different events (DESIGN.md 1.6): a reader left; the last reader left, whereupon the stream is abandoned after
a grace, or runs on without readers for a while; and an explicit stop, which is not decided here.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gateway import clock
from gateway.endings import Ending

OnLastReader = Literal["abort", "drain"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What becomes of a stream without readers.

    `detached`: it began without one. `on_last_reader`: "abort" ends it `grace_seconds` after the last reader left,
    "drain" lets it run on. No stream runs longer than `lonely_seconds` without a reader.
    """

    detached: bool = False
    on_last_reader: OnLastReader = "abort"
    grace_seconds: float = 0.0
    lonely_seconds: float = 3600.0


class Audience:
    """Counts the readers of one stream, those that still wait for the first token included."""

    __slots__ = ("_alone", "_alone_since", "_closed", "_on_empty", "_policy", "_timer", "readers", "total")

    def __init__(self, policy: Policy, on_empty: Callable[[Ending], None]) -> None:
        self._policy = policy
        self._on_empty = on_empty  # is given the ending that follows
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.readers = 0
        self.total = 0  # readers there ever were
        self._alone = 0.0  # seconds without a reader, but for those that run now
        self._alone_since: float | None = clock.monotonic() if policy.detached else None
        if policy.detached:
            self._wait(policy.lonely_seconds, Ending.EXPIRED)

    @property
    def orphan_seconds(self) -> float:
        """How long the stream has run for nobody."""
        return self._alone + (0.0 if self._alone_since is None else clock.monotonic() - self._alone_since)

    def join(self) -> None:
        self._stop_alone()
        self.readers += 1
        self.total += 1
        self._forget()

    def leave(self) -> None:
        self.readers -= 1
        if self.readers or self._closed:
            return
        self._alone_since = clock.monotonic()
        self._wait_alone()

    def adopt(self, policy: Policy) -> None:
        """Go on by this policy: somebody relies on the stream who is no reader."""
        self._policy = policy
        if not self.readers and not self._closed:
            self._forget()
            self._wait_alone()

    def close(self) -> None:
        """The stream has ended: nothing follows from anybody's leaving."""
        self._closed = True
        self._on_empty = _nothing
        self._stop_alone()
        self._forget()

    def _wait_alone(self) -> None:
        policy = self._policy
        if policy.on_last_reader == "drain":
            self._wait(policy.lonely_seconds, Ending.EXPIRED)
        elif policy.grace_seconds > 0:
            self._wait(policy.grace_seconds, Ending.ABANDONED)
        else:
            self._on_empty(Ending.ABANDONED)

    def _stop_alone(self) -> None:
        self._alone, self._alone_since = self.orphan_seconds, None

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, seconds: float, ending: Ending) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._on_empty, ending)


def _nothing(ending: Ending) -> None:
    """What follows from a leaving once the stream has ended."""
