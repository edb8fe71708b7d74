"""Pure: the number of subscriptions that each API key holds at once, those of its viewer tokens included."""

from collections import Counter

from gateway.errors import RateLimited


class SubscriptionCount:
    """The number of subscriptions of each owner. Each `take` is followed by one `leave`."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def take(self, owner: str, limit: int, retry_after: int) -> None:
        """Count a subscription of this owner. At the limit, raise `RateLimited` and count nothing."""
        if self._taken[owner] >= limit:
            message = f"this API key has {limit} subscriptions and may have no more at once"
            raise RateLimited(message, retry_after=retry_after)
        self._taken[owner] += 1

    def leave(self, owner: str) -> None:
        """Count one subscription of this owner less."""
        self._taken[owner] -= 1
        if not self._taken[owner]:
            del self._taken[owner]
