"""Over any requests, answers, aborts, hedges and restarts the records are what the balance has lost, exactly."""

import asyncio
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.completion.whole import WholeCompletion
from gateway.endings import Ending
from gateway.errors import RivergateError
from gateway.simulate import Script

from .house import PATIENCE, House, ask, street

ROUND_SECONDS = 0.05  # after it a gateway stops, and whatever still runs is ended


@dataclass(frozen=True)
class Visit:
    """One request, and when its client leaves."""

    streamed: bool
    letters: int  # of the prompt, beside a few
    simulate: dict[str, Any] | None  # how the upstreams answer it; None: each as it does by itself
    leaves_after: float | None  # seconds; None: the client stays
    fields: dict[str, Any]
    stream_key: str | None


BEHAVIOURS = st.one_of(
    st.fixed_dictionaries({"tokens": st.integers(1, 60), "usage": st.sampled_from(["auto", "never", "always"])}),
    st.fixed_dictionaries({"tokens": st.integers(1, 60), "reasoning_tokens": st.integers(0, 40)}),
    st.sampled_from([{"stall_before": "head"}, {"stall_before": "role"}, {"status": 500}, {"status": 429}]),
    st.fixed_dictionaries({"stall_after": st.integers(0, 5)}),
    st.fixed_dictionaries({"cut_after": st.integers(0, 5)}),
    st.fixed_dictionaries({"error_after": st.integers(0, 5)}),
    st.fixed_dictionaries({"reset_after": st.integers(0, 5)}),
    st.fixed_dictionaries({"tokens": st.just(2000)}),
)


def timed(behaviour: dict[str, Any], ttft_ms: int, gap_ms: int) -> dict[str, Any]:
    return {**behaviour, "ttft_ms": ttft_ms, "gap_ms": gap_ms}


TIMED = st.builds(timed, BEHAVIOURS, st.integers(0, 10), st.integers(0, 1))
VISITS = st.builds(
    Visit,
    streamed=st.booleans(),
    letters=st.integers(0, 3000),
    simulate=st.none() | TIMED,
    leaves_after=st.none() | st.floats(0, 0.03),
    fields=st.fixed_dictionaries({}, optional={"max_tokens": st.integers(1, 50), "n": st.integers(1, 2)}),
    stream_key=st.sampled_from([None, None, None, "shared"]),
)


async def visit(house: House, visit: Visit) -> None:
    """Send a request, and stay or leave; a refusal is as good as an answer."""
    messages = [{"role": "user", "content": "x" * visit.letters}]
    body = ask(visit.simulate, messages=messages, stream=visit.streamed, **visit.fields)
    headers = {"X-Stream-Key": visit.stream_key} if visit.stream_key and visit.streamed else {}
    try:
        opening = house.opening(body, **headers)
    except RivergateError:
        return
    if not visit.streamed:
        await answer(opening.open_whole(), visit.leaves_after)
        return
    stream = opening.open().stream
    subscriber = stream.join(chunked=False)
    if visit.leaves_after is not None:
        await asyncio.sleep(visit.leaves_after)
        subscriber.end()  # the last one to leave ends the stream


async def answer(completion: WholeCompletion, leaves_after: float | None) -> None:
    try:
        async with asyncio.timeout(leaves_after):
            await completion.wait_answer()
    except (RivergateError, TimeoutError):
        completion.stop(Ending.STOPPED)  # it is over


async def play(
    balance: int, hedged: bool, patient: bool, scripts: list[dict[str, Any]], rounds: list[list[Visit]]
) -> None:
    """Let clients come in rounds; after each round the gateway is stopped, and another one opens the same books."""
    ttft = {"hedge_after": 3, "hedge_max_share": 1.0} if hedged else {}
    limits = {} if patient else {"head_timeout_ms": 10, "first_content_timeout_ms": 10, "response_timeout_ms": 10}
    async with street(*map(Script.parse, scripts), balance=balance, limits=limits, ttft=ttft) as place:
        excess = 0
        for number, visits in enumerate(rounds):
            house = place.house()
            house.books.failure = "the disk is full" if number % 2 else None
            clients = [asyncio.ensure_future(visit(house, client)) for client in visits]
            await asyncio.sleep(ROUND_SECONDS)
            house.books.failure = None
            await house.close()  # an upstream may be silent for ever; its client hears that the gateway stops
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*clients)
            account, excess = house.account, excess + house.excess
            assert (account.running, account.reserved, account.unwritten) == (0, 0, 0)
            assert house.hub.statistics().running == 0
            assert place.balance == account.balance == balance - place.spent
            assert place.balance >= -excess


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    balance=st.integers(0, 40_000),
    hedged=st.booleans(),
    patient=st.booleans(),
    scripts=st.lists(TIMED, min_size=1, max_size=3),
    rounds=st.lists(st.lists(VISITS, min_size=1, max_size=6), min_size=1, max_size=3),
)
def test_the_records_are_what_the_balance_has_lost(
    balance: int, hedged: bool, patient: bool, scripts: list[dict[str, Any]], rounds: list[list[Visit]]
) -> None:
    asyncio.run(play(balance, hedged, patient, scripts, rounds))
