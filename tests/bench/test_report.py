"""The report, out of given JSON: the text, and the pictures."""

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

import bench
from bench import pictures, report
from bench.report import markdown
from bench.rows import judge, rows

MACHINE = {"cpu": "A processor", "cores": 2, "kernel": "6.1", "date": "2026-11-21T08:00:00+00:00", "commit": "abc"}
FACTS = {"machine": MACHINE | {"dirty": True, "load_average_before": 0.1}, "versions": {"python": "3.11"}}


def spread(median: float) -> dict[str, float]:
    return {"median": median, "low": median * 0.9, "high": median * 1.1}


def relay(rate_kept: float = 1.0) -> dict[str, Any]:
    keys = [f"added_ttft_{key}_{share}_ms" for key in ("one", "many") for share in ("p50", "p99")]
    peers = {
        name: {"cpu_us": spread(cost), "rate_kept": spread(rate_kept), **{key: spread(cost / 50) for key in keys}}
        for name, cost in (("gateway", 20.0), ("nginx", 15.0), ("aiohttp", 45.0), ("litellm", 1500.0))
    }
    options = {"streams": 300, "rate": 100.0, "ttft_streams": 100}
    return {"bench": "relay", **FACTS, "options": options, "peers": peers, "failures": {"aiohttp+uvloop": "no port"}}


def fanout() -> dict[str, Any]:
    peers = {name: {f"{key}_per_cpu_s": spread(2e5) for key in ("single", "burst")} for name in ("gateway", "c")}
    sizes = {size: {"peers": peers, "failures": {}} for size in ("100", "1000", "10000")}
    return {"bench": "fanout", **FACTS, "options": {"burst": 64, "rate": 20.0}, "sizes": sizes}


def ttft() -> dict[str, Any]:
    figures = {"p50_ms": 100.0, "p95_ms": 110.0, "p99_ms": 190.0, "max_ms": 200.0, "hedges": 5, "extra_share": 0.05}
    tail = {"off": figures | {"p99_ms": 1000.0}, "auto": figures}
    return {"bench": "ttft", **FACTS, "options": {"slow_share": 0.05}, "tail": tail}


def growth() -> dict[str, Any]:
    points = {
        f"{x}": {"x": x, "cpu": 0.1 * x, "memory": x, "peer_core": 0.1, "load_core": 0.1} for x in (1, 10, 100, 1000)
    }
    curve = {"points": points, "fits": {"cpu": {"slope": 1.0}, "memory": {"slope": 1.3}}}
    return {"bench": "growth", **FACTS, "options": {}, "curves": dict.fromkeys(("streams", "subscribers"), curve)}


def requests_cost() -> dict[str, Any]:
    peers = {"gateway": {"us": spread(700.0), "us_vs_nginx": spread(7.0)}, "nginx": {"us": spread(100.0)}}
    return {"bench": "requests", **FACTS, "options": {"only": ["cost"]}, "cost": {"10": {"peers": peers}}}


REPORTS = {"relay": relay(), "fanout": fanout(), "ttft": ttft(), "growth": growth(), "requests.cost": requests_cost()}


def test_the_text_has_every_row_the_spread_the_machine_and_who_failed() -> None:
    text = markdown(REPORTS, judge(REPORTS, {}, rows()), ["relay.svg"])
    for row in rows():
        assert f"| {row.question} | {row.target} |" in text
    assert "| gateway | 20.0 (18.0..22.0) |" in text
    assert "| A processor, 2 cores, Linux 6.1 | abc with changes | 2026-11-21 |" in text
    assert "- **aiohttp+uvloop failed**: no port" in text
    assert "**MISSED**" in text
    assert "## requests.cost" in text
    assert "| 10, gateway | 700" in text
    assert "![CPU per relayed event](relay.svg)" in text
    assert "fanout.svg" not in text
    assert "| streams | 1.00 | 1.30 | - |" in text


def test_a_short_run_is_called_one() -> None:
    reports = {"relay": relay() | {"quick": True}, "fanout": fanout()}
    assert "**Not final**: relay ran in short rounds" in markdown(reports, [], [])
    assert "Not final" not in markdown({"fanout": fanout()}, [], [])


def test_every_table_of_the_text_is_as_wide_as_its_head() -> None:
    lines = markdown(REPORTS, judge(REPORTS, {}, rows()), []).splitlines()
    tables = "\n".join(line if line.startswith("|") else "" for line in lines).split("\n\n")
    for table in filter(None, map(str.strip, tables)):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_pictures_are_drawn_where_there_is_data_and_twice_the_same(tmp_path: Path) -> None:
    drawn = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        drawn.append(pictures.draw(tmp_path / name, REPORTS))
    assert drawn == [["fanout.svg", "relay.svg"]] * 2
    for picture in drawn[0]:
        first, second = ((tmp_path / name / picture).read_bytes() for name in ("first", "second"))
        assert ElementTree.fromstring(first).tag.endswith("svg")
        assert first == second


def test_a_failed_bench_has_no_picture(tmp_path: Path) -> None:
    empty = {"relay": relay() | {"peers": {}}, "fanout": fanout() | {"sizes": {}}}
    assert pictures.draw(tmp_path, empty) == []


def test_the_report_is_written_beside_the_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.write(tmp_path) == 1
    (tmp_path / "relay.json").write_text(json.dumps(relay()))
    assert report.write(tmp_path) == 0
    assert (tmp_path / "report.md").read_text().startswith("# Results")
    told = capsys.readouterr()
    assert told.out.startswith("DESIGN.md section 7")
    assert "1 of 13 runs, 1 pictures" in told.err


def test_without_matplotlib_the_text_is_written_and_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "bench.pictures")
    monkeypatch.delattr(bench, "pictures")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (tmp_path / "relay.json").write_text(json.dumps(relay()))
    assert report.write(tmp_path) == 1
    assert (tmp_path / "report.md").exists()
    assert "pip install 'rivergate[bench]'" in capsys.readouterr().err
