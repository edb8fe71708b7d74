"""Shell: the bank of a gateway of one process: the accounts of its key ring, and the writer of its books."""

import secrets
from collections.abc import Mapping, Sequence

from gateway.access.accounts import Account, AccountLease, Quote
from gateway.access.bank import BankStatistics, Lease
from gateway.access.books import UsageRecord
from gateway.access.books_thread import BooksThread
from gateway.access.key_ring import KeyRing
from gateway.access.settling import Settling
from gateway.errors import RateLimited, ServiceUnavailable

LEDGER_RETRY_SECONDS = 5  # Retry-After of a refusal while the books cannot be written
MAX_JITTER_SECONDS = 5  # refused clients come back spread over this time


class LocalBank:
    """The bank of one process (`Bank`), which always answers at once.

    A cost that is settled is gone from the key's money in the same call, and is in the books soon.
    """

    def __init__(self, books: BooksThread, keys: KeyRing) -> None:
        self._keys = keys
        self._settling = Settling(books, self._on_written)

    @property
    def failure(self) -> str | None:
        return self._settling.failure

    def statistics(self) -> BankStatistics:
        return BankStatistics(len(self._settling), self._settling.failure)

    def answers_at_once(self, account: Account) -> bool:
        return True

    def admit(self, account: Account, quote: Quote, now: float) -> AccountLease:
        if self._settling.failure is not None:
            raise ServiceUnavailable(
                "the ledger cannot be written; try again later", retry_after=LEDGER_RETRY_SECONDS
            )
        if account.is_full:
            message = f"this API key has {account.running} requests running and may have no more at once"
            raise RateLimited(message, retry_after=1 + secrets.randbelow(MAX_JITTER_SECONDS))
        if (wait := account.count_request(now)) > 0:
            raise _too_many(account, wait)
        return account.lease(quote)

    def check_rate(self, account: Account, now: float) -> None:
        if (wait := account.wait_for_rate(now)) > 0:
            raise _too_many(account, wait)

    def count_request(self, account: Account, now: float) -> None:
        account.charge_request(now)

    def settle(self, usage: UsageRecord, lease: Lease | None) -> None:
        try:
            self._settling.add(usage)
            if lease is not None and (account := self._keys.account(lease.key_id)) is not None:
                account.on_settled(usage.total_microusd)
        finally:
            if lease is not None:
                lease.close()

    async def run(self) -> None:
        await self._settling.run()

    async def close(self, seconds: float) -> None:
        await self._settling.close(seconds)

    def abandon_unwritten(self) -> None:
        self._settling.abandon()

    def _on_written(self, batch: Sequence[UsageRecord], balances: Mapping[str, int]) -> None:
        for usage in batch:
            if (account := self._keys.account(usage.key_id or "")) is not None:
                account.on_written(usage.total_microusd)
        for key_id, balance in balances.items():
            if (account := self._keys.account(key_id)) is not None:
                account.on_balance(balance)


def _too_many(account: Account, wait: float) -> RateLimited:
    rpm = account.key.rpm
    message = f"this API key may send {rpm} request{'s' * (rpm != 1)} a minute"
    return RateLimited(message, retry_after=max(1, -int(-wait // 1)))
