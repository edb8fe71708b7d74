"""Pure: the verdict on a request that every attempt failed to answer.

In: the failures, in their order. Out: the one error that the client gets. The invariant: an error that a later try
may undo decides before one that it may not, so that a client is told to stop only if nothing is left to wait for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import RateLimited, RivergateError, UpstreamError, UpstreamTimeout, UpstreamUnable


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt: the name of its upstream, "" if it has none, and its error."""

    upstream: str
    error: RivergateError

    @property
    def reason(self) -> str:
        """The reason of the error behind the name of the upstream."""
        reason, name = self.error.reason, self.upstream
        return reason if not name or reason.startswith(f"{name}: ") else f"{name}: {reason}"

    @property
    def words(self) -> str:
        """What the upstream said, behind its name; "" if it said nothing."""
        quoted = self.error.quoted
        return f"{self.upstream}: {quoted}" if quoted and self.upstream else quoted


def verdict(failures: Sequence[Failure], upstreams: int) -> RivergateError:
    """The error for these failures, with all reasons. `upstreams`: how many different upstreams failed.

    Its status is 429 if all that may pass are limits, 504 if all of it is a lack of time, else 502. If no upstream
    was able to serve the request, it is the status of the first.
    """
    errors = [failure.error for failure in failures]
    if len(errors) == 1:
        return errors[0]
    joined = _joined(failures, upstreams)
    joined.quote_details(next((error.quoted_details for error in reversed(errors) if error.quoted_details), {}))
    return joined


def _joined(failures: Sequence[Failure], upstreams: int) -> RivergateError:
    errors = [failure.error for failure in failures]
    what = "upstreams" if upstreams == len(errors) else "attempts"
    reasons = f"all {len(errors)} {what} failed: " + "; ".join(failure.reason for failure in failures)
    words = [failure for failure in failures if failure.words]
    quoted = words[0].error.quoted if len(words) == 1 else "; ".join(dict.fromkeys(said.words for said in words))
    if all(isinstance(error, UpstreamUnable) for error in errors):
        unable = UpstreamUnable(reasons, quoted=quoted, param=errors[0].param, code=errors[0].code)
        unable.answered_with(errors[0].upstream_status)
        return unable
    passing = [error for error in errors if error.retryable]
    wait = _shortest_wait(passing)
    if passing and all(isinstance(error, RateLimited) for error in passing):
        return RateLimited(reasons, quoted=quoted, retry_after=wait)
    if passing and all(isinstance(error, UpstreamTimeout) for error in passing):
        return UpstreamTimeout(reasons)
    failed = UpstreamError(reasons, quoted=quoted)
    failed.retryable = bool(passing)
    return failed


def _shortest_wait(errors: Sequence[RivergateError]) -> int | None:
    """The shortest of the waits that upstreams asked for; None if none did."""
    return min((error.retry_after for error in errors if error.retry_after is not None), default=None)
