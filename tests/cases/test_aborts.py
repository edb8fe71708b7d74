"""An answer that is given up costs its prompt at least, wherever its request was sent: the cases of aborts.toml."""

import asyncio
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.completion.spending import ceil_microusd
from gateway.completion.whole import WholeCompletion
from gateway.dialects.chat.prompt import MESSAGE_TOKENS
from gateway.endings import Ending
from gateway.errors import RivergateError
from gateway.simulate import Script
from tests.completion.house import PATIENCE, PRICES, House, Street, ask, street

CASES = tomllib.loads(Path(__file__).with_name("aborts.toml").read_text())["case"]
PROMPT_TOKENS = 2 + MESSAGE_TOKENS  # "Hello"
BALANCE = 1_000_000


async def leave(place: Street, house: House, case: dict[str, Any]) -> None:
    """Send the request, and leave when as many upstreams have it as the case says, or wait for the end."""
    opening = house.opening(ask(**case.get("request", {})), **case.get("headers", {}))
    completion = opening.open() if opening.plan.streamed else opening.open_whole()
    async with asyncio.timeout(PATIENCE):
        if "sent" in case:
            while sum(provider.statistics().requests for provider in place.providers) < case["sent"]:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)  # what the upstream sends before its silence
            completion.stop(Ending.ABANDONED)
        elif isinstance(completion, WholeCompletion):
            with pytest.raises(RivergateError):
                await completion.wait_answer()
        else:
            while completion.stream.ending is None:  # noqa: ASYNC110 - no subscriber is wanted here
                await asyncio.sleep(0.001)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
async def test_an_answer_that_is_given_up_costs_its_prompt(case: dict[str, Any]) -> None:
    scripts = [Script(**script) for script in case["providers"]]
    async with street(*scripts, balance=BALANCE, limits=case.get("limits"), **case.get("sections", {})) as place:
        house = place.house()
        await leave(place, house, case)
        await house.close()
        [usage] = place.store.usage.values()
        prompt = ceil_microusd(PROMPT_TOKENS * PRICES["input_usd_per_mtok"])
        assert usage.total_microusd == case["prompts"] * prompt
        assert place.balance == BALANCE - usage.total_microusd
        if case["prompts"]:
            assert (usage.prompt_tokens, usage.completion_tokens, usage.estimated) == (PROMPT_TOKENS, 0, True)
            assert usage.upstream is not None
        else:
            assert (usage.prompt_tokens, usage.upstream) == (None, None)


@pytest.mark.parametrize("streamed", [True, False])
async def test_no_upstream_is_asked_that_the_key_cannot_pay_beside_those_that_were_given_up(streamed: bool) -> None:
    """Each upstream that is silent costs the prompt: the next one is asked only if that is paid for, too."""
    prompt = ceil_microusd(PROMPT_TOKENS * PRICES["input_usd_per_mtok"])
    silent = Script(stall_before="head")
    limits = {"head_timeout_ms": 30, "response_timeout_ms": 30}
    async with street(*[silent] * 5, balance=2 * prompt, limits=limits) as place:
        house = place.house()
        opening = house.opening(ask(stream=streamed))
        completion = opening.open() if streamed else opening.open_whole()
        async with asyncio.timeout(PATIENCE):
            if isinstance(completion, WholeCompletion):
                with pytest.raises(RivergateError, match="used up"):
                    await completion.wait_answer()
            else:
                while completion.stream.ending is None:  # noqa: ASYNC110 - no subscriber is wanted here
                    await asyncio.sleep(0.001)
        await house.close()
        assert sum(provider.statistics().requests for provider in place.providers) == 2
        assert place.balance == 0
