"""Shell: the record of what happens to upstreams: how attempts end, why they fail, breakers that open and close.

In: the ends of attempts, as the dispatcher sees them. Out: log lines, counts for `/metrics`, rows for pages. The
invariant: no line, count or row holds content or words of an upstream; labels are words of a closed set, and names of
the configuration.
"""

import dataclasses
import logging
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from gateway import clock
from gateway.errors import ClientError, RivergateError, closed_code
from gateway.observe.metrics import Reading
from gateway.routing.breaker_history import BreakerChange, BreakerHistory
from gateway.routing.catalog import Candidate
from gateway.routing.health import Breaker
from gateway.routing.last_errors import FailedAttempt, LastErrors

_log = logging.getLogger("rivergate.routing")


# Why a breaker has changed, by its state before and its state now.
_CAUSES: Mapping[tuple[Breaker, Breaker], str] = {
    (Breaker.CLOSED, Breaker.OPEN): "failures in a row",
    (Breaker.HALF_OPEN, Breaker.OPEN): "its probe failed",
    (Breaker.HALF_OPEN, Breaker.CLOSED): "its probe was answered",
}


class Incidents:
    """The record of one process, which a reload does not change."""

    def __init__(self) -> None:
        self.errors = LastErrors()
        self.breakers = BreakerHistory()
        self.failed: Counter[str] = Counter()  # attempts by upstream that failed, and not for what was asked
        self._attempts: Counter[tuple[str, ...]] = Counter()
        self._changes: Counter[tuple[str, ...]] = Counter()

    def on_end(self, upstream: str, outcome: str) -> None:
        """Count an attempt that has ended."""
        self._attempts[upstream, outcome] += 1

    def on_failed(
        self, candidate: Candidate, error: RivergateError, request_id: str, *, reached_client: bool
    ) -> None:
        """Tell of a failed attempt. `reached_client`: no other attempt stood in for it."""
        upstream = candidate.endpoint.name
        failed = FailedAttempt(
            upstream=upstream,
            model=_model(candidate),
            outcome=closed_code(error),
            status=error.upstream_status,
            reason=error.reason.removeprefix(f"{upstream}: "),
            request_id=request_id,
        )
        self.errors.add(failed, clock.wall_time())
        if not isinstance(error, ClientError):
            self.failed[upstream] += 1
        fields = {"fields": dataclasses.asdict(failed)}
        if reached_client and not isinstance(error, ClientError):  # a request that was at fault is no fault of ours
            _log.error("attempt failed", extra=fields)
        else:
            _log.warning("attempt failed", extra=fields)

    def on_breaker(
        self, candidate: Candidate, before: Breaker, error: RivergateError | None, request_id: str
    ) -> None:
        """Tell of a breaker that has opened or closed. `error`: the failure that opened it."""
        upstream, model, health = candidate.endpoint.name, _model(candidate), candidate.health
        self._changes[upstream, model, health.breaker.value] += 1
        cause, reason, seconds = _CAUSES[before, health.breaker], None, None
        fields: dict[str, Any] = {"upstream": upstream, "model": model, "cause": cause}
        if health.breaker is Breaker.OPEN and error is not None:
            reason = fields["reason"] = error.reason.removeprefix(f"{upstream}: ")
            seconds = fields["seconds"] = round(health.wait(clock.monotonic()), 1)
            _log.warning("breaker opened", extra={"fields": {**fields, "request_id": request_id}})
        else:
            _log.info("breaker closed", extra={"fields": {**fields, "request_id": request_id}})
        now = clock.wall_time()
        self.breakers.add(BreakerChange(now, upstream, model, health.breaker.value, cause, reason, seconds))

    def keep(self, upstreams: Collection[str]) -> None:
        """Forget the errors and the changes of upstreams that are not among these."""
        self.errors.keep(upstreams)
        self.breakers.keep(upstreams)
        self.failed = Counter({name: count for name, count in self.failed.items() if name in upstreams})

    def readings(self) -> list[Reading]:
        """The counts as Prometheus reads them."""
        return [
            Reading(
                "rivergate_attempts",
                "Attempts that have ended. The outcome is won, lost, timed_out, stopped, or the code of an error.",
                {labels: float(count) for labels, count in self._attempts.items()},
                ("upstream", "outcome"),
                counts=True,
            ),
            Reading(
                "rivergate_breaker_changes",
                "Breakers that have opened or closed; a failed probe opens its breaker again.",
                {labels: float(count) for labels, count in self._changes.items()},
                ("upstream", "model", "to"),
                counts=True,
            ),
        ]


def _model(candidate: Candidate) -> str:
    """The id in the configuration, never a name that a client made up and a wildcard took."""
    return candidate.wildcard or candidate.model.id
