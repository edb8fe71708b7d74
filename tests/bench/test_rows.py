"""The rows of DESIGN.md section 7, judged on given JSON."""

from typing import Any

import pytest

from bench.fanout import faults
from bench.kit.figures import Results
from bench.rows import (
    BEYOND,
    DESIGN,
    MET,
    MISSED,
    NOT_MEASURED,
    Verdict,
    failures_of,
    judge,
    of_bench,
    rows,
)


def spread(median: float) -> dict[str, float]:
    return {"median": median, "low": median / 2, "high": median * 2}


def fanout(single_vs_c: float = 0.9) -> dict[str, Any]:
    crowd = {
        "single_per_cpu_s_vs_c": spread(single_vs_c),
        "single_per_cpu_s_vs_nchan": spread(1.6),
        "burst_per_cpu_s": spread(1.2e7),
        "burst_per_cpu_s_vs_nchan": spread(30),
        "pss_kib": spread(0.4),
    }
    most = {"latency_p99_ms": spread(75), "pss_kib": spread(0.5)}
    nchan = {"single_per_cpu_s_vs_c": spread(0.5), "pss_kib": spread(10)}
    feed = {"single_per_cpu_s_vs_gateway": spread(0.99)}
    sizes = {
        "1000": {"peers": {"gateway": crowd, "nchan": nchan}},
        "10000": {"peers": {"gateway": most, "feed": feed}, "faults": 0.0},
    }
    return {"bench": "fanout", "options": {"rate": 20.0}, "sizes": sizes}


def verdict(report: dict[str, Any], words: str) -> Verdict:
    return next(found for found in of_bench(report["bench"], report) if words in found.row.question)


def test_every_question_stands_once() -> None:
    questions = [(row.bench, row.question) for row in rows()]
    assert len(questions) == len(set(questions))


def test_every_row_has_the_answer_not_measured_when_nothing_ran() -> None:
    verdicts = judge({}, {"relay": "ended with status 3"}, rows())
    assert {found.word for found in verdicts} == {NOT_MEASURED}
    assert {found.why for found in verdicts if found.row.bench == "relay"} == {"relay: ended with status 3"}
    assert {found.row.source for found in verdicts} == {DESIGN, BEYOND}


@pytest.mark.parametrize(("value", "word"), [(0.9, MET), (0.8999, MISSED), (1.2, MET)])
def test_a_figure_at_its_limit_has_met_it(value: float, word: str) -> None:
    assert verdict(fanout(value), "of the C loop's").word == word


def test_all_figures_of_a_whole_fanout_report_are_found() -> None:
    assert [found.word for found in of_bench("fanout", fanout())] == [MET] * 9


def test_a_missing_peer_is_named() -> None:
    report = fanout()
    del report["sizes"]["1000"]["peers"]["gateway"]["single_per_cpu_s_vs_nchan"]
    report["sizes"]["1000"]["failures"] = {
        "nchan": "nchan: ended with status 1\nnginx: dlopen() failed (No such file or directory)"
    }
    found = verdict(report, "deliveries per CPU s, of Nchan's")
    assert (found.word, found.why) == (NOT_MEASURED, "nchan: ended with status 1")


def test_a_figure_of_other_conditions_is_none() -> None:
    report = {"bench": "relay", "options": {"streams": 50, "rate": 100.0}}
    report["peers"] = {"gateway": {"cpu_vs_nginx": spread(1.0)}}
    found = verdict(report, "of nginx's")
    assert (found.value, found.why) == (None, "streams was 50")


def test_a_cpu_figure_of_a_rate_that_was_not_kept_is_none() -> None:
    gateway = {"cpu_vs_nginx": spread(0.7), "rate_kept": spread(0.8)}
    report = {"bench": "relay", "options": {"streams": 300, "rate": 100.0}, "peers": {"gateway": gateway}}
    assert verdict(report, "of nginx's").why == "gateway had 80% of the rate"
    gateway["rate_kept"] = spread(1.0)
    assert verdict(report, "of nginx's").word == MET


def test_a_lateness_counts_only_if_the_load_alone_was_on_time() -> None:
    peers = {"gateway": {"late_p99_ms": spread(2.0)}, "direct": {"late_p99_ms": spread(0.2)}}
    report = {"bench": "requests", "options": {}, "loop": {"100": {"peers": peers}}}
    assert verdict(report, "240 times a second: a token late, p99").word == MET
    peers["direct"] = {"late_p99_ms": spread(4.0)}
    found = verdict(report, "240 times a second: a token late, p99")
    assert (found.word, found.why) == (NOT_MEASURED, "the load alone was 4 ms late")


