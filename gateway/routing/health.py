"""Pure: what is known of one upstream for one model: how fast, how reliable, and whether to try it at all.

In: what became of its attempts, with the time. Out: quantiles of TTFT and throughput in which the past fades, the
share of failures, and the state of the breaker. An open breaker is closed, or opened for longer, by its probe alone,
not by what began before it. A limit that a client sets (a TTFT budget, a timeout) never counts as
a failure, else one impatient client could take an upstream away from all.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from gateway.errors import ClientError, RateLimited, RivergateError
from gateway.observe.quantiles import Quantiles

HALF_LIFE = 300.0  # seconds: a provider's good and bad times change within minutes
KNOWN = 5.0  # values; below it an upstream is cold, and what is measured of it says nothing
TAIL_KNOWN = 20.0  # values, for a p95 to be more than a guess
TAIL = 0.95
TAIL_DOUBT = 2.0  # standard deviations by which chance may have moved it
COOLDOWN = 1.0  # seconds after a 429 that does not say how long
LONGEST_OPEN = 300.0  # seconds between two probes of an upstream that stays down


class Breaker(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"  # one probe is under way


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When an upstream is left alone. `failures` in a row open the breaker for `seconds`; 0: never."""

    failures: int = 5
    seconds: float = 10.0
    max_cooldown: float = 120.0  # the longest `Retry-After` that is obeyed


@dataclass(frozen=True, slots=True)
class HealthStatistics:
    """Seconds and tokens a second; None: not known. `samples` is how many values the TTFT rests on."""

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
    """Of one upstream for one model."""

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
        # Counts that fade alike: all answers, and the failures among them.
        self._answers = Quantiles(1.0, 1.0, HALF_LIFE)
        self._failures = Quantiles(1.0, 1.0, HALF_LIFE)
        self._in_a_row = 0
        self._open_for = self._rules.seconds
        self._open_until = 0.0
        self._cool_until = 0.0
        self._started = 0  # attempts so far: the number of the newest
        self._probe = 0  # the number of the newest attempt on which the breaker has hung
        self._limited = False  # whether it cools down from a 429, and not from a 503
        self.breaker = Breaker.CLOSED
        self.in_flight = 0

    def wait(self, now: float) -> float:
        """Seconds until it may be tried; 0.0 = now."""
        if self.breaker is Breaker.HALF_OPEN:
            return max(self._cool_until - now, 1.0)
        return max(self._cool_until - now, self._open_until - now, 0.0)

    def is_limited(self, now: float) -> bool:
        """Whether it is left alone only because a request was over its limit."""
        return self.breaker is Breaker.CLOSED and self._limited and self._cool_until > now

    def is_cold(self, now: float) -> bool:
        """Whether too little is known of it to compare it with others."""
        return self._ttft.count(now) < KNOWN

    def tail(self, now: float) -> float | None:
        """The p95 of the TTFT in seconds, the lowest that these values allow; None while it would be a guess.

        With 5 % of slow answers chance decides whether the p95 is one of them, and waiting for those helps nobody.
        """
        count = self._ttft.count(now)
        if count < TAIL_KNOWN:
            return None
        share = TAIL - TAIL_DOUBT * math.sqrt(TAIL * (1 - TAIL) / count)
        # The upper end: an answer that is only just late is no reason to ask a second upstream.
        return self._ttft.quantile(share, within=1.0)

    # --- what became of an attempt

    def on_start(self, now: float) -> int:
        """An attempt begins; its number, by which the breaker knows its probe."""
        self.in_flight += 1
        self._started += 1
        if self.breaker is Breaker.OPEN and now >= self._open_until:
            self.breaker, self._probe = Breaker.HALF_OPEN, self._started
        return self._started

    def on_content(self, attempt: int, ttft: float | None, now: float) -> None:
        """The first content came after so many seconds; None: of an answer that came whole."""
        if ttft is not None:
            self._ttft.add(ttft, now)
        if self._is_probe(attempt):
            self._close()

    def on_complete(self, tps: float | None, now: float) -> None:
        """The answer is whole, or all that we wanted. `tps`: tokens a second behind the first, if it can be told."""
        self.in_flight -= 1
        self._in_a_row = 0
        self._answers.add(1.0, now)
        if tps is not None:
            self._tps.add(tps, now)

    def on_failed(self, attempt: int, error: RivergateError, now: float) -> None:
        """It failed by itself, before the first content or after."""
        self.in_flight -= 1
        if error.retry_after is not None or isinstance(error, RateLimited):
            wait = COOLDOWN if error.retry_after is None else float(error.retry_after)
            self._cool_until = max(self._cool_until, now + min(wait, self._rules.max_cooldown))
            self._limited = isinstance(error, RateLimited)
        if isinstance(error, ClientError | RateLimited):
            if self._is_probe(attempt):
                self._close()  # it answers
            return
        self._answers.add(1.0, now)
        self._failures.add(1.0, now)
        self._in_a_row += 1
        if self._is_probe(attempt):
            self._open_for = min(self._open_for * 2, LONGEST_OPEN)
            self._open(now)
        elif self.breaker is Breaker.CLOSED and 0 < self._rules.failures <= self._in_a_row:
            self._open(now)

    def on_given_up(self, attempt: int, waited: float | None, now: float) -> None:
        """We closed it before its content. `waited`: how long for that, which makes the TTFT at least as long."""
        self.in_flight -= 1
        if self._is_probe(attempt):
            self.breaker, self._open_until = Breaker.OPEN, now  # the probe said nothing: another may
        if waited is not None and waited > (self._ttft.quantile(0.5) or 0.0):
            self._ttft.add(waited, now)

    def statistics(self, now: float) -> HealthStatistics:
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
