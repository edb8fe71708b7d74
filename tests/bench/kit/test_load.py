"""The load around nothing: its clients ask its own upstream, and both keep their schedule."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.kit.load import Load, Plan
from bench.kit.loop import clock
from bench.kit.peers import ask
from bench.kit.script import Target

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


def test_the_upstream_has_a_list_of_models_for_gateways_that_ask_before_they_serve(load: Load) -> None:
    with ThreadPoolExecutor(1) as pool:
        listing = pool.submit(ask, load.port, "/v1/models")
        while not listing.done():
            load.serve(0.01)
    assert [model["id"] for model in listing.result()["data"]] == ["bench"]