def test_the_round_in_which_the_fewest_were_answered_counts() -> None:
    answered = {"median": 300.0, "low": 299.0, "high": 300.0}
    report = {"bench": "requests", "options": {"burst": 300, "budget_ms": 200}}
    report["silent"] = {"gateway": {"answered": answered}}
    assert verdict(report, "the first upstream silent").word == MISSED


def test_an_event_that_came_twice_is_missed_and_a_failed_join_is_not_measured() -> None:
    report, results = (
        fanout(),
        Results(failures={"gateway": "round 1/1: 10000 subscribers, latency: event 3 differs"}),
    )
    report["sizes"]["10000"] = {"peers": {}, "failures": results.failures, "faults": faults(results)}
    assert verdict(report, "missed, repeated").word == MISSED
    results.failures["gateway"] = "10000 subscribers, join: too many open files"
    report["sizes"]["10000"]["faults"] = faults(results)
    found = verdict(report, "missed, repeated")
    assert (found.word, found.why) == (NOT_MEASURED, "gateway: 10000 subscribers, join: too many open files")


def test_events_that_all_came_once_are_no_fault_and_without_a_latency_run_nobody_has_looked() -> None:
    assert faults(Results({"gateway": [{"latency_p99_ms": 75.0}]})) == 0.0
    assert faults(Results({"gateway": [{"single_us": 2.0}]})) is None
    assert faults(Results()) is None


def test_subscribers_that_the_limit_of_open_files_left_out_are_told() -> None:
    report = fanout()
    report["sizes"]["4500"] = report["sizes"].pop("10000")
    assert verdict(report, "delivery, p99").why == "no run with 10,000 subscribers"


def test_the_worst_kind_of_leaving_counts() -> None:
    kinds = {"before_fin": {"p99_ms": 2.0}, "mid_rst": {"p99_ms": 12.0}, "mid_fin": None}
    report = {"bench": "abort", "options": {"others": 100}, "peers": {"gateway": {"alone": kinds, "beside": {}}}}
    assert verdict(report, "last subscriber closes").value == 12.0
    assert verdict(report, "beside 100").why == "abort has no such figure"


def test_hedging_is_judged_by_its_ratio_and_its_share() -> None:
    tail = {"auto": {"p50_ms": 100.0, "p99_ms": 188.0, "extra_share": 0.054}}
    report = {"bench": "ttft", "options": {"streams": 300, "slow_share": 0.05}, "tail": tail, "deadline": {}}
    assert [round(verdict(report, words).value or 0, 2) for words in ("of its p50", "requests more")] == [1.88, 5.4]


def test_a_cost_that_grows_worse_than_linearly_is_missed() -> None:
    curves = {"log": {"fits": {"cpu": {"slope": 1.3}, "time": {"slope": 0.9}}}}
    report = {"bench": "growth", "options": {}, "curves": curves}
    assert [verdict(report, words).word for words in ("CPU for a late", "time for a late")] == [MISSED, MET]


def test_a_broken_storm_tells_its_failure() -> None:
    report = {
        "bench": "storm",
        "options": {"subscribers": 5000, "seconds": 2.0, "resume": 500},
        "figures": {},
        "failures": {"gateway": "late: 3 missing"},
    }
    assert failures_of(report) == {"gateway": "late: 3 missing"}
    assert {found.why for found in of_bench("storm", report)} == {"gateway: late: 3 missing"}


def test_a_verdict_becomes_cells() -> None:
    found = verdict(fanout(), "bursts to 1,000, deliveries")
    assert found.cells == ["bursts to 1,000, deliveries per CPU s", ">= 10,000,000", "12,000,000", MET, ""]


def test_what_the_peers_of_the_same_run_have_reached_stands_beside_a_verdict() -> None:
    assert verdict(fanout(), "of the C loop's").cells[-1] == "nchan 0.5"
    kinds = {"before_fin": {"p99_ms": 0.5}, "mid_rst": {"p99_ms": 0.75}}
    peers = {name: {"alone": kinds} for name in ("gateway", "nginx")}
    report = {"bench": "abort", "options": {}, "peers": peers | {"direct": {}}}
    assert verdict(report, "last subscriber closes").beside == "nginx 0.75"


def test_rows_of_a_bench_with_parts_are_judged_by_the_run_of_their_part() -> None:
    options: dict[str, Any] = {"kept_seconds": 46.0}
    kept = {"bench": "requests", "options": options, "kept": {"gateway": {"pause_ms": 8.0}}}
    found = {found.row.bench: found.word for found in judge({"requests.kept": kept}, {}, rows()) if found.word == MET}
    assert found == {"requests.kept": MET}
    assert verdict(kept, "the longest pause").word == MET  # the bench by itself, with all parts
    options["only"] = ["kept"]
    assert {found.row.bench for found in of_bench("requests", kept)} == {"requests.kept"}
