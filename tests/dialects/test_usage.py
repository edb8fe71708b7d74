"""Tokens as the provider counted them, or estimated; and their price to the last cent."""

from decimal import Decimal
from typing import Any

import pytest
from auriko.models.common import Usage as StrictUsage
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.usage import Usage, cost_usd, estimate_prompt_tokens, measure

TOLD = {
    "prompt_tokens": 10,
    "completion_tokens": 4,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 8},
}


def body(*contents: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content} for content in contents]}


def test_the_counts_of_the_provider_win_and_keep_their_details() -> None:
    usage = measure(TOLD, 100, 99, 999)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.estimated) == (10, 4, False)
    assert usage.as_json() == TOLD


def test_changing_the_json_does_not_change_what_the_provider_told() -> None:
    measure(TOLD, 0, 0, 0).as_json()["total_tokens"] = 0
    assert TOLD["total_tokens"] == 14


@pytest.mark.parametrize(
    ("events", "text_bytes", "tokens"), [(0, 0, 0), (5, 20, 5), (5, 21, 6), (1, 400, 100), (7, 1, 7), (0, 1, 1)]
)
def test_without_counts_a_token_is_an_event_or_four_bytes_whichever_is_more(
    events: int, text_bytes: int, tokens: int
) -> None:
    usage = measure(None, 2, events, text_bytes)
    assert usage == Usage(2, tokens, estimated=True)
    assert usage.as_json() == {"prompt_tokens": 2, "completion_tokens": tokens, "total_tokens": 2 + tokens}
    StrictUsage.model_validate(usage.as_json())


@pytest.mark.parametrize(
    ("request_body", "tokens"),
    [
        ({}, 0),
        ({"messages": None}, 0),
        ({"messages": []}, 0),
        (body(""), 0),
        (body(None, 5, {}), 0),
        ({"messages": ["text", None]}, 0),
        (body("a"), 1),
        (body("abcd"), 1),
        (body("abcde"), 2),
        (body("ab", "cd"), 1),
        (body("é\U0001f600"), 2),
        (body("\ud800"), 1),
        (body([{"type": "text", "text": "abcd"}, {"type": "image_url", "image_url": {"url": "x" * 999}}, "abc"]), 1),
        (body([{"text": None}, {"text": 5}, {"text": "abcde"}]), 2),
    ],
)
def test_a_prompt_is_estimated_by_the_length_of_its_text(request_body: dict[str, Any], tokens: int) -> None:
    assert estimate_prompt_tokens(request_body) == tokens


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
