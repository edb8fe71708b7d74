"""The subscriptions of one key are counted against its limit."""

import pytest

from gateway.access.subscription_count import SubscriptionCount
from gateway.errors import RateLimited


def test_as_many_as_the_limit_are_taken_and_one_more_is_refused_until_one_is_left() -> None:
    count = SubscriptionCount()
    count.take("ada", 2, 1)
    count.take("ada", 2, 1)
    with pytest.raises(RateLimited) as caught:
        count.take("ada", 2, 4)
    assert (caught.value.status, caught.value.retry_after) == (429, 4)
    count.leave("ada")
    count.take("ada", 2, 1)


def test_one_key_takes_nothing_from_another() -> None:
    count = SubscriptionCount()
    count.take("ada", 1, 1)
    count.take("bob", 1, 1)


def test_a_refusal_takes_nothing() -> None:
    count = SubscriptionCount()
    count.take("ada", 1, 1)
    with pytest.raises(RateLimited):
        count.take("ada", 1, 1)
    count.leave("ada")
    count.take("ada", 1, 1)
