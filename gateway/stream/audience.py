"""Shell: the audience of a stream: counts its subscribers, and decides what follows when there are none.

Three events have to be told apart: a subscriber left; the last subscriber left, whereupon the stream is abandoned
after a grace, or runs on without subscribers for a while; and an explicit stop, which is not decided here.
"""

import asyncio
from collections.abc import Callable
from typing import Literal, NamedTuple

from gateway import clock
from gateway.config import StreamSettings
from gateway.endings import Ending

OnLastReader = Literal["abort", "drain"]


class Policy(NamedTuple):
    """What becomes of a stream without subscribers.

    `detached`: it began without one. `on_last_reader`: "abort" ends it `grace_seconds` after the last subscriber
    left, "drain" lets it run on. No stream runs longer than `lonely_seconds` without a subscriber.
    """

    detached: bool = False
    on_last_reader: OnLastReader = "abort"
    grace_seconds: float = 0.0
    lonely_seconds: float = 3600.0


def policy_of(
    limits: StreamSettings,
    *,
    detached: bool = False,
    on_last_reader: OnLastReader | None = None,
    abort_grace_ms: int | None = None,
) -> Policy:
    """The policy of one stream: what its request asked for, and what is configured where the request says nothing.

    A detached stream outlives its subscribers unless something else was asked for.
    """
    grace_ms = limits.abort_grace_ms if abort_grace_ms is None else abort_grace_ms
    return Policy(
        detached=detached,
        on_last_reader=on_last_reader or ("drain" if detached else limits.on_last_reader),
        grace_seconds=grace_ms / 1000,
        lonely_seconds=limits.detached_max_seconds,
    )


class Audience:
    """The count of the subscribers of one stream; a subscriber that still waits for the first token counts too."""

    __slots__ = ("_alone", "_alone_since", "_on_empty", "_policy", "_timer", "subscribers", "total")

    def __init__(self, policy: Policy, on_empty: Callable[[Ending], None]) -> None:
        self._policy = policy
        # Called with the ending that follows from an empty audience. None once the stream has ended.
        self._on_empty: Callable[[Ending], None] | None = on_empty
        self._timer: asyncio.TimerHandle | None = None
        self.subscribers = 0
        self.total = 0  # subscribers that there ever were
        self._alone = 0.0  # seconds without a subscriber before `_alone_since`
        self._alone_since: float | None = clock.monotonic() if policy.detached else None
        if policy.detached:
            self._wait(policy.lonely_seconds, Ending.EXPIRED)

    @property
    def orphan_seconds(self) -> float:
        """Seconds that the stream has run without a subscriber."""
        return self._alone + (0.0 if self._alone_since is None else clock.monotonic() - self._alone_since)

    def join(self) -> None:
        """Count a subscriber that has come."""
        self.subscribers += 1
        self.total += 1
        if self._alone_since is not None or self._timer is not None:
            self._stop_alone()
            self._cancel()

    def leave(self) -> None:
        """Count a subscriber that has left; without any, the policy decides what follows."""
        self.subscribers -= 1
        if self.subscribers == 0 and self._on_empty is not None:
            self._alone_since = clock.monotonic()
            self._wait_alone()

    def recount(self, subscribers: int) -> None:
        """Set the number of subscribers, after a fault in which one may have left uncounted."""
        self.subscribers = subscribers

    def adopt(self, policy: Policy) -> None:
        """Follow this policy from now on, because somebody who is not a subscriber relies on the stream."""
        self._policy = policy
        if self.subscribers == 0 and self._on_empty is not None:
            self._cancel()
            self._wait_alone()

    def close(self) -> None:
        """Stop the timer for good: the stream has ended, so nothing follows when a subscriber leaves."""
        self._on_empty = None
        self._stop_alone()
        self._cancel()

    def _wait_alone(self) -> None:
        policy = self._policy
        if policy.on_last_reader == "drain":
            self._wait(policy.lonely_seconds, Ending.EXPIRED)
        elif policy.grace_seconds > 0:
            self._wait(policy.grace_seconds, Ending.ABANDONED)
        else:
            self._on_alone(Ending.ABANDONED)

    def _wait(self, seconds: float, ending: Ending) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._on_alone, ending)

    def _on_alone(self, ending: Ending) -> None:
        if self._on_empty is not None:
            self._on_empty(ending)

    def _stop_alone(self) -> None:
        self._alone, self._alone_since = self.orphan_seconds, None

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
