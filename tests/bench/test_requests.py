"""What the bench of requests asks of its peers, and what it makes of the times."""

import argparse

import pytest

from bench.kit.figures import Results, Sample
from bench.kit.load import Outcome
from bench.kit.script import START, Exchange, Script, Target, script
from bench.requests import (
    COST,
    KEPT_PERIOD,
    KEPT_STREAMS,
    LOOP,
    EitherCheck,
    Experiment,
    commanded,
    lateness,
    most_within,
    peers_json,
    short_plan,
)

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ERROR = b'{"error": {"message": "late", "type": "api_error", "code": "ttft_budget_exceeded", "param": null}}'
REFUSAL = b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: %d\r\n\r\n%b" % (len(ERROR), ERROR)
SHORT = script(0, 2)


def test_30000_ended_streams_come_from_660_requests_a_second() -> None:
    plan = short_plan(KEPT_STREAMS, KEPT_PERIOD, 46.0)
    assert plan.streams / plan.period == pytest.approx(660)
    assert plan.streams * plan.turns >= 30_000
    assert len(plan.script(0, Target(0)).events) == 5


def test_requests_outlast_the_window_in_which_their_cost_is_counted() -> None:
    plan = Experiment(COST, 30, 1.0).plan(share=1.0)
    assert plan.window is not None
    assert plan.turns * plan.period > plan.window[1]


def test_streams_of_the_loop_last_0_42_seconds_and_begin_240_and_500_times_a_second() -> None:
    plans = [Experiment(LOOP, size, 5.0).plan(share=1.0) for size in (100, 210)]
    lengths = [(plan.tokens + 1) * plan.gap for plan in plans]  # event k comes k - 1 gaps behind the first
    assert [round(plan.streams / length) for plan, length in zip(plans, lengths, strict=True)] == [238, 500]
    assert Experiment(LOOP, 100, 5.0).plan(share=0.02).streams == 2


def test_random_starts_are_the_same_for_every_peer_and_lie_within_the_length_of_a_stream() -> None:
    plans = [Experiment(LOOP, 100, 5.0, "random").plan(share=1.0) for _ in range(2)]
    assert plans[0] == plans[1]
    assert len({plans[0].phase(slot) for slot in range(100)}) == 100
    assert all(0 <= plans[0].phase(slot) < 1 for slot in range(100))
    assert [Experiment(LOOP, 100, 5.0, starts).name for starts in ("even", "random")] == ["100", "100 random"]


@pytest.mark.parametrize("cut", [1, 12, 13, len(REFUSAL) - 1])
def test_a_request_is_answered_or_refused_however_the_bytes_are_cut(cut: int) -> None:
    refused: list[Script] = []
    answer = HEAD + b"".join(SHORT.chunks)
    for data in (answer, REFUSAL):
        check = EitherCheck(SHORT, refused)
        assert check.advance(check.advance(START, data[:cut]), data[cut:]).ended
    assert refused == [SHORT]


def stream(asked_at: float, late: float) -> Exchange:
    sends = [asked_at] * 2 + [asked_at + 0.01 * number for number in (1, 2, 3)]
    receipts = [sends[0] + 0.002, sends[1] + 0.002, *(at + late for at in sends[2:])]
    return Exchange("1", SHORT, 0.01, turn=2, asked_at=asked_at, sends=sends, receipts=receipts)


def test_a_clump_is_counted_wherever_it_begins() -> None:
    assert most_within([0.0, 0.009, 0.018, 0.027], 0.01) == 2
    assert most_within([5.0, 1.0, 5.004, 5.010, 9.0], 0.01) == 3
    assert most_within([], 0.01) == 0


def test_a_token_is_late_from_the_time_at_which_it_was_due() -> None:
    exchange = Exchange("1", script(0, 3), 0.01, turn=2, sends=[5.0, 5.0, 5.013, 5.02, 5.03, 5.04])
    exchange.receipts = [5.001, 5.001, 5.015, 5.021, 5.5, 5.5]  # the last two are no tokens
    first = Exchange("0", script(0, 3), 0.01, turn=1, sends=[1.0] * 6, receipts=[9.0] * 6)
    assert lateness(Outcome(2, [first, exchange]), first_turn=2) == pytest.approx([0.005, 0.001])


def test_figures_of_the_loop_are_lateness_first_tokens_and_clumps() -> None:
    outcome = Outcome(3, [stream(at, late) for at, late in ((1.0, 0.001), (1.004, 0.003), (2.0, 0.002))])
    outcome.whole = Sample(2.0, 15, 0.5, 0.1)
    found = Experiment(LOOP, 3, 1.0).figures(outcome)
    assert (found["late_p50_ms"], found["late_max_ms"]) == pytest.approx((2.0, 3.0))
    assert (found["ttft_p50_ms"], found["starts_together"], found["starts_per_s"]) == pytest.approx((2.0, 2, 3.0))
    assert found["peer_core"] == 0.25


def test_the_cost_of_a_request_is_that_of_five_events() -> None:
    outcome = Outcome(1, [stream(1.0, 0.001)], window=Sample(2.0, 1000, 0.1, 0.1))
    found = Experiment(COST, 10, 1.0).figures(outcome)
    assert (found["us"], found["requests_per_s"]) == pytest.approx((500.0, 100.0))


def test_costs_are_compared_within_a_turn_and_the_load_alone_with_nobody() -> None:
    results = Results()
    for name, costs in (("direct", (0.0, 0.0)), ("nginx", (100.0, 200.0)), ("gateway", (300.0, 400.0))):
        for cost in costs:
            results.add(name, {"us": cost, "ttft_p50_ms": cost, "ttft_p99_ms": cost})
    found = peers_json(COST, results)
    assert found["gateway"]["us_vs_nginx"] == {"median": 2.5, "low": 2.0, "high": 3.0}
    assert found["gateway"]["added_ttft_p50_ms"]["median"] == 350.0
    assert "us_vs_nginx" not in found["direct"]


def test_a_further_gateway_has_a_name_a_command_and_perhaps_a_model() -> None:
    peer = commanded("other@openai/bench=exec other --listen=:$PORT")
    assert (peer.name, peer.model, peer.command) == ("other", "openai/bench", "exec other --listen=:$PORT")
    assert commanded("other=other").model == "bench"
    for text in ("other", "=other", "other="):
        with pytest.raises(argparse.ArgumentTypeError, match="is not NAME=COMMAND"):
            commanded(text)
