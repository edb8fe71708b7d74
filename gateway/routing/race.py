"""Pure: which attempt starts when, and which one wins. Events in, commands out; it never acts.

The invariant: at most one `Commit`; before it a failure starts the next candidate, after it nothing starts.
"""

from dataclasses import dataclass

from gateway.errors import ClientError, RateLimited, RivergateError, UpstreamError


@dataclass(frozen=True, slots=True)
class Start:
    """Try this candidate."""

    candidate: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Close this attempt at once."""

    candidate: int


@dataclass(frozen=True, slots=True)
class Commit:
    """This attempt's answer is the answer."""

    candidate: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nobody answers; this is what to say."""

    error: RivergateError


Command = Start | Cancel | Commit | GiveUp


class Race:
    """The attempts of one request: one after the other, until one brings content."""

    def __init__(self, candidates: int) -> None:
        self._candidates = candidates
        self._next = 0
        self._running: set[int] = set()
        self._errors: list[RivergateError] = []
        self._over = False

    def on_go(self) -> list[Command]:
        return self._start_next()

    def on_content(self, candidate: int) -> list[Command]:
        """The first content of an attempt: it wins if nobody has."""
        if self._over:
            return [Cancel(candidate)] if candidate in self._running else []
        self._over = True
        self._running.discard(candidate)
        return [Commit(candidate), *self._cancel_running()]

    def on_failed(self, candidate: int, error: RivergateError) -> list[Command]:
        """An attempt ended before its content."""
        self._running.discard(candidate)
        if self._over:
            return []
        self._errors.append(error)
        if isinstance(error, ClientError):
            self._over = True
            return [GiveUp(error), *self._cancel_running()]
        if self._next < self._candidates:
            return self._start_next()
        if self._running:
            return []
        self._over = True
        return [GiveUp(_verdict(self._errors))]

    def on_stop(self) -> list[Command]:
        """Nobody wants the answer any more."""
        self._over = True
        return self._cancel_running()

    def _start_next(self) -> list[Command]:
        candidate, self._next = self._next, self._next + 1
        self._running.add(candidate)
        return [Start(candidate)]

    def _cancel_running(self) -> list[Command]:
        running, self._running = sorted(self._running), set()
        return [Cancel(candidate) for candidate in running]


def _verdict(errors: list[RivergateError]) -> RivergateError:
    """What to say when every attempt failed: 429 if all were over their limit, else 502 with all reasons."""
    if len(errors) == 1:
        return errors[0]
    reasons = f"all {len(errors)} upstreams failed: " + "; ".join(error.reason for error in errors)
    quoted = errors[-1].quoted
    if all(isinstance(error, RateLimited) for error in errors):
        waits = [error.retry_after for error in errors if error.retry_after is not None]
        return RateLimited(reasons, quoted=quoted, retry_after=min(waits) if waits else None)
    return UpstreamError(reasons, quoted=quoted)
