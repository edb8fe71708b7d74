"""An answer may be as long as its key has money: no more tokens count as paid than the reserved money covers."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.completion.spending import SLICE_TOKENS, Spending, ceil_microusd, microusd

PRICE = Decimal(10)


class Till:
    """A key's money: `extend` reserves more of it until it is used up."""

    def __init__(self, reserved: int, left: int) -> None:
        self.reserved = reserved
        self.left = left
        self.asked: list[int] = []

    def extend(self, amount: int) -> int:
        self.asked.append(amount)
        given = min(amount, self.left)
        self.left -= given
        self.reserved += given
        return self.reserved


@pytest.mark.parametrize(
    ("tokens", "price", "cost"),
    [(0, "10", 0), (1, "0.000001", 1), (3, "2.5", 8), (4, "2.5", 10), (1_000_000, "0.15", 150_000), (7, None, 0)],
)
def test_a_cost_is_whole_micro_dollars_rounded_up(tokens: int, price: str | None, cost: int) -> None:
    assert microusd(tokens, None if price is None else Decimal(price)) == cost


def test_rounding_is_up_and_only_up() -> None:
    assert [ceil_microusd(Decimal(text)) for text in ("0", "0.0000001", "1", "1.5")] == [0, 1, 1, 2]


@pytest.mark.parametrize("price", [None, Decimal(0)])
def test_an_answer_without_a_price_may_have_any_length(price: Decimal | None) -> None:
    till = Till(0, 0)
    assert Spending(0, 0, price, till.extend).paid_tokens(1_000_000) is None
    assert till.asked == []


def test_the_estimate_is_used_up_before_more_is_reserved() -> None:
    till = Till(1000, 10_000)
    spending = Spending(1000, 100, PRICE, till.extend)
    assert spending.paid_tokens(1) == 90
    assert spending.paid_tokens(90) == 90
    assert till.asked == []
    assert spending.paid_tokens(91) == 91 + SLICE_TOKENS
    assert till.asked == [(1 + SLICE_TOKENS) * 10]


def test_the_last_money_is_used_to_the_last_token() -> None:
    till = Till(1000, 55)
    spending = Spending(1000, 100, PRICE, till.extend)
    assert spending.paid_tokens(91) == 95
    assert spending.paid_tokens(96) == 95


def test_a_prompt_that_is_not_paid_for_leaves_nothing() -> None:
    assert Spending(50, 100, PRICE, Till(50, 0).extend).paid_tokens(1) == 0


PRICES = st.decimals("0.000001", "1000", places=6)


@given(PRICES, st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 100_000), st.data())
def test_what_is_said_to_be_paid_for_never_costs_more_than_is_reserved(
    price: Decimal, prompt: int, more: int, left: int, data: st.DataObject
) -> None:
    till = Till(prompt + more, left)
    spending = Spending(prompt + more, prompt, price, till.extend)
    wanted = 0
    for step in data.draw(st.lists(st.integers(1, 500), max_size=20)):
        wanted += step
        paid = spending.paid_tokens(wanted)
        assert paid is not None
        assert spending.reserved == till.reserved
        assert prompt + microusd(paid, price) <= till.reserved
        if paid < wanted:  # this may happen only if the key has no money left
            assert till.left == 0
            return
        assert till.reserved <= max(prompt + more, prompt + microusd(wanted + SLICE_TOKENS, price))
