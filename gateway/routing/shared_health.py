"""Pure: the health of an upstream for one model that shares something with other models of the upstream.

In: what becomes of the model's attempts. Out: what `Health` gives, and the same events to what is shared: the
upstream's quota, and the health of the wildcard by which the model was found. The breaker is the model's own:
requests for a name that the upstream does not know close no other model of the wildcard.
"""

from gateway.errors import RivergateError
from gateway.routing.health import Breaker, BreakerRules, Health
from gateway.routing.quota import Quota


class SharedHealth(Health):
    """The health of one model. `quota`: the upstream's; `total`: the health of the wildcard, for statistics."""

    __slots__ = ("_quota", "_total")

    def __init__(
        self, rules: BreakerRules | None = None, quota: Quota | None = None, total: Health | None = None
    ) -> None:
        super().__init__(rules)
        self._quota = quota
        self._total = total

    def wait(self, now: float) -> float:
        wait = super().wait(now)
        return wait if self._quota is None else max(wait, self._quota.wait(now))

    def is_limited(self, now: float) -> bool:
        if self.breaker is not Breaker.CLOSED:
            return False
        over = self._quota is not None and self._quota.wait(now) > 0
        return over or super().is_limited(now)

    def on_start(self, now: float) -> int:
        if self._quota is not None:
            self._quota.on_start(now)
        if self._total is not None:
            self._total.on_start(now)
        return super().on_start(now)

    def on_content(self, attempt: int, ttft: float | None, now: float) -> None:
        super().on_content(attempt, ttft, now)
        if self._total is not None:
            self._total.on_content(attempt, ttft, now)

    def on_complete(self, tps: float | None, now: float) -> None:
        super().on_complete(tps, now)
        self._give_back()
        if self._total is not None:
            self._total.on_complete(tps, now)

    def on_failed(self, attempt: int, error: RivergateError, now: float) -> None:
        super().on_failed(attempt, error, now)
        self._give_back()
        if self._total is not None:
            self._total.on_failed(attempt, error, now)

    def on_given_up(self, attempt: int, waited: float | None, now: float) -> None:
        super().on_given_up(attempt, waited, now)
        self._give_back()
        if self._total is not None:
            self._total.on_given_up(attempt, waited, now)

    def _give_back(self) -> None:
        """Give back the place that the attempt had in the upstream's quota."""
        if self._quota is not None:
            self._quota.on_end()
