"""Pure: the patience with an upstream before its first content, or until the end of an answer that is not streamed.

In: the limits, a count that moves with every read, and the time. Out: when to look again, or the error for the limit
that has passed. The invariant: an upstream that sends anything, be it comments or half an event, is waited for; who
wants content sooner sets a TTFT budget. The watch looks now and then, so that no read has to reset a timer.
"""

from gateway.errors import UpstreamError
from gateway.upstream.idle_watch import CHECKS, LONGEST_WAIT, SHORTEST_WAIT, IdleWatch


class PatienceOver(UpstreamError):
    """An upstream that had the request brought nothing in time. It may go on working, and bills what it works on."""


def first_look(head: float, silence: float) -> float:
    """Seconds from a request to the first look, for these limits of a `Patience`."""
    return min(head, silence / CHECKS, LONGEST_WAIT)


class Patience:
    """The patience of one attempt. `head`: seconds from the request to the head; `silence`: without a byte."""

    __slots__ = ("_connected", "_head", "_silence", "_watch")

    def __init__(self, head: float, silence: float, connected: float) -> None:
        self._head = head
        self._silence = silence
        self._connected = connected  # when the request was sent
        self._watch = IdleWatch(silence)
        self._watch.look(0, connected)

    def look(self, reads: int, now: float, *, has_head: bool) -> float | PatienceOver:
        """Seconds until the next look, or the error for the limit that has passed; `reads` counts from 0."""
        left = self._connected + self._head - now
        if not has_head and left <= 0:
            return PatienceOver(f"no answer within head_timeout_ms ({self._head * 1000:.0f})")
        wait = self._watch.look(reads, now)
        if wait <= 0:
            limit = f"{self._silence * 1000:.0f}"
            return PatienceOver(f"no content, and no byte for first_content_timeout_ms ({limit})")
        return wait if has_head else max(min(wait, left), SHORTEST_WAIT)


class WholePatience:
    """The patience with an answer that is not streamed. `silence`: seconds without a byte, from the request on.

    Some upstreams send blanks while they work, so that nobody takes them for dead.
    """

    __slots__ = ("_silence", "_watch")

    def __init__(self, silence: float, connected: float) -> None:
        self._silence = silence
        self._watch = IdleWatch(silence)
        self._watch.look(0, connected)

    def look(self, reads: int, now: float, *, has_head: bool) -> float | PatienceOver:
        """Seconds until the next look, or the error for the limit that has passed; `reads` counts from 0."""
        wait = self._watch.look(reads, now)
        if wait > 0:
            return wait
        what = "byte of the answer" if has_head else "answer"
        return PatienceOver(f"no {what} within response_timeout_ms ({self._silence * 1000:.0f})")
