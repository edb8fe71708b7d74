"""Pure: the throttle of hedges: only a share of the requests may be hedged.

In: requests and hedges. Out: whether one more hedge may start. The throttle is a token bucket that requests fill, not
the clock: hedges never exceed the share of the requests since the start, and when upstreams are slow for everybody,
the load on them grows by no more than the share.
"""

MAX_SAVED = 10.0  # hedges that a quiet time may save for a bad moment


class Throttle:
    """The throttle of all requests of the process. `share`: the hedges per request, 0 to 1; 0 allows none."""

    __slots__ = ("_saved", "_share", "hedges", "requests")

    def __init__(self, share: float = 0.0) -> None:
        self._share = share
        self._saved = 0.0
        self.requests = 0
        self.hedges = 0

    def change(self, share: float) -> None:
        """Allow another share from now on; what was saved stays, unless the share is 0."""
        self._share = share
        if share == 0.0:
            self._saved = 0.0

    def on_request(self) -> None:
        """Count a request, and save its share."""
        self.requests += 1
        self._saved = min(self._saved + self._share, MAX_SAVED)

    @property
    def ready(self) -> bool:
        """Whether a hedge may start now."""
        return self._saved >= 1.0 - 1e-9

    def take(self) -> bool:
        """Count a hedge if it may start now; return whether it may."""
        if not self.ready:
            return False
        self._saved -= 1.0
        self.hedges += 1
        return True
