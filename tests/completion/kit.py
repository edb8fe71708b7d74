"""Completions against a simulated provider on a real port, and the records in which they end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from gateway.access.accounts import Account, Quote
from gateway.access.bank import Lease
from gateway.access.books import Key
from gateway.completion.answer import Record
from gateway.completion.streamed import Plan, StreamedCompletion
from gateway.completion.whole import WholeCompletion
from gateway.config import ModelSettings, RoutingSettings, StreamSettings, TtftSettings, UpstreamSettings
from gateway.dialects.chat.dialect import CHAT
from gateway.routing.call import Call
from gateway.routing.catalog import Candidate, Catalog
from gateway.routing.health import BreakerRules, Health
from gateway.routing.options import parse
from gateway.routing.router import Ask, Route, Router
from gateway.routing.throttle import Throttle
from gateway.simulate import Provider, ProviderStatistics, Script
from gateway.stream.audience import Policy
from gateway.tasks import Tasks
from gateway.upstream.endpoint import Endpoint

PATIENCE = 10.0  # seconds after which a wait fails; no wait of a test that passes takes nearly as long
PRICE = Decimal(1_000_000)  # US dollars per million tokens, so that a token costs a dollar
DOLLAR = 1_000_000  # micro-dollars in a dollar


class Desk:
    """Everything that a completion needs but the request: a provider, a route to it, and a place for records."""

    def __init__(self, provider: Provider, tasks: Tasks) -> None:
        self.provider = provider
        self.tasks = tasks
        self.records: list[Record] = []
        model = ModelSettings(id="m", input_usd_per_mtok=PRICE, output_usd_per_mtok=PRICE)
        upstream = UpstreamSettings(name="alpha", base_url=provider.base_url, models=(model,))
        self.endpoint = Endpoint.build(upstream, 5.0, {})
        candidate = Candidate(self.endpoint, model, Health(BreakerRules(0, 10.0, 10.0)))
        self._router = Router(
            Catalog([candidate]), RoutingSettings(), TtftSettings(), lambda: 0.0, lambda: 0.0, Throttle(0.1)
        )

    def route(self, streamed: bool) -> Route:
        return self._router.route(Ask(("m",), parse({}), streamed), asyncio.get_running_loop().time())

    def call(self, streamed: bool, simulate: dict[str, Any]) -> Call:
        message = {"role": "user", "content": "Hello"}
        body = {"model": "m", "messages": [message], "stream": streamed, "simulate": simulate}
        request = CHAT.parse(json.dumps(body).encode())
        return Call("req_1", "m", CHAT, request, streamed, created=1, prompt_tokens=2)

    def streamed(self, lease: Lease | None = None, **simulate: Any) -> StreamedCompletion:
        plan = Plan(owner="", policy=Policy(), lease=lease)
        return StreamedCompletion(
            self.call(True, simulate),
            self.route(True),
            plan,
            limits=StreamSettings(),
            settle=self.records.append,
            tasks=self.tasks,
        )

    def whole(self, lease: Lease | None = None, **simulate: Any) -> WholeCompletion:
        return WholeCompletion(
            self.call(False, simulate),
            self.route(False),
            settle=self.records.append,
            tasks=self.tasks,
            lease=lease,
        )

    async def seen(self, condition: Callable[[ProviderStatistics], bool]) -> ProviderStatistics:
        """The provider's statistics as soon as they fulfil the condition."""
        async with asyncio.timeout(PATIENCE):
            while not condition(statistics := self.provider.statistics()):  # noqa: ASYNC110 - it is another's state
                await asyncio.sleep(0.001)
        return statistics


@asynccontextmanager
async def desk(**script: Any) -> AsyncIterator[Desk]:
    """A desk whose provider behaves as the script says."""
    provider, tasks = await Provider.start(script=Script(**script), name="alpha"), Tasks()
    opened = Desk(provider, tasks)
    try:
        yield opened
    finally:
        await tasks.close()
        opened.endpoint.pool.close()
        await provider.close()


def lease_of(dollars: int, reserved: int) -> Lease:
    """The lease of a running completion: the key has `dollars`, of which `reserved` dollars are reserved."""
    key = Key("k", b"", "", "", (), None, None, dollars * DOLLAR, 0, None)
    return Account(key, 0.0).lease(Quote(0, reserved * DOLLAR))


async def decision(completion: StreamedCompletion) -> Exception | None:
    """The failure before any content, or None as soon as there is content."""
    decided: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    completion.when_decided(decided.set_result)
    async with asyncio.timeout(PATIENCE):
        return await decided


async def ended(completion: StreamedCompletion) -> str:
    """The text of the whole stream, once it has ended."""
    async with asyncio.timeout(PATIENCE):
        while completion.stream.ending is None:  # noqa: ASYNC110 - no subscriber is wanted here
            await asyncio.sleep(0.001)
    return b"".join(completion.stream.log.frames()).decode()
