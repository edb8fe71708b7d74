"""A bank that is elsewhere: the second implementation, which proves that the protocol is one.

It answers a turn of the loop later for every key with limits, as a worker's bank will, which asks the steward; and it
has no books: what is settled is handed to a list.
"""

import asyncio
from collections.abc import Awaitable

from gateway.access.accounts import Account, Quote
from gateway.access.bank import BankStatistics, Lease
from gateway.access.books import UsageRecord
from gateway.errors import RateLimited, ServiceUnavailable


class LaterBank:
    """A bank (`Bank`) that answers a turn of the event loop later."""

    def __init__(self) -> None:
        self.booked: list[UsageRecord] = []
        self.failure: str | None = None
        self.waits = 0  # how many requests had to wait
        self._accounts: dict[str, Account] = {}
        self._unwritten: list[UsageRecord] = []
        self._wake = asyncio.Event()
        self._is_closing = False

    def statistics(self) -> BankStatistics:
        return BankStatistics(len(self._unwritten), self.failure)

    def answers_at_once(self, account: Account) -> bool:
        return not account.is_limited

    def admit(self, account: Account, quote: Quote, now: float) -> Lease | Awaitable[Lease]:
        return self._ask(account, quote, now) if account.is_limited else self._grant(account, quote, now)

    def check_rate(self, account: Account, now: float) -> None:
        if (wait := account.wait_for_rate(now)) > 0:
            raise RateLimited("too many a minute", retry_after=max(1, -int(-wait // 1)))

    def count_request(self, account: Account, now: float) -> None:
        account.charge_request(now)

    def settle(self, usage: UsageRecord, lease: Lease | None) -> None:
        if lease is not None:
            lease.close()
            self._accounts[lease.key_id].on_settled(usage.total_microusd)
        self._unwritten.append(usage)
        self._wake.set()

    async def run(self) -> None:
        while self._unwritten or not self._is_closing:
            await self._wake.wait()
            self._wake.clear()
            self.booked += self._unwritten
            self._unwritten.clear()

    async def close(self, seconds: float) -> None:
        self._is_closing = True
        self._wake.set()

    def abandon_unwritten(self) -> None:
        self._unwritten.clear()

    async def _ask(self, account: Account, quote: Quote, now: float) -> Lease:
        self.waits += 1
        await asyncio.sleep(0)
        return self._grant(account, quote, now)

    def _grant(self, account: Account, quote: Quote, now: float) -> Lease:
        if self.failure is not None:
            raise ServiceUnavailable("the books are away", retry_after=5)
        if account.is_full:
            raise RateLimited("too many at once", retry_after=1)
        if (wait := account.count_request(now)) > 0:
            raise RateLimited("too many a minute", retry_after=max(1, -int(-wait // 1)))
        self._accounts[account.key.id] = account
        return account.lease(quote)
