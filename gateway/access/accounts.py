"""Shell: the keys of the ledger in memory: who may ask, how often, for how much money; and the writer of the ledger.

What is settled here is taken off a key's money at once and written soon, in batches, by a thread. The invariant: for
every key with a balance, what may still be spent is the balance in the ledger, less what is settled and not written
yet, less what running streams have reserved.
"""

import asyncio
import logging
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gateway import clock
from gateway.access.books import Books, Key, UsageRecord
from gateway.access.limits import Allowance, RequestLimit
from gateway.errors import InsufficientQuota, LedgerError, PermissionDenied, RateLimited

REFRESH_SECONDS = 1.0  # a revocation, a credit, a new key: known after so long at most
RETRY_SECONDS = 1.0  # between two tries to write while the disk refuses
CHECK_SECONDS = 5.0  # without a record to write: so long a disk that is full can go unnoticed
MAX_BATCH = 1000  # records in one transaction
# Records wait so long for others: a commit for each one took an eighth of a request's CPU, and the lock of the
# interpreter from the request that came next (bench/relay.py).
GATHER_SECONDS = 0.05
# Then they wait for the next settlement, if one comes so soon: behind an answer is a gap before the next request. At
# any other moment a commit would make that wait for the core.
LINGER_SECONDS = 0.02
LOOK_SECONDS = 0.05  # between two looks at the ledger for keys that are not known, however many are tried

_log = logging.getLogger("rivergate.access")


