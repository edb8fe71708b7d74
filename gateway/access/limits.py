"""Pure: the rate of a key: how many requests a minute it may send."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowance:
    """The state of a rate for the headers of answers. `reset`: seconds until `limit` requests may be sent again."""

    limit: int
    remaining: int
    reset: float


class RequestLimit:
    """A token bucket that holds a minute's worth of requests and fills evenly."""

    __slots__ = ("_at", "_filled", "per_minute")

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._filled = float(per_minute)
        self._at = now

    def allow(self, now: float) -> float:
        """Count a request and return 0.0, or count nothing and return the seconds to wait."""
        wait = self.wait(now)
        if wait == 0.0:
            self._filled -= 1.0
        return wait

    def wait(self, now: float) -> float:
        """The seconds until a request may be sent; 0.0: now."""
        self._fill(now)
        return 0.0 if self._filled >= 1.0 - 1e-9 else (1.0 - self._filled) * 60.0 / self.per_minute

    def charge(self, now: float) -> None:
        """Count a request in any case: a debt is kept up to a minute's worth of requests."""
        self._fill(now)
        self._filled = max(self._filled - 1.0, -float(self.per_minute))

    def allowance(self, now: float) -> Allowance:
        """The state of the rate at `now`."""
        self._fill(now)
        missing = self.per_minute - self._filled
        return Allowance(self.per_minute, max(int(self._filled + 1e-9), 0), missing * 60.0 / self.per_minute)

    def _fill(self, now: float) -> None:
        self._filled = min(self._filled + max(now - self._at, 0.0) * self.per_minute / 60.0, float(self.per_minute))
        self._at = now
