"""Pure: the health of one upstream for one model: how fast and how reliable it is, and whether to try it at all.

In: what became of its attempts, with the time. Out: quantiles of TTFT and throughput in which the past fades, the
share of failures, and the state of the breaker. Only its probe closes an open breaker, or opens it for longer; an
attempt that began before the probe does neither. An attempt that missed a limit of its client (a TTFT budget, a
timeout) never counts as a failure: otherwise one impatient client could take an upstream away from all.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from gateway.errors import ClientError, RateLimited, RivergateError
from gateway.observe.quantiles import FadingCount, Quantiles

HALF_LIFE = 300.0  # seconds until a measurement counts half: good and bad times of an upstream change within minutes
KNOWN = 5.0  # with fewer measurements an upstream is cold: they say nothing yet
TAIL_KNOWN = 20.0  # with fewer measurements a p95 is a guess
TAIL = 0.95  # the quantile of the TTFT after which an answer counts as slow
TAIL_DOUBT = 2.0  # standard deviations by which chance may have moved the measured p95
COOLDOWN = 1.0  # seconds without a request after a 429 that has no `Retry-After`
LONGEST_OPEN = 300.0  # seconds between two probes of an upstream that stays down


class Breaker(StrEnum):
    """The states of a breaker; an open one keeps requests away from its upstream."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"  # one probe is under way


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """The rules for leaving an upstream alone. `failures` in a row open the breaker for `seconds`; 0: never."""

    failures: int = 5
    seconds: float = 10.0
    max_cooldown: float = 120.0  # seconds: the longest `Retry-After` that is obeyed


@dataclass(frozen=True, slots=True)
class HealthStatistics:
    """What is known of an upstream now: TTFT in seconds, throughput in tokens a second; None: not known.

    `samples`: how many measurements the TTFT rests on. `wait`: seconds until the upstream may be tried.
    """

    ttft_p50: float | None
    ttft_p95: float | None
    tps_p50: float | None
    tps_p95: float | None  # what 95 % of the answers reach
    samples: float
    error_rate: float
    in_flight: int
    breaker: Breaker
    wait: float