class Account:
    """One key and what it does now. Money in micro-dollars; `balance` None: without a limit."""

    __slots__ = ("_limit", "balance", "key", "pending", "reserved", "streams")

    def __init__(self, key: Key, now: float) -> None:
        self.key = key
        self.balance = key.balance_microusd
        self.pending = 0  # settled, not in the ledger's balance yet
        self.reserved = 0  # by running streams
        self.streams = 0
        self._limit = RequestLimit(key.rpm, now) if key.rpm is not None else None

    @property
    def available(self) -> int | None:
        """What may still be reserved; None: any amount."""
        return None if self.balance is None else self.balance - self.pending - self.reserved

    def update(self, key: Key, now: float) -> None:
        """The ledger has changed."""
        if key.rpm != self.key.rpm:
            self._limit = RequestLimit(key.rpm, now) if key.rpm is not None else None
        self.key, self.balance = key, key.balance_microusd

    def allowance(self, now: float) -> Allowance | None:
        return self._limit.allowance(now) if self._limit is not None else None

    def check_model(self, model_id: str, field: str = "model") -> None:
        """Raises `PermissionDenied`, which names the field of the request."""
        if self.key.models and model_id not in self.key.models:
            raise PermissionDenied(f"this API key may not use the model {model_id[:200]!r}", param=field)

    def admit(self, now: float) -> None:
        """Count a request. Raises `RateLimited`, and then it does not count."""
        if self.key.max_streams is not None and self.streams >= self.key.max_streams:
            message = f"this API key has {self.streams} requests running and may have no more at once"
            raise RateLimited(message, retry_after=1 + secrets.randbelow(5))  # jittered
        if self._limit is not None and (wait := self._limit.allow(now)) > 0:
            message = f"this API key may send {self.key.rpm} requests a minute"
            raise RateLimited(message, retry_after=max(1, -int(-wait // 1)))

    def lease(self, least: int, wanted: int) -> "Lease":
        """Reserve money for a stream: what it may cost, as far as there is. Raises `InsufficientQuota`.

        `least`: without this it cannot begin.
        """
        available = self.available
        if available is not None and (available <= 0 or available < least):
            raise InsufficientQuota("the balance of this API key is used up")
        self.streams += 1
        lease = Lease(self, wanted if available is None else min(wanted, available), least)
        self.reserved += lease.reserved
        return lease


class Lease:
    """What one running stream has reserved of its key's money."""

    __slots__ = ("account", "closed", "least", "reserved")

    def __init__(self, account: Account, reserved: int, least: int) -> None:
        self.account = account
        self.reserved = reserved
        self.least = least  # what it costs to ask at all
        self.closed = False

    def extend(self, amount: int) -> int:
        """Reserve more, as far as there is and while it is open; what is reserved now."""
        if self.closed:
            return self.reserved
        available = self.account.available
        more = amount if available is None else max(min(amount, available), 0)
        self.reserved += more
        self.account.reserved += more
        return self.reserved

    def covers_another(self) -> bool:
        """Reserve what it costs to ask once more, if all of that is there; whether it was."""
        available = self.account.available
        if self.closed or (available is not None and available < self.least):
            return False
        self.extend(self.least)
        return True

    def close(self) -> None:
        """Give back what was reserved. Idempotent."""
        if not self.closed:
            self.closed = True
            self.account.reserved -= self.reserved
            self.account.streams -= 1


@dataclass(frozen=True, slots=True)
class AccountsStatistics:
    keys: int
    unwritten: int
    failure: str | None


class Accounts:
    """All keys of one ledger."""

    def __init__(self, ledger: Books) -> None:
        self._ledger = ledger
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._accounts: dict[str, Account] = {}
        self._by_digest: dict[bytes, Account] = {}
        self._queue: list[UsageRecord] = []
        self._wake = asyncio.Event()
        self._version = -1
        self._looking = asyncio.Lock()
        self._looked_at = 0.0
        self._give_up_at: float | None = None  # set at the end: until then, what is left is written
        self.failure: str | None = None  # why the ledger cannot be written

    @property
    def is_open(self) -> bool:
        """No key was ever made: whoever reaches the listener may ask."""
        return not self._accounts

    def statistics(self) -> AccountsStatistics:
        return AccountsStatistics(len(self._accounts), len(self._queue), self.failure)

    def load(self) -> None:
        """Read the keys, at the start. Raises `LedgerError`."""
        self._version = self._ledger.version()
        self._take(self._ledger.all_keys())

    async def run(self) -> None:
        """Write what is settled, see that it can be written, and notice what others wrote, until `close`."""
        loop = asyncio.get_running_loop()
        refresh_at, check_at = loop.time() + REFRESH_SECONDS, loop.time() + CHECK_SECONDS
        while not self._is_done(loop.time()):
            if not self._queue or self.failure:
                await self._sleep(self._retry_after(loop.time()) if self.failure else refresh_at - loop.time())
            self._wake.clear()
            if self._queue or self.failure or loop.time() >= check_at:
                if self._queue and not self.failure and self._give_up_at is None:
                    await asyncio.sleep(GATHER_SECONDS)
                    self._wake.clear()
                    await self._sleep(LINGER_SECONDS)
                await self._write()
                check_at = loop.time() + CHECK_SECONDS
            if loop.time() >= refresh_at:
                await self._refresh()
                refresh_at = loop.time() + REFRESH_SECONDS

    async def close(self, seconds: float) -> None:
        """Let `run` write what is left, for so long, and end."""
        self._give_up_at = asyncio.get_running_loop().time() + seconds
        self._wake.set()
        while not self._is_done(asyncio.get_running_loop().time()):  # noqa: ASYNC110 - the writer's own pace
            await asyncio.sleep(0.01)

    def shut(self) -> None:
        """End the thread and close the file, once `run` has ended; what is not written goes to the log."""
        self._thread.shutdown(wait=True)
        self._ledger.close()
        unwritten, self._queue = self._queue, []
        for usage in unwritten:
            fields = {"record": _in_json(usage), "reason": self.failure}
            _log.error("a record is not in the ledger; book it by hand", extra={"fields": fields})

    def known(self, digest: bytes) -> Account | None:
        """The key with this digest, if it was there at the last look."""
        return self._by_digest.get(digest)

    async def find(self, digest: bytes) -> Account | None:
        """The key with this digest, also one that was made a moment ago."""
        if digest not in self._by_digest:
            asked_at = clock.monotonic()
            async with self._looking:
                if self._looked_at < asked_at:  # else somebody has looked while this one waited for its turn
                    await asyncio.sleep(self._looked_at + LOOK_SECONDS - clock.monotonic())
                    self._looked_at = clock.monotonic()
                    await self._refresh()
        return self._by_digest.get(digest)

    def settle(self, usage: UsageRecord, lease: Lease | None) -> None:
        """Book a record: its money is gone from now on, and it will be written."""
        if lease is not None:
            lease.close()
            if lease.account.balance is not None:
                lease.account.pending += usage.cost_microusd + usage.hedge_cost_microusd
        self._queue.append(usage)
        self._wake.set()

    async def report(
        self, key_id: str | None, start: int, end: int, group_by: Literal["day", "model"]
    ) -> list[dict[str, Any]]:
        """Sums of records; what is not written yet is not in them. Raises `LedgerError`."""
        rows: list[dict[str, Any]] = await self._in_thread(self._ledger.report, key_id, start, end, group_by)
        return rows

    # --- inside

    def _is_done(self, now: float) -> bool:
        return self._give_up_at is not None and (not self._queue or now >= self._give_up_at)

    def _retry_after(self, now: float) -> float:
        return RETRY_SECONDS if self._give_up_at is None else min(RETRY_SECONDS, self._give_up_at - now)

    async def _sleep(self, seconds: float) -> None:
        seconds = max(seconds, 0.0)
        try:
            async with asyncio.timeout(seconds):
                await (asyncio.sleep(seconds + 1) if self.failure else self._wake.wait())
        except TimeoutError:
            pass

    async def _write(self) -> None:
        """Write the oldest records; without any, see whether they could be written."""
        batch = self._queue[:MAX_BATCH]
        try:
            balances: Mapping[str, int] = {}
            if batch:
                balances = await self._in_thread(self._ledger.settle, batch)
            else:
                await self._in_thread(self._ledger.check)
        except LedgerError as error:
            if self.failure is None:
                fields = {"reason": str(error), "records": len(self._queue)}
                _log.error("the ledger cannot be written; new requests of keys are refused", extra={"fields": fields})
            self.failure = str(error)
            return
        if self.failure is not None:
            _log.warning("the ledger can be written again", extra={"fields": {"records": len(self._queue)}})
            self.failure = None
        del self._queue[: len(batch)]
        self._on_written(batch, balances)

    def _on_written(self, batch: Sequence[UsageRecord], balances: Mapping[str, int]) -> None:
        for usage in batch:
            account = self._accounts.get(usage.key_id or "")
            if account is not None and account.balance is not None:
                account.pending = max(account.pending - usage.cost_microusd - usage.hedge_cost_microusd, 0)
        for key_id, balance in balances.items():
            if (account := self._accounts.get(key_id)) is not None:
                account.balance = balance

    async def _refresh(self) -> None:
        """Take over what another process has written, if it has."""
        try:
            version = await self._in_thread(self._ledger.version)
            if version != self._version:
                keys = await self._in_thread(self._ledger.all_keys)
                self._version = version
                self._take(keys)
        except LedgerError as error:
            _log.warning("the ledger cannot be read", extra={"fields": {"reason": str(error)}})

    def _take(self, keys: list[Key]) -> None:
        now = clock.monotonic()
        for key in keys:
            account = self._accounts.get(key.id)
            if account is None:
                account = self._accounts[key.id] = Account(key, now)
                self._by_digest[key.digest] = account
            else:
                account.update(key, now)

    async def _in_thread(self, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)


def _in_json(usage: UsageRecord) -> dict[str, Any]:
    """A record as a line of the log can hold it: with the names of the columns of the ledger."""
    row = asdict(usage).items()
    return {name: str(value) if isinstance(value, int) and value.bit_length() > 63 else value for name, value in row}
