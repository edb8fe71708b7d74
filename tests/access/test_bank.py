"""The contract of the bank, tried on each implementation: authority over a key's money, rate and running requests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.access import settling
from gateway.access.accounts import Account, Quote
from gateway.access.bank import Bank, Lease
from gateway.access.books import Key, UsageRecord
from gateway.access.books_thread import BooksThread
from gateway.access.key_ring import KeyRing
from gateway.access.local_bank import LocalBank
from gateway.errors import InsufficientQuota, LedgerError, RateLimited, RivergateError, ServiceUnavailable

from .books import new_key, record
from .later_bank import LaterBank
from .memory_books import MemoryBooks, Store

PATIENCE = 20.0
NOTHING = Quote(0, 0)


@dataclass
class Site:
    """A bank, with what its test needs from outside: accounts, booked records and failures."""

    bank: Bank
    add: Callable[[Key], Account]
    booked: Callable[[], Sequence[str]]  # the ids of the records that are written
    set_failure: Callable[[str | None], None]  # sets why records cannot be written; None: they can

    def account(self, balance: int | None = None, **limits: Any) -> Account:
        return self.add(new_key(balance_microusd=balance, **limits))

    async def admit(self, account: Account, quote: Quote, now: float = 0.0) -> Lease:
        lease = self.bank.admit(account, quote, now)
        assert not (isinstance(lease, Awaitable) and self.bank.answers_at_once(account))
        return await lease if isinstance(lease, Awaitable) else lease

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - what is waited for may be in another thread
                await asyncio.sleep(0.001)


class FailingBooks(MemoryBooks):
    """Books that can be told to fail."""

    failure: str | None = None

    def settle(self, batch: Sequence[UsageRecord]) -> dict[str, int]:
        self.check()
        return dict(super().settle(batch))

    def check(self) -> None:
        if self.failure is not None:
            raise LedgerError(self.failure, f"storage.path: {self.failure}")
        super().check()


def local_site() -> tuple[Site, Callable[[], None]]:
    store = Store()
    books = FailingBooks(store)
    thread = BooksThread(books)
    keys = KeyRing(thread)

    def add(key: Key) -> Account:
        books.create(key)
        keys.load()
        account = keys.known(key.digest)
        assert account is not None
        return account

    def set_failure(reason: str | None) -> None:
        books.failure = reason

    return Site(LocalBank(thread, keys), add, lambda: list(store.usage), set_failure), thread.close


def later_site() -> tuple[Site, Callable[[], None]]:
    bank = LaterBank()

    def set_failure(reason: str | None) -> None:
        bank.failure = reason

    booked = bank.booked
    return Site(
        bank, lambda key: Account(key, 0.0), lambda: [entry.id for entry in booked], set_failure
    ), lambda: None


@pytest.fixture(params=[local_site, later_site], ids=["local", "later"])
async def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(settling, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(settling, "RETRY_SECONDS", 0.02)
    site, close = request.param()
    running = asyncio.get_running_loop().create_task(site.bank.run())
    yield site
    await site.bank.close(PATIENCE)
    async with asyncio.timeout(PATIENCE):
        await running
    site.bank.abandon_unwritten()
    close()


async def refusal(site: Site, account: Account, quote: Quote = NOTHING, now: float = 0.0) -> RivergateError:
    with pytest.raises(RivergateError) as caught:
        await site.admit(account, quote, now)
    return caught.value


async def test_a_key_without_limits_is_answered_at_once(site: Site) -> None:
    free = site.account()
    assert site.bank.answers_at_once(free)
    lease = await site.admit(free, Quote(1 << 40, 1 << 41))
    assert (lease.key_id, lease.has_balance, lease.reserved) == (free.key.id, False, 1 << 41)
    assert lease.extend(1 << 40) == (1 << 41) + (1 << 40)
    assert lease.covers_another()
    lease.close()


async def test_a_lease_is_as_much_as_is_wanted_and_as_there_is(site: Site) -> None:
    owner = site.account(100)
    first, second = await site.admit(owner, Quote(10, 70)), await site.admit(owner, Quote(10, 70))
    assert (first.reserved, second.reserved, owner.available) == (70, 30, 0)
    assert first.has_balance
    assert isinstance(await refusal(site, owner, Quote(0, 1)), InsufficientQuota)
    first.close()
    first.close()
    assert second.extend(100) == 100
    assert first.extend(10) == 70  # a closed lease reserves nothing more
    second.close()
    assert (owner.available, owner.running) == (100, 0)


@pytest.mark.parametrize(("balance", "least"), [(0, 0), (-5, 0), (9, 10)])
async def test_without_money_for_the_prompt_a_request_is_refused(site: Site, balance: int, least: int) -> None:
    owner = site.account(balance)
    error = await refusal(site, owner, Quote(least, 100))
    assert (error.status, error.code) == (402, "insufficient_quota")
    assert (owner.running, owner.available) == (0, balance)


async def test_another_attempt_is_paid_for_in_full_or_not_at_all(site: Site) -> None:
    owner = site.account(100)
    lease = await site.admit(owner, Quote(15, 60))
    assert [lease.covers_another() for _ in range(3)] == [True, True, False]
    assert (lease.reserved, owner.available) == (90, 10)
    lease.close()
    assert not lease.covers_another()


async def test_a_request_that_is_refused_for_its_number_does_not_count(site: Site) -> None:
    owner = site.account(rpm=2, max_streams=1)
    lease = await site.admit(owner, NOTHING)
    for _ in range(10):
        error = await refusal(site, owner)
        assert isinstance(error, RateLimited)
        assert error.retry_after in range(1, 6)
    lease.close()
    (await site.admit(owner, NOTHING)).close()  # the second of two a minute: the ten refusals were not counted
    error = await refusal(site, owner, now=0.5)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 30  # rounded up, so that a client that waits this long is admitted
    await site.admit(owner, NOTHING, 30.5)


async def test_a_settlement_is_gone_from_the_money_at_once_and_booked_soon(site: Site) -> None:
    owner = site.account(100)
    usage = record(owner.key.id, 25, hedge_cost_microusd=5)
    site.bank.settle(usage, await site.admit(owner, Quote(1, 60)))
    assert (owner.available, owner.running) == (70, 0)
    await site.until(lambda: site.bank.statistics().unwritten == 0)
    assert owner.available == 70
    assert site.booked() == [usage.id]


async def test_records_are_booked_in_the_order_they_were_settled_in(site: Site) -> None:
    usages = [record(None, cost) for cost in range(50)]
    for usage in usages:
        site.bank.settle(usage, None)
    await site.until(lambda: site.bank.statistics().unwritten == 0)
    assert site.booked() == [usage.id for usage in usages]


async def test_while_nothing_can_be_booked_requests_of_keys_are_refused(site: Site) -> None:
    owner = site.account(100)
    site.set_failure("database or disk is full")
    await site.until(lambda: site.bank.failure is not None)
    assert site.bank.failure == site.bank.statistics().failure == "database or disk is full"
    error = await refusal(site, owner)
    assert isinstance(error, ServiceUnavailable)
    assert error.retry_after == 5
    assert owner.running == 0
    site.set_failure(None)
    await site.until(lambda: site.bank.failure is None)
    (await site.admit(owner, NOTHING)).close()


async def test_a_request_that_is_given_up_while_it_waits_reserves_nothing(site: Site) -> None:
    owner = site.account(100, rpm=5)
    lease = site.bank.admit(owner, Quote(1, 60), 0.0)
    if isinstance(lease, Awaitable):
        waiting = asyncio.ensure_future(lease)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    else:
        lease.close()
    assert (owner.available, owner.running) == (100, 0)


async def test_a_request_that_was_refused_before_counts_against_the_rate(site: Site) -> None:
    owner = site.account(rpm=2)
    site.bank.check_rate(owner, 0.0)
    site.bank.count_request(owner, 0.0)
    (await site.admit(owner, NOTHING)).close()
    with pytest.raises(RateLimited) as caught:
        site.bank.check_rate(owner, 0.0)
    assert caught.value.retry_after == 30
    assert isinstance(await refusal(site, owner), RateLimited)
    site.bank.check_rate(owner, 30.0)


async def test_a_key_without_a_rate_is_never_refused_for_it(site: Site) -> None:
    owner = site.account()
    for _ in range(100):
        site.bank.count_request(owner, 0.0)
        site.bank.check_rate(owner, 0.0)


@pytest.mark.parametrize("balance", [0, -5])
async def test_a_request_that_costs_nothing_needs_no_money(site: Site, balance: int) -> None:
    account = site.account(balance=balance)
    lease = await site.admit(account, NOTHING)
    assert lease.covers_another()
    assert lease.extend(10) == 0
    lease.close()
    assert isinstance(await refusal(site, account, Quote(0, 1)), InsufficientQuota)
