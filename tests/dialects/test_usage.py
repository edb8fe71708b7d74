"""Tokens as the provider counted them, or estimated, and their exact price."""

from decimal import Decimal

import pytest
from auriko.models.common import Usage as StrictUsage
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import ModelSettings
from gateway.dialects.prices import prices_of
from gateway.dialects.usage import Usage, estimate

REPORTED = {
    "prompt_tokens": 10,
    "completion_tokens": 4,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 8},
}


def cost_usd(usage: Usage, given: Decimal | None, output: Decimal | None) -> Decimal | None:
    prices = prices_of(ModelSettings(id="m", input_usd_per_mtok=given, output_usd_per_mtok=output))
    return None if prices is None else prices.cost_usd(usage)


def test_the_object_of_the_upstream_keeps_its_details() -> None:
    assert Usage(10, 4, estimated=False, reported=REPORTED).as_json() == REPORTED


def test_changing_the_json_does_not_change_what_the_upstream_reported() -> None:
    Usage(10, 4, estimated=False, reported=REPORTED).as_json()["total_tokens"] = 0
    assert REPORTED["total_tokens"] == 14


@pytest.mark.parametrize(
    ("events", "text_bytes", "tokens"), [(0, 0, 0), (5, 20, 5), (5, 21, 6), (1, 400, 100), (7, 1, 7), (0, 1, 1)]
)
def test_without_counts_a_token_is_an_event_or_four_bytes_whichever_is_more(
    events: int, text_bytes: int, tokens: int
) -> None:
    usage = estimate(2, events, text_bytes)
    assert usage == Usage(2, tokens, estimated=True)
    assert usage.as_json() == {"prompt_tokens": 2, "completion_tokens": tokens, "total_tokens": 2 + tokens}
    StrictUsage.model_validate(usage.as_json())


def test_a_price_is_for_a_million_tokens_and_exact() -> None:
    usage = Usage(1, 3, estimated=False)
    assert cost_usd(usage, Decimal("2.5"), Decimal("10")) == Decimal("0.0000325")


def test_one_price_alone_counts_the_other_as_free() -> None:
    usage = Usage(1_000_000, 1_000_000, estimated=False)
    assert cost_usd(usage, Decimal("2.5"), None) == Decimal("2.5")
    assert cost_usd(usage, None, Decimal("0.1")) == Decimal("0.1")


def test_without_a_price_there_is_no_cost_and_a_price_of_zero_is_one() -> None:
    usage = Usage(5, 5, estimated=False)
    assert cost_usd(usage, None, None) is None
    assert cost_usd(usage, Decimal(0), Decimal(0)) == 0


PRICES = st.decimals(0, 1000, places=4)


@given(st.integers(0, 10**9), st.integers(0, 10**9), PRICES, PRICES)
def test_the_cost_of_two_parts_is_the_cost_of_the_whole(
    prompt: int, completion: int, low: Decimal, high: Decimal
) -> None:
    parts = [Usage(prompt, 0, estimated=False), Usage(0, completion, estimated=False)]
    costs = [cost_usd(part, low, high) for part in parts]
    assert sum(cost for cost in costs if cost is not None) == cost_usd(
        Usage(prompt, completion, estimated=False), low, high
    )
