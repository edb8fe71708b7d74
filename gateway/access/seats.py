"""Pure: how many subscriptions each API key holds at once, its viewers' included."""

from collections import Counter

from gateway.errors import RateLimited


class Seats:
    """Counts by owner. What is taken is left once."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def take(self, owner: str, limit: int, retry_after: int) -> None:
        """Raises `RateLimited`, and then nothing is taken."""
        if self._taken[owner] >= limit:
            message = f"this API key has {limit} subscriptions and may have no more at once"
            raise RateLimited(message, retry_after=retry_after)
        self._taken[owner] += 1

    def leave(self, owner: str) -> None:
        self._taken[owner] -= 1
        if not self._taken[owner]:
            del self._taken[owner]
