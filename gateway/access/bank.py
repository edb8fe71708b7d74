"""Pure: the bank: the one authority over the money, the rate and the running requests of every key.

`LocalBank` is the bank of a gateway of one process. A later one asks a bank elsewhere: the steward's, for the workers
of a machine, or a store that many machines share. Which calls may wait follows from where they are made:

- `admit` comes before an upstream is asked, and may wait. It answers with a lease, or, only where the bank is
  elsewhere, with an awaitable of one. A token's way and the fast way of a request have no place to wait: the fast way
  takes a request only if `answers_at_once` says so, and aiohttp's way awaits. A bank elsewhere answers at once for
  keys without limits, which it need not ask about.
- `Lease.extend` and `Lease.covers_another` come between two tokens and in a race, and never wait: a bank elsewhere
  answers from money that it has fetched ahead of need, and fetches more in the background.
- `settle` comes with the end of a request and never waits: records are collected and written in batches.
- What answers tell of a key (its balance, its rate) is read from the `Account`, which is what this process knows, so
  that no header waits.

Whoever writes another bank passes `tests/access/test_bank.py` with it.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from gateway.access.accounts import Account, Quote
from gateway.access.books import UsageRecord


class Lease(Protocol):
    """The money of a key that one running request has reserved, in micro-dollars, and its place among the others."""

    reserved: int

    @property
    def key_id(self) -> str:
        """The key that pays."""

    @property
    def has_balance(self) -> bool:
        """Whether the key's money can run out; else what the request costs need not be watched."""

    def extend(self, amount: int) -> int:
        """Reserve more, as far as there is and while the lease is open; what is reserved now. Never waits."""

    def covers_another(self) -> bool:
        """Reserve what it costs to ask one more upstream, if all of that is there; whether it was. Never waits."""

    def close(self) -> None:
        """Give back what is reserved, and the place. Idempotent; `Bank.settle` does it too."""


@dataclass(frozen=True, slots=True)
class BankStatistics:
    unwritten: int  # records that are settled and not in the books yet
    failure: str | None  # why the books cannot be written


class Bank(Protocol):
    """One authority over all keys. Its `Account` values are changed by nobody else."""

    @property
    def failure(self) -> str | None:
        """Why the books cannot be written, in the store's words; None: they can."""

    def statistics(self) -> BankStatistics: ...

    def answers_at_once(self, account: Account) -> bool:
        """Whether `admit` will answer this account without waiting."""

    def admit(self, account: Account, quote: Quote, now: float) -> Lease | Awaitable[Lease]:
        """Count a request of this key, give it a place, and reserve what it may cost.

        Raises `RateLimited`, and then the request does not count; `InsufficientQuota`; `ServiceUnavailable` while
        what is spent could not be written. The awaitable raises the same; cancelled, it reserves nothing.
        """

    def settle(self, usage: UsageRecord, lease: Lease | None) -> None:
        """Book a record: its lease is closed, its cost is gone from the key's money, and it will be written."""

    async def run(self) -> None:
        """The bank's own work, until `close`."""

    async def close(self, seconds: float) -> None:
        """Let `run` write what is left and end, within this time."""

    def abandon_unwritten(self) -> None:
        """Write what could not be booked to the log, record by record. After `run` has ended."""