class Health:
    """The health of one upstream for one model."""

    __slots__ = (
        "_answers",
        "_cool_until",
        "_failures",
        "_in_a_row",
        "_limited",
        "_open_for",
        "_open_until",
        "_probe",
        "_rules",
        "_started",
        "_tps",
        "_ttft",
        "breaker",
        "in_flight",
    )

    def __init__(self, rules: BreakerRules | None = None) -> None:
        self._rules = rules or BreakerRules()
        self._ttft = Quantiles(0.001, 300.0, HALF_LIFE)
        self._tps = Quantiles(0.1, 100_000.0, HALF_LIFE)
        # Two counts that fade at one rate: all answers, and the failures among them.
        self._answers = FadingCount(HALF_LIFE)
        self._failures = FadingCount(HALF_LIFE)
        self._in_a_row = 0
        self._open_for = self._rules.seconds
        self._open_until = 0.0
        self._cool_until = 0.0
        self._started = 0  # the number of the newest attempt; they count from 1
        self._probe = 0  # the number of the newest attempt that was a probe of the breaker
        self._limited = False  # the last error that asked for a wait was a 429, not a 503
        self.breaker = Breaker.CLOSED
        self.in_flight = 0

    def wait(self, now: float) -> float:
        """Seconds until the upstream may be tried; 0.0: now."""
        if self.breaker is Breaker.HALF_OPEN:
            return max(self._cool_until - now, 1.0)
        return max(self._cool_until - now, self._open_until - now, 0.0)

    def is_limited(self, now: float) -> bool:
        """Whether the upstream is left alone only because a request was over its limit."""
        return self.breaker is Breaker.CLOSED and self._limited and self._cool_until > now

    @property
    def was_asked(self) -> bool:
        """Whether an attempt has ever started."""
        return self._started > 0

    def is_cold(self, now: float) -> bool:
        """Whether too little is known of the upstream to compare it with others."""
        return self._ttft.count(now) < KNOWN

    def tail(self, now: float) -> float | None:
        """The lowest p95 of the TTFT, in seconds, that the measurements allow; None while it would be a guess.

        If 5 % of the answers are slow, chance decides whether the measured p95 is the TTFT of a slow answer; a hedge
        that waits until slow answers come is of no use.
        """
        count = self._ttft.count(now)
        if count < TAIL_KNOWN:
            return None
        share = TAIL - TAIL_DOUBT * math.sqrt(TAIL * (1 - TAIL) / count)
        # The upper end of the quantile's bucket: an answer that is only just late is no reason for a hedge.
        return self._ttft.quantile(share, within=1.0)

    # --- what became of an attempt

    def on_start(self, now: float) -> int:
        """Count the start of an attempt; return its number, by which the breaker knows its probe."""
        self.in_flight += 1
        self._started += 1
        if self.breaker is Breaker.OPEN and now >= self._open_until:
            self.breaker, self._probe = Breaker.HALF_OPEN, self._started
        return self._started

    def on_content(self, attempt: int, ttft: float | None, now: float) -> None:
        """Take the first content of an attempt. `ttft`: in seconds; None for an answer that is not streamed."""
        if ttft is not None:
            self._ttft.add(ttft, now)
        if self._is_probe(attempt):
            self._close()

    def on_complete(self, tps: float | None, now: float) -> None:
        """Take the end of an answer that is whole, or that the gateway itself ended after its first content.

        `tps`: tokens a second after the first one; None if there were too few to measure by.
        """
        self.in_flight -= 1
        self._in_a_row = 0
        self._answers.count_one(now)
        if tps is not None:
            self._tps.add(tps, now)

    def on_failed(self, attempt: int, error: RivergateError, now: float) -> None:
        """Take the failure of an attempt, before its first content or after."""
        self.in_flight -= 1
        if error.retry_after is not None or isinstance(error, RateLimited):
            wait = COOLDOWN if error.retry_after is None else float(error.retry_after)
            self._cool_until = max(self._cool_until, now + min(wait, self._rules.max_cooldown))
            self._limited = isinstance(error, RateLimited)
        if isinstance(error, ClientError | RateLimited) or error.is_guess:
            if self._is_probe(attempt):
                self._close()  # the upstream answers
            return
        self._answers.count_one(now)
        self._failures.count_one(now)
        self._in_a_row += 1
        if self._is_probe(attempt):
            self._open_for = min(self._open_for * 2, LONGEST_OPEN)
            self._open(now)
        elif self.breaker is Breaker.CLOSED and 0 < self._rules.failures <= self._in_a_row:
            self._open(now)

    def on_given_up(self, attempt: int, waited: float | None, now: float) -> None:
        """Take the cancelling of an attempt before its first content.

        `waited`: the seconds that the attempt had, so that its TTFT would have been longer; None: not known.
        """
        self.in_flight -= 1
        if self._is_probe(attempt):
            self.breaker, self._open_until = Breaker.OPEN, now  # this probe said nothing, so the next may start now
        if waited is not None and waited > (self._ttft.quantile(0.5) or 0.0):
            self._ttft.add(waited, now)

    def statistics(self, now: float) -> HealthStatistics:
        """What is known of the upstream now."""
        answers = self._answers.count(now)
        return HealthStatistics(
            ttft_p50=self._ttft.quantile(0.5),
            ttft_p95=self._ttft.quantile(0.95),
            tps_p50=self._tps.quantile(0.5),
            tps_p95=self._tps.quantile(0.05),
            samples=self._ttft.count(now),
            error_rate=min(self._failures.count(now) / answers, 1.0) if answers > 0.01 else 0.0,
            in_flight=self.in_flight,
            breaker=self.breaker,
            wait=self.wait(now),
        )

    def _is_probe(self, attempt: int) -> bool:
        """Whether the half-open breaker waits for this very attempt."""
        return self.breaker is Breaker.HALF_OPEN and attempt == self._probe

    def _open(self, now: float) -> None:
        self.breaker, self._open_until = Breaker.OPEN, now + self._open_for

    def _close(self) -> None:
        self.breaker, self._open_for = Breaker.CLOSED, self._rules.seconds
        self._open_until, self._in_a_row = 0.0, 0
