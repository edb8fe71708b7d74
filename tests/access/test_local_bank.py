"""The bank of one process and its books: money is neither made nor lost, in whatever order things happen."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access import key_ring, settling
from gateway.access.accounts import Account, AccountLease, Quote
from gateway.access.books import UsageRecord
from gateway.access.books_thread import BooksThread
from gateway.access.key_ring import KeyRing
from gateway.access.local_bank import LocalBank
from gateway.access.settling import MAX_BATCH
from gateway.access.sqlite_books import SqliteBooks
from gateway.errors import InsufficientQuota, LedgerError
from gateway.observe.logs import JsonFormatter

from .books import NOW, balances, new_key, new_secret, record, records, rows

PATIENCE = 20.0
DISK_FULL = LedgerError("database or disk is full", "storage.path: database or disk is full")
CHUNK = 7  # what a settlement may be above its reservation: the chunk that was under way


class FragileLedger(SqliteBooks):
    """A ledger whose disk may refuse."""

    failure: LedgerError | None = None

    def settle(self, batch: Sequence[UsageRecord]) -> Mapping[str, int]:
        if self.failure is not None:
            raise self.failure
        return super().settle(batch)

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure
        super().check()


class Process:
    """A process with its bank, and beside it the same books as the command line has them open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.beside = SqliteBooks.open(path)
        self.start()

    def start(self) -> None:
        self.ledger = FragileLedger.open(self.path)
        assert isinstance(self.ledger, FragileLedger)
        self._books = BooksThread(self.ledger)
        self.keys = KeyRing(self._books)
        self.bank = LocalBank(self._books, self.keys)
        self.keys.load()
        loop = asyncio.get_running_loop()
        self._writer, self._follower = loop.create_task(self.bank.run()), loop.create_task(self.keys.run())

    async def account(self, secret: bytes) -> Account:
        account = await self.keys.find(secret)
        assert account is not None
        return account

    async def written(self) -> None:
        """Until everything that was settled is in the file."""
        async with asyncio.timeout(PATIENCE):
            while self.bank.statistics().unwritten:  # noqa: ASYNC110 - what is waited for is in another thread
                await asyncio.sleep(0.001)  # and a loop that spins would keep the interpreter's lock from it

    async def look(self) -> None:
        """Until what others have written is known."""
        await self.keys.find(b"the digest of no key")

    async def crash(self) -> None:
        """The process is gone, with all that was not written."""
        self._writer.cancel()
        with suppress(asyncio.CancelledError):
            await self._writer
        await self._end()

    async def stop(self, seconds: float = PATIENCE) -> None:
        await self.bank.close(seconds)
        async with asyncio.timeout(PATIENCE):
            await self._writer
        await self._end()
        self.beside.close()

    async def _end(self) -> None:
        self._follower.cancel()
        with suppress(asyncio.CancelledError):
            await self._follower
        self._books.close()
        self.bank.abandon_unwritten()


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    process = Process(tmp_path / "ledger.db")
    yield process
    await process.stop()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done again and again is done at once."""
    monkeypatch.setattr(key_ring, "REFRESH_SECONDS", 0.02)
    monkeypatch.setattr(settling, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(settling, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(key_ring, "LOOK_SECONDS", 0.0)


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for is in another thread
            await asyncio.sleep(0.001)


async def funded(process: Process, balance: int | None, **fields: object) -> Account:
    key = new_key(balance_microusd=balance, **fields)
    process.beside.create(key)
    return await process.account(key.digest)


async def test_a_settlement_is_gone_from_the_money_at_once_and_in_the_file_soon(process: Process) -> None:
    owner = await funded(process, 100)
    lease = owner.lease(Quote(1, 60))
    usage = record(owner.key.id, 25, hedge_cost_microusd=5)
    process.bank.settle(usage, lease)
    assert (owner.available, owner.reserved) == (70, 0)
    await process.written()
    assert (owner.available, owner.unwritten, owner.balance) == (70, 0, 70)
    assert balances(process.path) == {owner.key.id: 70}
    assert records(process.path) == [usage.id]


async def test_more_than_a_batch_is_written_in_the_order_it_was_settled(process: Process) -> None:
    owner = await funded(process, None)
    told = [record(owner.key.id, 1) for _ in range(2 * MAX_BATCH + 1)]
    for usage in told:
        process.bank.settle(usage, owner.lease(Quote(0, 0)))
    await process.written()
    assert records(process.path) == [usage.id for usage in told]


async def test_a_key_that_was_made_a_moment_ago_is_known_to_all_who_ask_at_once(process: Process) -> None:
    assert await process.keys.find(b"nobody") is None
    key = new_key()
    process.beside.create(key)
    found = await asyncio.gather(*(process.keys.find(key.digest) for _ in range(200)))
    assert all(one is found[0] and one is not None for one in found)


async def test_however_many_unknown_keys_are_tried_the_ledger_is_looked_at_now_and_then(process: Process) -> None:
    looks = 0
    version = process.ledger.version

    def counted() -> int:
        nonlocal looks
        looks += 1
        return version()

    process.ledger.version = counted  # type: ignore[method-assign]
    await asyncio.gather(*(process.keys.find(new_secret().encode()) for _ in range(500)))
    assert looks <= 3


async def test_what_others_write_is_known_soon(soon: None, process: Process) -> None:
    owner = await funded(process, 5)
    process.beside.credit(owner.key.id, 10)
    process.beside.revoke(owner.key.id, NOW)
    await until(lambda: owner.available == 15 and owner.key.revoked_at == NOW)


async def test_a_credit_and_a_settlement_that_cross_are_both_counted(soon: None, process: Process) -> None:
    owner = await funded(process, 100)
    for _ in range(20):
        lease = owner.lease(Quote(1, 10))
        process.bank.settle(record(owner.key.id, 4), lease)
        process.beside.credit(owner.key.id, 4)
        await process.look()
    await process.written()
    await process.look()
    assert (owner.available, balances(process.path)[owner.key.id]) == (100, 100)


async def test_while_the_disk_refuses_all_is_kept_and_written_when_it_is_back(
    soon: None, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    owner = await funded(process, 100)
    lease = owner.lease(Quote(1, 50))
    process.ledger.failure = DISK_FULL
    process.bank.settle(record(owner.key.id, 10), owner.lease(Quote(1, 20)))
    await until(lambda: process.bank.failure is not None)
    assert process.bank.failure == "database or disk is full"
    process.bank.settle(record(owner.key.id, 20), lease)  # a running stream goes on and settles
    assert owner.available == 70
    assert process.bank.statistics().unwritten == 2
    process.ledger.failure = None
    await process.written()
    assert process.bank.failure is None
    assert (owner.available, balances(process.path)[owner.key.id], len(records(process.path))) == (70, 70, 2)
    said = [line.message for line in caplog.records]
    assert len([line for line in said if "cannot be written" in line]) == 1  # and not at every try
    assert len([line for line in said if "can be written again" in line]) == 1


async def test_a_count_that_no_ledger_can_hold_is_a_failure_that_is_told(soon: None, process: Process) -> None:
    usage = record(None, prompt_tokens=1 << 64)
    process.bank.settle(usage, None)
    await until(lambda: process.bank.failure is not None)
    process.ledger.failure = None
    process.ledger.settle = lambda batch: {}  # type: ignore[method-assign]  # so that the bank can close
    await process.written()


async def test_a_commit_that_went_through_unseen_is_not_booked_again(soon: None, process: Process) -> None:
    """The disk takes the records, and fails to say so."""
    owner = await funded(process, 100)
    settle, told = process.ledger.settle, []

    def unseen(batch: Sequence[UsageRecord]) -> Mapping[str, int]:
        balances = settle(batch)
        told.append(balances)
        if len(told) == 1:
            raise LedgerError("disk I/O error", "storage.path: disk I/O error")
        return balances

    process.ledger.settle = unseen  # type: ignore[method-assign]
    process.bank.settle(record(owner.key.id, 30), owner.lease(Quote(1, 50)))
    await process.written()
    assert (owner.available, balances(process.path)[owner.key.id], len(records(process.path))) == (70, 70, 1)


async def test_what_a_stop_finds_unwritten_is_written(tmp_path: Path) -> None:
    process = Process(tmp_path / "ledger.db")
    owner = await funded(process, 100)
    for _ in range(10):
        process.bank.settle(record(owner.key.id, 1), owner.lease(Quote(0, 1)))
    await process.stop()
    assert balances(process.path) == {owner.key.id: 90}
    assert len(records(process.path)) == 10


async def test_a_disk_that_refuses_is_noticed_without_a_record_and_also_that_it_is_back(
    soon: None, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    await until(lambda: not process.bank.statistics().unwritten)
    process.ledger.failure = DISK_FULL
    await until(lambda: process.bank.failure == "database or disk is full")
    process.ledger.failure = None
    await until(lambda: process.bank.failure is None)
    assert [line.message for line in caplog.records if "can be written again" in line.message]


async def test_a_disk_that_comes_back_during_a_stop_gets_all_records(soon: None, tmp_path: Path) -> None:
    process = Process(tmp_path / "ledger.db")
    owner = await funded(process, 100)
    process.ledger.failure = DISK_FULL
    process.bank.settle(record(owner.key.id, 30), owner.lease(Quote(0, 50)))
    await until(lambda: process.bank.failure is not None)
    stop = asyncio.get_running_loop().create_task(process.stop())
    tries: list[int] = []
    settle = process.ledger.settle

    def refused(batch: Sequence[UsageRecord]) -> Mapping[str, int]:
        tries.append(len(batch))
        process.ledger.failure = None if len(tries) > 3 else process.ledger.failure
        return settle(batch)

    process.ledger.settle = refused  # type: ignore[method-assign]
    await stop
    assert balances(process.path) == {owner.key.id: 70}


async def test_what_a_stop_cannot_write_is_in_the_log_record_by_record(
    soon: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process(tmp_path / "ledger.db")
    owner = await funded(process, 100)
    process.ledger.failure = DISK_FULL
    told = [record(owner.key.id, cost) for cost in range(MAX_BATCH + 5)]
    told.append(record(None, prompt_tokens=1 << 64))
    for usage in told:
        process.bank.settle(usage, None)
    await process.stop(0.1)
    lines = [json.loads(JsonFormatter().format(line)) for line in caplog.records if "by hand" in line.message]
    assert [line["reason"] for line in lines] == ["database or disk is full"] * len(told)
    assert [line["record"]["id"] for line in lines] == [usage.id for usage in told]
    assert lines[7]["record"] == asdict(told[7])
    assert lines[-1]["record"]["prompt_tokens"] == str(1 << 64)
    assert process.bank.statistics().unwritten == 0


# --- any order of anything

STEP_NAMES = ["lease", "lease", "extend", "settle", "settle", "abort", "credit", "write", "look", "crash"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(STEP_NAMES),
        st.integers(0, 10),
        st.integers(1, 400),
    ),
    max_size=60,
)


class Audit:
    """What must be true of two keys, kept beside: what came in, what was spent, what is reserved."""

    def __init__(self, process: Process, digests: dict[str, bytes], initial: int) -> None:
        self.process = process
        self.digests = digests
        self.funds = dict.fromkeys(digests, initial)  # the first balance and all credits
        self.leases: list[AccountLease] = []
        self.spent: dict[str, dict[str, int]] = {key_id: {} for key_id in digests}  # by record
        self.safe: set[str] = set()  # records that were seen in the file
        self.over = dict.fromkeys(digests, 0)

    async def step(self, what: str, which: int, amount: int) -> None:
        if what in ("extend", "settle", "abort"):
            if self.leases:
                self.on_lease(what, self.leases[which % len(self.leases)], amount)
        elif what in ("lease", "credit"):
            key_id = sorted(self.digests)[which % len(self.digests)]
            await (self.lease(key_id, amount) if what == "lease" else self.credit(key_id, amount))
        elif what == "write":
            await self.written()
        elif what == "look":
            await self.process.look()
        else:
            await self.crash()
        await self.check()

    async def lease(self, key_id: str, amount: int) -> None:
        account = await self.process.account(self.digests[key_id])
        with suppress(InsufficientQuota):
            self.leases.append(account.lease(Quote(amount // 10, amount)))

    def on_lease(self, what: str, lease: AccountLease, amount: int) -> None:
        if what == "extend":
            lease.extend(amount)
            return
        key_id = lease.key_id
        cost = min(amount, lease.reserved + CHUNK) if what == "settle" else 0
        self.over[key_id] += max(cost - lease.reserved, 0)
        usage = record(key_id, cost)
        self.spent[key_id][usage.id] = cost
        self.process.bank.settle(usage, lease)
        self.leases.remove(lease)

    async def credit(self, key_id: str, amount: int) -> None:
        self.process.beside.credit(key_id, amount)
        self.funds[key_id] += amount

    async def written(self) -> None:
        await self.process.written()
        self.safe |= {one for told in self.spent.values() for one in told}
        assert set(records(self.process.path)) == self.safe

    async def crash(self) -> None:
        await self.process.crash()
        kept = records(self.process.path)
        assert self.safe <= set(kept)
        assert len(set(kept)) == len(kept)
        self.safe = set(kept)
        for told in self.spent.values():
            for lost in [one for one in told if one not in self.safe]:
                del told[lost]
        self.leases.clear()
        self.process.start()

    async def check(self) -> None:
        for key_id, digest in self.digests.items():
            account = await self.process.account(digest)
            reserved = sum(lease.reserved for lease in self.leases if lease.key_id == key_id)
            spent = sum(self.spent[key_id].values())
            assert account.reserved == reserved
            assert account.running == sum(lease.key_id == key_id for lease in self.leases)
            assert account.available is not None
            # A credit may not be known yet; what is gone is always known.
            assert account.available + reserved + spent <= self.funds[key_id]
            assert account.available >= -self.over[key_id]
            in_file = sum(cost for _, cost in rows(self.process.path, _COSTS.format(key_id)))
            assert balances(self.process.path)[key_id] == self.funds[key_id] - in_file

    async def end(self) -> None:
        await self.written()
        await self.process.look()
        for key_id, digest in self.digests.items():
            account = await self.process.account(digest)
            spent = sum(self.spent[key_id].values())
            assert account.available is not None
            assert account.available + account.reserved + spent == self.funds[key_id]
            assert spent <= self.funds[key_id] + self.over[key_id]


_COSTS = "SELECT id, cost_microusd FROM usage WHERE key_id = '{}'"


@settings(max_examples=60)
@given(steps=STEPS, initial=st.integers(0, 1000))
def test_balance_reserved_and_spent_are_conserved_in_any_order_of_anything(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]], initial: int
) -> None:
    async def play() -> None:
        process = Process(tmp_path_factory.mktemp("order") / "ledger.db")
        keys = [new_key(balance_microusd=initial) for _ in range(2)]
        for key in keys:
            process.beside.create(key)
        audit = Audit(process, {key.id: key.digest for key in keys}, initial)
        for what, which, amount in steps:
            await audit.step(what, which, amount)
        await audit.end()
        await process.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_ring, "LOOK_SECONDS", 0.0)
        asyncio.run(play())
