"""The load around nothing: its clients ask its own upstream, and both keep their schedule."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.kit.ends import Target
from bench.kit.load import Load, Outcome, Plan
from bench.kit.loop import clock
from bench.kit.peers import ask
from bench.kit.script import Exchange, script

GAP = 0.01


@pytest.fixture
def load() -> Iterator[Load]:
    with contextlib.closing(Load()) as load:
        yield load


def test_a_connection_asks_when_its_period_is_over_and_not_when_the_answer_is(load: Load) -> None:
    plan = Plan(streams=2, tokens=1, gap=0.001, spread=0.02, turns=4, period=0.02)
    before = clock()
    outcome = load.run(plan, Target(load.port))
    assert outcome.completed == 8
    assert all(exchange.asked_at >= before + (exchange.turn - 1) * 0.02 for exchange in outcome.exchanges)


def test_a_request_whose_time_has_passed_is_sent_as_soon_as_the_connection_is_free(load: Load) -> None:
    plan = Plan(streams=1, tokens=4, gap=0.005, turns=3, period=0.001)
    first, second, _ = load.run(plan, Target(load.port)).exchanges
    assert second.asked_at >= first.receipts[-1]


def test_a_token_is_late_from_the_time_at_which_it_was_due() -> None:
    exchange = Exchange("1", script(0, 3), GAP, turn=2, sends=[5.0, 5.0, 5.013, 5.02, 5.03, 5.04])
    exchange.receipts = [5.001, 5.001, 5.015, 5.021, 5.5, 5.5]  # the last two are no tokens
    first = Exchange("0", script(0, 3), GAP, turn=1, sends=[1.0] * 6, receipts=[9.0] * 6)
    assert Outcome(2, [first, exchange]).lateness(first_turn=2) == pytest.approx([0.005, 0.001])


def test_the_upstream_has_a_list_of_models_for_gateways_that_ask_before_they_serve(load: Load) -> None:
    with ThreadPoolExecutor(1) as pool:
        listing = pool.submit(ask, load.port, "/v1/models")
        while not listing.done():
            load.serve(0.01)
    assert [model["id"] for model in listing.result()["data"]] == ["bench"]
