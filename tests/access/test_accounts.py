"""Keys in memory and their ledger: money is neither made nor lost, in whatever order things happen."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access import accounts as module
from gateway.access.accounts import MAX_BATCH, Account, Accounts, Lease
from gateway.access.ledger import Ledger, Usage
from gateway.errors import InsufficientQuota, PermissionDenied, RateLimited
from gateway.observe.logs import JsonFormatter

from .books import NOW, balances, new_key, new_secret, record, records, rows

PATIENCE = 20.0
CHUNK = 7  # what a settlement may be above its reservation: the chunk that was under way


class FragileLedger(Ledger):
    """A ledger whose disk may refuse."""

    failure: sqlite3.Error | None = None

    def settle(self, batch: Sequence[Usage]) -> dict[str, int]:
        if self.failure is not None:
            raise self.failure
        return super().settle(batch)

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure
        super().check()


class Bank:
    """The accounts of a server, their writer, and the same file as the command line has it open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.beside = Ledger.open(path)
        self.start()

    def start(self) -> None:
        ledger = FragileLedger.open(self.path)
        assert isinstance(ledger, FragileLedger)
        self.ledger = ledger
        self.accounts = Accounts(self.ledger)
        self.accounts.load()
        self._writer = asyncio.get_running_loop().create_task(self.accounts.run())

    async def account(self, secret: bytes) -> Account:
        account = await self.accounts.find(secret)
        assert account is not None
        return account

    async def written(self) -> None:
        """Until everything that was settled is in the file."""
        async with asyncio.timeout(PATIENCE):
            while self.accounts.statistics().unwritten:  # noqa: ASYNC110 - what is waited for is in another thread
                await asyncio.sleep(0.001)  # and a loop that spins would keep the interpreter's lock from it

    async def look(self) -> None:
        """Until what others have written is known."""
        await self.accounts.find(b"the digest of no key")

    async def crash(self) -> None:
        """The process is gone, with all that was not written."""
        self._writer.cancel()
        with suppress(asyncio.CancelledError):
            await self._writer
        self.accounts.shut()

    async def stop(self, seconds: float = PATIENCE) -> None:
        await self.accounts.close(seconds)
        async with asyncio.timeout(PATIENCE):
            await self._writer
        self.accounts.shut()
        self.beside.close()


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    bank = Bank(tmp_path / "ledger.db")
    yield bank
    await bank.stop()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done again and again is done at once."""
    monkeypatch.setattr(module, "REFRESH_SECONDS", 0.02)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for is in another thread
            await asyncio.sleep(0.001)


async def funded(bank: Bank, balance: int | None, **fields: Any) -> Account:
    key = new_key(balance_microusd=balance, **fields)
    bank.beside.add(key)
    return await bank.account(key.digest)


# --- one account


def account(balance: int | None = None, **fields: Any) -> Account:
    return Account(new_key(balance_microusd=balance, **fields), 0.0)


def test_a_reservation_is_as_much_as_is_wanted_and_as_there_is() -> None:
    owner = account(100)
    first, second = owner.lease(10, 70), owner.lease(10, 70)
    assert (first.reserved, second.reserved, owner.available) == (70, 30, 0)
    with pytest.raises(InsufficientQuota):
        owner.lease(0, 1)
    first.close()
    assert owner.available == 70
    assert second.extend(100) == 100
    second.close()
    assert (owner.available, owner.reserved, owner.streams) == (100, 0, 0)


@pytest.mark.parametrize(("balance", "least"), [(0, 0), (-5, 0), (9, 10)])
def test_without_money_for_the_prompt_nothing_begins(balance: int, least: int) -> None:
    owner = account(balance)
    with pytest.raises(InsufficientQuota) as caught:
        owner.lease(least, 100)
    assert (caught.value.status, caught.value.code) == (402, "insufficient_quota")
    assert (owner.streams, owner.reserved) == (0, 0)


def test_a_lease_is_given_back_once_and_reserves_nothing_more() -> None:
    owner = account(100)
    lease = owner.lease(1, 60)
    lease.close()
    lease.close()
    assert lease.extend(40) == 60  # a chunk that was still under way
    assert (owner.available, owner.reserved, owner.streams) == (100, 0, 0)


def test_another_attempt_is_paid_for_in_full_or_not_at_all() -> None:
    owner = account(100)
    lease = owner.lease(15, 60)
    assert [lease.covers_another() for _ in range(3)] == [True, True, False]
    assert (lease.reserved, owner.reserved, owner.available) == (90, 90, 10)
    lease.close()
    assert not lease.covers_another()
    assert (owner.reserved, owner.available) == (0, 100)
    assert account().lease(1 << 40, 0).covers_another()


def test_a_key_without_a_balance_may_reserve_anything() -> None:
    owner = account()
    lease = owner.lease(1 << 40, 1 << 41)
    assert lease.extend(1 << 40) == (1 << 41) + (1 << 40)
    assert owner.available is None


def test_a_request_that_is_refused_for_its_number_does_not_count() -> None:
    owner = account(rpm=2, max_streams=1)
    owner.admit(0.0)
    lease = owner.lease(0, 0)
    for _ in range(10):
        with pytest.raises(RateLimited) as caught:
            owner.admit(0.0)
        assert caught.value.retry_after in range(1, 6)
    lease.close()
    owner.admit(0.0)  # the second of two a minute: the ten were not counted
    with pytest.raises(RateLimited) as caught:
        owner.admit(0.5)
    assert caught.value.retry_after == 30  # rounded up: who waits so long is let through
    owner.admit(30.5)


def test_a_model_that_is_not_the_keys_is_refused() -> None:
    owner = account(models=("a/b",))
    owner.check_model("a/b")
    with pytest.raises(PermissionDenied) as caught:
        owner.check_model("a/c")
    assert caught.value.param == "model"
    account().check_model("a/c")


# --- with the ledger


async def test_a_settlement_is_gone_from_the_money_at_once_and_in_the_file_soon(bank: Bank) -> None:
    owner = await funded(bank, 100)
    lease = owner.lease(1, 60)
    usage = record(owner.key.id, 25, hedge_cost_microusd=5)
    bank.accounts.settle(usage, lease)
    assert (owner.available, owner.reserved) == (70, 0)
    await bank.written()
    assert (owner.available, owner.pending, owner.balance) == (70, 0, 70)
    assert balances(bank.path) == {owner.key.id: 70}
    assert records(bank.path) == [usage.id]


async def test_more_than_a_batch_is_written_in_the_order_it_was_settled(bank: Bank) -> None:
    owner = await funded(bank, None)
    told = [record(owner.key.id, 1) for _ in range(2 * MAX_BATCH + 1)]
    for usage in told:
        bank.accounts.settle(usage, owner.lease(0, 0))
    await bank.written()
    assert records(bank.path) == [usage.id for usage in told]


async def test_a_key_that_was_made_a_moment_ago_is_known_to_all_who_ask_at_once(bank: Bank) -> None:
    assert await bank.accounts.find(b"nobody") is None
    key = new_key()
    bank.beside.add(key)
    found = await asyncio.gather(*(bank.accounts.find(key.digest) for _ in range(200)))
    assert all(one is found[0] and one is not None for one in found)


async def test_however_many_unknown_keys_are_tried_the_ledger_is_looked_at_now_and_then(bank: Bank) -> None:
    looks = 0
    version = bank.ledger.version

    def counted() -> int:
        nonlocal looks
        looks += 1
        return version()

    bank.ledger.version = counted  # type: ignore[method-assign]
    await asyncio.gather(*(bank.accounts.find(new_secret().encode()) for _ in range(500)))
    assert looks <= 3


async def test_what_others_write_is_known_soon(soon: None, bank: Bank) -> None:
    owner = await funded(bank, 5)
    bank.beside.credit(owner.key.id, 10)
    bank.beside.revoke(owner.key.id, NOW)
    await until(lambda: owner.available == 15 and owner.key.revoked_at == NOW)


async def test_a_credit_and_a_settlement_that_cross_are_both_counted(soon: None, bank: Bank) -> None:
    owner = await funded(bank, 100)
    for _ in range(20):
        lease = owner.lease(1, 10)
        bank.accounts.settle(record(owner.key.id, 4), lease)
        bank.beside.credit(owner.key.id, 4)
        await bank.look()
    await bank.written()
    await bank.look()
    assert (owner.available, balances(bank.path)[owner.key.id]) == (100, 100)


async def test_while_the_disk_refuses_all_is_kept_and_written_when_it_is_back(
    soon: None, bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    owner = await funded(bank, 100)
    lease = owner.lease(1, 50)
    bank.ledger.failure = sqlite3.OperationalError("database or disk is full")
    bank.accounts.settle(record(owner.key.id, 10), owner.lease(1, 20))
    await until(lambda: bank.accounts.failure is not None)
    assert bank.accounts.failure == "database or disk is full"
    bank.accounts.settle(record(owner.key.id, 20), lease)  # a running stream goes on and settles
    assert owner.available == 70
    assert bank.accounts.statistics().unwritten == 2
    bank.ledger.failure = None
    await bank.written()
    assert bank.accounts.failure is None
    assert (owner.available, balances(bank.path)[owner.key.id], len(records(bank.path))) == (70, 70, 2)
    said = [line.message for line in caplog.records]
    assert len([line for line in said if "cannot be written" in line]) == 1  # and not at every try
    assert len([line for line in said if "can be written again" in line]) == 1


async def test_a_count_that_no_ledger_can_hold_is_a_failure_that_is_told(soon: None, bank: Bank) -> None:
    usage = record(None, prompt_tokens=1 << 64)
    bank.accounts.settle(usage, None)
    await until(lambda: bank.accounts.failure is not None)
    bank.ledger.failure = None
    bank.ledger.settle = lambda batch: {}  # type: ignore[method-assign]  # so that the bank can close
    await bank.written()


async def test_a_commit_that_went_through_unseen_is_not_booked_again(soon: None, bank: Bank) -> None:
    """The disk takes the records, and fails to say so."""
    owner = await funded(bank, 100)
    settle, told = bank.ledger.settle, []

    def unseen(batch: Sequence[Usage]) -> dict[str, int]:
        balances = settle(batch)
        told.append(balances)
        if len(told) == 1:
            raise sqlite3.OperationalError("disk I/O error")
        return balances

    bank.ledger.settle = unseen  # type: ignore[method-assign]
    bank.accounts.settle(record(owner.key.id, 30), owner.lease(1, 50))
    await bank.written()
    assert (owner.available, balances(bank.path)[owner.key.id], len(records(bank.path))) == (70, 70, 1)


async def test_what_a_stop_finds_unwritten_is_written(tmp_path: Path) -> None:
    bank = Bank(tmp_path / "ledger.db")
    owner = await funded(bank, 100)
    for _ in range(10):
        bank.accounts.settle(record(owner.key.id, 1), owner.lease(0, 1))
    await bank.stop()
    assert balances(bank.path) == {owner.key.id: 90}
    assert len(records(bank.path)) == 10


async def test_a_disk_that_refuses_is_noticed_without_a_record_and_also_that_it_is_back(
    soon: None, bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    await until(lambda: not bank.accounts.statistics().unwritten)
    bank.ledger.failure = sqlite3.OperationalError("database or disk is full")
    await until(lambda: bank.accounts.failure == "database or disk is full")
    bank.ledger.failure = None
    await until(lambda: bank.accounts.failure is None)
    assert [line.message for line in caplog.records if "can be written again" in line.message]


async def test_a_disk_that_comes_back_during_a_stop_gets_all_records(soon: None, tmp_path: Path) -> None:
    bank = Bank(tmp_path / "ledger.db")
    owner = await funded(bank, 100)
    bank.ledger.failure = sqlite3.OperationalError("database or disk is full")
    bank.accounts.settle(record(owner.key.id, 30), owner.lease(0, 50))
    await until(lambda: bank.accounts.failure is not None)
    stop = asyncio.get_running_loop().create_task(bank.stop())
    tries: list[int] = []
    settle = bank.ledger.settle

    def refused(batch: Sequence[Usage]) -> dict[str, int]:
        tries.append(len(batch))
        bank.ledger.failure = None if len(tries) > 3 else bank.ledger.failure
        return settle(batch)

    bank.ledger.settle = refused  # type: ignore[method-assign]
    await stop
    assert balances(bank.path) == {owner.key.id: 70}


async def test_what_a_stop_cannot_write_is_in_the_log_record_by_record(
    soon: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bank = Bank(tmp_path / "ledger.db")
    owner = await funded(bank, 100)
    bank.ledger.failure = sqlite3.OperationalError("database or disk is full")
    told = [record(owner.key.id, cost) for cost in range(MAX_BATCH + 5)]
    told.append(record(None, prompt_tokens=1 << 64))
    for usage in told:
        bank.accounts.settle(usage, None)
    await bank.stop(0.1)
    lines = [json.loads(JsonFormatter().format(line)) for line in caplog.records if "by hand" in line.message]
    assert [line["reason"] for line in lines] == ["database or disk is full"] * len(told)
    assert [line["record"]["id"] for line in lines] == [usage.id for usage in told]
    assert lines[7]["record"] == asdict(told[7])
    assert lines[-1]["record"]["prompt_tokens"] == str(1 << 64)
    assert bank.accounts.statistics().unwritten == 0


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


class Books:
    """What must be true, kept beside: of two keys, what came in, what was spent, what is reserved."""

    def __init__(self, bank: Bank, digests: dict[str, bytes], initial: int) -> None:
        self.bank = bank
        self.digests = digests
        self.funds = dict.fromkeys(digests, initial)  # the first balance and all credits
        self.leases: list[Lease] = []
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
            await self.bank.look()
        else:
            await self.crash()
        await self.check()

    async def lease(self, key_id: str, amount: int) -> None:
        account = await self.bank.account(self.digests[key_id])
        with suppress(InsufficientQuota):
            self.leases.append(account.lease(amount // 10, amount))

    def on_lease(self, what: str, lease: Lease, amount: int) -> None:
        if what == "extend":
            lease.extend(amount)
            return
        key_id = lease.account.key.id
        cost = min(amount, lease.reserved + CHUNK) if what == "settle" else 0
        self.over[key_id] += max(cost - lease.reserved, 0)
        usage = record(key_id, cost)
        self.spent[key_id][usage.id] = cost
        self.bank.accounts.settle(usage, lease)
        self.leases.remove(lease)

    async def credit(self, key_id: str, amount: int) -> None:
        self.bank.beside.credit(key_id, amount)
        self.funds[key_id] += amount

    async def written(self) -> None:
        await self.bank.written()
        self.safe |= {one for told in self.spent.values() for one in told}
        assert set(records(self.bank.path)) == self.safe

    async def crash(self) -> None:
        await self.bank.crash()
        kept = records(self.bank.path)
        assert self.safe <= set(kept)
        assert len(set(kept)) == len(kept)
        self.safe = set(kept)
        for told in self.spent.values():
            for lost in [one for one in told if one not in self.safe]:
                del told[lost]
        self.leases.clear()
        self.bank.start()

    async def check(self) -> None:
        for key_id, digest in self.digests.items():
            account = await self.bank.account(digest)
            reserved = sum(lease.reserved for lease in self.leases if lease.account is account)
            spent = sum(self.spent[key_id].values())
            assert account.reserved == reserved
            assert account.streams == sum(lease.account is account for lease in self.leases)
            assert account.available is not None
            # A credit may not be known yet; what is gone is always known.
            assert account.available + reserved + spent <= self.funds[key_id]
            assert account.available >= -self.over[key_id]
            in_file = sum(cost for _, cost in rows(self.bank.path, _COSTS.format(key_id)))
            assert balances(self.bank.path)[key_id] == self.funds[key_id] - in_file

    async def end(self) -> None:
        await self.written()
        await self.bank.look()
        for key_id, digest in self.digests.items():
            account = await self.bank.account(digest)
            spent = sum(self.spent[key_id].values())
            assert account.available is not None
            assert account.available + account.reserved + spent == self.funds[key_id]
            assert spent <= self.funds[key_id] + self.over[key_id]


_COSTS = "SELECT id, cost_microusd FROM usage WHERE key_id = '{}'"


@given(steps=STEPS, initial=st.integers(0, 1000))
def test_balance_reserved_and_spent_are_conserved_in_any_order_of_anything(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]], initial: int
) -> None:
    async def play() -> None:
        bank = Bank(tmp_path_factory.mktemp("order") / "ledger.db")
        keys = [new_key(balance_microusd=initial) for _ in range(2)]
        for key in keys:
            bank.beside.add(key)
        books = Books(bank, {key.id: key.digest for key in keys}, initial)
        for what, which, amount in steps:
            await books.step(what, which, amount)
        await books.end()
        await bank.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LOOK_SECONDS", 0.0)
        asyncio.run(play())
