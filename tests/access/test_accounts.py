"""An account: its money is neither made nor lost, and its models are checked."""

from typing import Any

import pytest

from gateway.access.accounts import Account, Quote
from gateway.errors import InsufficientQuota, PermissionDenied

from .books import new_key


def account(balance: int | None = None, **fields: Any) -> Account:
    return Account(new_key(balance_microusd=balance, **fields), 0.0)


def test_a_reservation_is_as_much_as_is_wanted_and_as_there_is() -> None:
    owner = account(100)
    first, second = owner.lease(Quote(10, 70)), owner.lease(Quote(10, 70))
    assert (first.reserved, second.reserved, owner.available) == (70, 30, 0)
    with pytest.raises(InsufficientQuota):
        owner.lease(Quote(0, 1))
    first.close()
    assert owner.available == 70
    assert second.extend(100) == 100
    second.close()
    assert (owner.available, owner.reserved, owner.running) == (100, 0, 0)


@pytest.mark.parametrize(("balance", "least"), [(0, 0), (-5, 0), (9, 10)])
def test_without_money_for_the_prompt_nothing_begins(balance: int, least: int) -> None:
    owner = account(balance)
    with pytest.raises(InsufficientQuota) as caught:
        owner.lease(Quote(least, 100))
    assert (caught.value.status, caught.value.code) == (402, "insufficient_quota")
    assert (owner.running, owner.reserved) == (0, 0)


def test_a_lease_is_given_back_once_and_reserves_nothing_more() -> None:
    owner = account(100)
    lease = owner.lease(Quote(1, 60))
    lease.close()
    lease.close()
    assert lease.extend(40) == 60  # a request for more that was still under way gets nothing
    assert (owner.available, owner.reserved, owner.running) == (100, 0, 0)


def test_another_attempt_is_paid_for_in_full_or_not_at_all() -> None:
    owner = account(100)
    lease = owner.lease(Quote(15, 60))
    assert [lease.covers_another() for _ in range(3)] == [True, True, False]
    assert (lease.reserved, owner.reserved, owner.available) == (90, 90, 10)
    lease.close()
    assert not lease.covers_another()
    assert (owner.reserved, owner.available) == (0, 100)
    assert account().lease(Quote(1 << 40, 0)).covers_another()


def test_the_densest_prompt_is_reserved_as_far_as_there_is_money_and_so_holds_off_others() -> None:
    owner = account(100)
    first = owner.lease(Quote(10, 15, 45))
    second = owner.lease(Quote(10, 15, 200))
    assert (first.reserved, second.reserved) == (45, 55)
    with pytest.raises(InsufficientQuota, match=r"costs about 0\.000010 USD, 0\.000000 USD are left.*0\.000100 USD"):
        owner.lease(Quote(10, 15, 45))
    assert [first.covers_another() for _ in range(4)] == [True, True, True, False]  # of what the prompt hardly needs
    assert (first.reserved, owner.available) == (45, 0)
    second.close()
    assert first.covers_another()
    assert first.reserved == 55


def test_a_key_without_a_balance_may_reserve_anything() -> None:
    owner = account()
    lease = owner.lease(Quote(1 << 40, 1 << 41))
    assert lease.extend(1 << 40) == (1 << 41) + (1 << 40)
    assert owner.available is None


def test_a_model_that_is_not_the_keys_is_refused() -> None:
    owner = account(models=("a/b",))
    owner.check_model(("a/b",))
    owner.check_model(("a/b-2024", "a/b"))  # one of its names is enough
    with pytest.raises(PermissionDenied) as caught:
        owner.check_model(("a/c",))
    assert caught.value.param == "model"
    account().check_model(("a/c",))
