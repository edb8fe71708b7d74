"""The picture of `rivergate top`: the numbers of the dashboard, within the terminal, and a word for what is cut."""

import re
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from gateway.commands.top_history import KeptHistory, spark
from gateway.commands.top_picture import Rates, Terminal, picture

BOUNDS = {"bounds": [10, 20], "counts": [1, 2, 0]}


def stream(number: int) -> dict[str, Any]:
    return {
        "id": f"st_{number:024d}",
        "model": "m",
        "dialect": "chat",
        "state": "streaming",
        "ending": None,
        "upstream": "u0",
        "readers": 0,
        "lag_events": 0,
        "ttft": {"first_content_ms": 12.0},
        "usage": {"completion_tokens": 100, "estimated": True},
        "created": 990,
    }


def upstream(number: int, breaker: str = "closed") -> dict[str, Any]:
    times = {"ttft_p50_ms": 100.0, "ttft_p95_ms": 200.0, "tps_p50": 50.0, "error_rate": 0.0}
    return {"upstream": f"u{number}", "model": "m", "breaker": breaker, "wait_seconds": 0, "in_flight": 1, **times}


def snapshot(at: float = 1000.0, tokens: int = 0, streams: int = 3, upstreams: int = 2) -> dict[str, Any]:
    counts = ("deliveries", "sends", "lagged_readers", "orphan_seconds", "budget_misses", "hedges", "requests")
    return {
        **dict.fromkeys((*counts, "refusals", "readers", "connections", "open_fds", "loop_lag_ms"), 0),
        "at": at,
        "version": "0.1.0",
        "uptime_seconds": 60,
        "ready": True,
        "open_mode": True,
        "ledger": {"failure": None, "unwritten": 0},
        "streams": {"running": streams, "kept": 0, "ended": 0, "endings": {"completed": 2}},
        "tokens": tokens,
        "ttft": {"p50_ms": 120.0, "p95_ms": 340.0},
        "ttft_ms": BOUNDS,
        "gap_ms": BOUNDS,
        "errors": [],
        "upstreams": [upstream(number) for number in range(upstreams)],
        "list": [stream(number) for number in range(streams)],
        "failures": 1,
    }


def history() -> KeptHistory:
    kept = KeptHistory()
    columns = {"running": [1, 4], "tokens_per_second": [650.0, 700.0], "ttft_p50_ms": [None, 120.0]}
    kept.take_points({"fine": {"seconds": 5, "until": 1000.0, "answers": [9, 9], "failures": [0, 2], **columns}})
    row = {"at": 0, "outcome": "stalled", "model": "m", "reason": "silence", "request_id": "req_1", "attempts": []}
    kept.take_failures({"count": 1, "data": [row]})
    return kept


def drawn(now: dict[str, Any], width: int, lines: int, rates: Rates | None = None) -> list[str]:
    console = Console(file=StringIO(), width=width, highlight=False)
    console.print(picture(now, rates or Rates(), history(), Terminal("live", width, lines)))
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_tokens_a_second_are_those_of_all_answers_however_streams_come_and_go() -> None:
    rates = Rates()
    for second in range(8):
        rates.add({**snapshot(1000.0 + second, tokens=700 * second), "list": [stream(second)]})
    assert rates.of("tokens") == 700.0
    assert re.search(r"tokens/s +700 ", "\n".join(drawn(snapshot(), 120, 50, rates)))


@pytest.mark.parametrize(("width", "lines"), [(80, 24), (80, 60), (120, 40), (200, 30)])
@pytest.mark.parametrize("upstreams", [2, 40])
def test_the_picture_stays_within_the_terminal_and_names_what_it_cuts(width: int, lines: int, upstreams: int) -> None:
    shown = drawn(snapshot(streams=50, upstreams=upstreams), width, lines)
    assert len(shown) <= lines
    assert max(map(len, shown)) <= width
    text = " ".join(line.strip() for line in shown)
    streams = sum(line.startswith("st_") for line in shown)
    assert streams >= 3
    assert (f"{50 - streams} of 50 streams" in text) is (streams < 50)
    listed = sum(line.startswith("u") and line[1].isdigit() for line in shown)
    assert (f"{upstreams - listed} of {upstreams} upstreams" in text) is (listed < upstreams)
    assert [word in text for word in ("ids", "dialects")] == [width < 112, width < 126]
    for part, word in (("failures", "stalled"), ("endings", "ended  completed"), ("counts", "loop lag")):
        assert (word in "\n".join(shown)) is not (part in text.rpartition("not shown")[2])


def test_an_upstream_whose_breaker_is_open_is_not_cut() -> None:
    now = snapshot(upstreams=40)
    now["upstreams"][39] = upstream(39, "open")
    assert any(line.startswith("u39 ") for line in drawn(now, 100, 24))


def test_the_lines_of_the_large_numbers_take_the_width_that_there_is() -> None:
    narrow, wide = (next(line for line in drawn(snapshot(), width, 60) if "running" in line) for width in (80, 190))
    assert "▃█" in narrow
    assert "▃█" in wide
    assert wide.index("█") > narrow.index("█")


def test_a_point_that_is_the_next_one_is_taken_and_a_gap_is_asked_for() -> None:
    kept = history()
    point = {"seconds": 5, "until": 1005.0, "running": [7], "tokens_per_second": [1.0], "failures": [3]}
    assert not kept.lacks_points({"point": {**point, "answers": [1], "ttft_p50_ms": [5.0]}})
    assert kept.values("running")[-2:] == [4, 7]
    assert kept.total("failures") == 5
    assert not kept.lacks_points({"point": point})
    assert kept.lacks_points({"point": {**point, "until": 1020.0}})
    assert (kept.lacks_failures({"failures": 1}), kept.lacks_failures({"failures": 2})) == (False, True)


def test_blocks_show_the_largest_value_of_each_group() -> None:
    assert spark([None, None, 1, 8, 0, 4], 3) == " █▅"
    assert spark([None] * 4, 4) == "    "
    assert spark([0, 0], 2) == "▁▁"
