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
- The headers that tell a key's balance and rate are read from the `Account`, which holds what this process knows, so
  that no answer waits for them.

Every other bank has to pass `tests/access/test_bank.py`.
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
        """Whether the key's money can run out. If it cannot, nobody has to watch what the request costs."""

    def extend(self, amount: int) -> int:
        """Reserve up to `amount` more while the lease is open; returns all that is reserved now. Never waits."""

    def covers_another(self) -> bool:
        """Reserve the cost of asking one more upstream and return True, or reserve nothing and return False.

        Never waits.
        """

    def close(self) -> None:
        """Give back the reserved money and the place. Idempotent; `Bank.settle` calls it too."""


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

        Raises `RateLimited` (then the request does not count against the rate), `InsufficientQuota`, and
        `ServiceUnavailable` while the books cannot be written. The awaitable raises these errors, too. If it is
        cancelled, nothing is reserved.
        """

    def check_rate(self, account: Account, now: float) -> None:
        """Refuse a key whose rate is used up, as far as this process knows; counts nothing. Raises `RateLimited`.

        Never waits: it spares the gateway the work on a request that `admit` would refuse.
        """

    def count_request(self, account: Account, now: float) -> None:
        """Count a request against the key's rate that never comes to `admit`, as it was refused or asks no upstream.

        Never waits.
        """

    def settle(self, usage: UsageRecord, lease: Lease | None) -> None:
        """Book a record: its lease is closed, its cost is gone from the key's money, and it will be written."""

    async def run(self) -> None:
        """The bank's own work, until `close`."""

    async def close(self, seconds: float) -> None:
        """Let `run` write what is left and end, within this time."""

    def abandon_unwritten(self) -> None:
        """Write every record that could not be booked to the log, one line each; called after `run` has ended."""
