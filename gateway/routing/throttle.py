"""Pure: how many hedges there may be: a share of the requests, saved up to a few.

A token bucket that requests fill, not the clock: hedges never exceed the share over any number of requests from the
start, and when upstreams are slow for everybody the load on them grows by no more than that.
"""

MAX_SAVED = 10.0  # hedges that a quiet time may leave for a bad moment


class Throttle:
    """Of all requests of the process. `share` 0 allows none."""

    __slots__ = ("_saved", "_share", "hedges", "requests")

    def __init__(self, share: float = 0.0) -> None:
        self._share = share
        self._saved = 0.0
        self.requests = 0
        self.hedges = 0

    def change(self, share: float) -> None:
        """Another share from now on; what was saved stays, unless there are to be no hedges at all."""
        self._share = share
        if share == 0.0:
            self._saved = 0.0

    def on_request(self) -> None:
        self.requests += 1
        self._saved = min(self._saved + self._share, MAX_SAVED)

    @property
    def ready(self) -> bool:
        """Whether there may be a hedge now."""
        return self._saved >= 1.0 - 1e-9

    def take(self) -> bool:
        """Whether there may be a hedge now; it counts as one then."""
        if not self.ready:
            return False
        self._saved -= 1.0
        self.hedges += 1
        return True
