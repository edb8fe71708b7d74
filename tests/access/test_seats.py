"""Subscriptions of one key."""

import pytest

from gateway.access.seats import Seats
from gateway.errors import RateLimited


def test_as_many_as_the_limit_are_taken_and_one_more_is_refused_until_one_is_left() -> None:
    seats = Seats()
    seats.take("ada", 2, 1)
    seats.take("ada", 2, 1)
    with pytest.raises(RateLimited) as caught:
        seats.take("ada", 2, 4)
    assert (caught.value.status, caught.value.retry_after) == (429, 4)
    seats.leave("ada")
    seats.take("ada", 2, 1)


def test_one_key_takes_nothing_from_another() -> None:
    seats = Seats()
    seats.take("ada", 1, 1)
    seats.take("bob", 1, 1)


def test_a_refusal_takes_nothing() -> None:
    seats = Seats()
    seats.take("ada", 1, 1)
    with pytest.raises(RateLimited):
        seats.take("ada", 1, 1)
    seats.leave("ada")
    seats.take("ada", 1, 1)
