"""Shell: the places of subscribers: each stream has a limited number of them, and so has each key."""

from collections.abc import Callable
from functools import partial

from gateway.access.subscription_count import SubscriptionCount
from gateway.config import StreamSettings
from gateway.errors import ServiceUnavailable
from gateway.http.capacity import jittered_retry_seconds
from gateway.stream.stream import Stream

Leave = Callable[[], None]


class Places:
    """Gives out places. A subscription counts for the key that owns the stream, also if a viewer token opened it."""

    def __init__(self, limits: Callable[[], StreamSettings]) -> None:
        """Begin with no place taken. `limits` gives the settings in force, which a reload exchanges."""
        self._limits = limits
        self._by_owner = SubscriptionCount()

    def take(self, stream: Stream, owner: str) -> Leave | None:
        """Take a place; the result is to be called at the end of the subscription.

        The result is None if the place counts for no key: `owner` is "" for the machine's own users, and for viewers
        of a feed. Raises `ServiceUnavailable` if the stream is full, `RateLimited` if the key has no place left.
        """
        limits = self._limits()
        if stream.subscribers >= limits.max_subscribers:
            message = "this stream has all the readers that it may have"
            raise ServiceUnavailable(message, retry_after=jittered_retry_seconds())
        if not owner:
            return None
        self._by_owner.take(owner, limits.max_subscribers_per_key, retry_after=jittered_retry_seconds())
        return partial(self._by_owner.leave, owner)
