"""The parts of a gateway that admit, answer and settle requests of one key, without HTTP, before real providers."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import orjson

from gateway.access.accounts import Account
from gateway.access.books_thread import BooksThread
from gateway.access.callers import Caller, Gate
from gateway.access.key_ring import KeyRing
from gateway.access.local_bank import LocalBank
from gateway.cluster.local_directory import LocalDirectory
from gateway.completion.answer import Record
from gateway.config import Config
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import check
from gateway.errors import LedgerError
from gateway.http.admission import Admission, RequestHead
from gateway.http.answer_plan import plan_answer
from gateway.http.capacity import Capacity
from gateway.http.in_force import InForce
from gateway.http.opening import Opening, OpeningParts
from gateway.http.refusals import Refusals
from gateway.observe.loop_lag import LoopLag
from gateway.observe.metrics import Metrics
from gateway.observe.trace import NoTracing, Span
from gateway.run.bookkeeping import Bookkeeping
from gateway.run.build import Upstreams, build_upstreams
from gateway.run.gc_policy import GarbagePolicy
from gateway.run.history import History
from gateway.run.statistics import GatewayStatistics, StatisticsSources
from gateway.simulate import Provider, Script
from gateway.stream.answer_ids import AnswerIds
from gateway.stream.hub import Hub
from gateway.tasks import Tasks
from tests.access.books import new_key
from tests.access.memory_books import MemoryBooks, Store

PATIENCE = 5.0
PRICES = {"input_usd_per_mtok": Decimal("2.5"), "output_usd_per_mtok": Decimal(10)}


class FailingBooks(MemoryBooks):
    """Books that fail as long as they are told to."""

    failure: str | None = None

    def settle(self, batch: Any) -> Mapping[str, int]:
        if self.failure is not None:
            raise LedgerError(self.failure, f"storage.path: {self.failure}")
        return super().settle(batch)


class House:
    """One life of the gateway: its bank and its hub. What it writes is in the store, which outlives it."""

    def __init__(self, store: Store, upstreams: Upstreams, key_id: str) -> None:
        self.books = FailingBooks(store)
        self._thread = BooksThread(self.books)
        keys = KeyRing(self._thread)
        keys.load()
        self.bank = LocalBank(self._thread, keys)
        self.hub = Hub(upstreams.settings.stream)
        self.tasks = Tasks()
        self.excess = 0  # micro-dollars that answers have cost beyond what they had reserved
        self._upstreams = upstreams
        self._keys, self._key_id = keys, key_id
        in_force = InForce(upstreams.settings, upstreams.router, [])
        capacity, refusals = Capacity(), Refusals()
        history = History(self.hub, refusals, lambda: in_force.router)
        sources = StatisticsSources(
            in_force=in_force,
            hub=self.hub,
            keys=keys,
            bank=self.bank,
            capacity=capacity,
            refusals=refusals,
            feeds={},
            lag=LoopLag(),
            pace=upstreams.pace,
            history=history,
            started_at=0,
        )
        self.statistics = statistics = GatewayStatistics(sources)
        garbage = GarbagePolicy(lambda: False)
        self._bookkeeping = Bookkeeping(self.hub, self.bank, history, Metrics(statistics.readings), garbage)
        self._parts = OpeningParts(
            in_force=in_force,
            admission=Admission(capacity, Gate(keys, lambda: 0.0), self.bank, in_force),
            bank=self.bank,
            directory=LocalDirectory(self.hub),
            hub=self.hub,
            answer_ids=AnswerIds(),
            conversation_ids=AnswerIds(),
            tasks=self.tasks,
            tracing=NoTracing(),
            book=self._book,
        )
        self._writing = asyncio.get_running_loop().create_task(self.bank.run())

    @property
    def account(self) -> Account:
        account = self._keys.account(self._key_id)
        assert account is not None
        return account

    def opening(self, body: Mapping[str, Any], **headers: str) -> Opening:
        """A request that is admitted: `open` or `open_whole` sends it. Raises `RivergateError`."""
        checked = check(CHAT, orjson.dumps(body))
        plan = plan_answer(headers, checked, self._upstreams.settings.stream)
        head = RequestHead(headers, "req_test", Caller(self._key_id, account=self.account))
        opening = Opening(self._parts, plan, head)
        opening.prepare()
        opening.admit_at_once()
        return opening

    async def close(self) -> None:
        """End what runs, and write all that is settled."""
        await self.hub.drain(0)
        self.hub.close()
        await self.bank.close(PATIENCE)
        async with asyncio.timeout(PATIENCE):
            await self._writing
        await self.tasks.close()
        self._thread.close()
        assert self.bank.statistics().unwritten == 0

    def _book(self, record: Record, lease: Any, span: Span) -> None:
        reserved = lease.reserved
        cost = int(((record.cost_usd or 0) + record.hedge_cost_usd) * 1_000_000) + 2  # each is rounded up
        self.excess += max(cost - reserved, 0)
        self._bookkeeping.settle(record, lease, span)
        available = self.account.available
        assert available is None or available >= -self.excess


class Street:
    """Providers, the store of the books with one key, and the houses that stand here one after the other."""

    def __init__(
        self, providers: list[Provider], balance: int | None, limits: Mapping[str, int], **sections: Any
    ) -> None:
        upstreams = [
            {"name": provider.name, "base_url": provider.base_url, "models": [{"id": "m", **PRICES}], **limits}
            for provider in providers
        ]
        self.providers = providers
        self.settings = Config.model_validate(
            {"upstreams": upstreams, "routing": {"optimize": "priority", "breaker_failures": 0}, **sections}
        )
        self.upstreams = build_upstreams(self.settings)
        self.store = Store()
        self.key = new_key(balance_microusd=balance)
        MemoryBooks(self.store).create(self.key)

    def house(self) -> House:
        """The gateway, started anew."""
        return House(self.store, self.upstreams, self.key.id)

    @property
    def balance(self) -> int:
        """What the books say that the key has."""
        balance = self.store.keys[self.key.id].balance_microusd
        assert balance is not None
        return balance

    @property
    def spent(self) -> int:
        """The sum of all records."""
        return sum(usage.total_microusd for usage in self.store.usage.values())


@asynccontextmanager
async def street(
    *scripts: Script, balance: int | None = 1_000_000, limits: Mapping[str, int] | None = None, **sections: Any
) -> AsyncIterator[Street]:
    """A street with a provider for each script. `limits`: settings of each upstream."""
    providers = [await Provider.start(script=script, name=f"provider{place}") for place, script in enumerate(scripts)]
    opened = Street(providers, balance, limits or {}, **sections)
    try:
        yield opened
    finally:
        opened.upstreams.close()
        for provider in providers:
            await provider.close()


def ask(simulate: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """The body of a request; the provider behaves as `simulate` says."""
    message = {"role": "user", "content": "Hello"}
    simulated = {} if simulate is None else {"simulate": dict(simulate)}
    return {"model": "m", "messages": [message], **simulated, **fields}
