"""The bank of one process and its books: money is neither made nor lost, in whatever order things happen."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access import key_ring
from gateway.access.accounts import AccountLease, Quote
from gateway.errors import InsufficientQuota

from .books import balances, new_key, record, records, rows
from .process import CHUNK, Process, funded


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
    """An account of two keys beside the bank's: what came in, what was spent and what is reserved."""

    def __init__(self, process: Process, digests: dict[str, bytes], initial: int) -> None:
        self.process = process
        self.digests = digests
        self.funds = dict.fromkeys(digests, initial)  # the first balance and all credits
        self.leases: list[AccountLease] = []
        self.spent: dict[str, dict[str, int]] = {key_id: {} for key_id in digests}  # costs by record, for each key
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
        self.safe |= {record_id for record_ids in self.spent.values() for record_id in record_ids}
        assert set(records(self.process.path)) == self.safe

    async def crash(self) -> None:
        await self.process.crash()
        kept = records(self.process.path)
        assert self.safe <= set(kept)
        assert len(set(kept)) == len(kept)
        self.safe = set(kept)
        for record_ids in self.spent.values():
            for lost in [record_id for record_id in record_ids if record_id not in self.safe]:
                del record_ids[lost]
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
            # The bank may not know a credit yet; it always knows what is reserved or spent.
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
