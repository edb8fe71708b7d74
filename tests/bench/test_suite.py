"""What the suite asks of its benches, and what it does about benches that fail and about what they leave behind; the
latter in processes of its own."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import suite
from bench.kit import machine
from bench.kit.command import specs
from bench.rows import rows
from bench.suite import ALL, BENCHES, PARTS, UNITS, Suite, chosen


def test_every_row_belongs_to_a_bench_of_the_suite_and_every_bench_has_tables() -> None:
    assert {row.bench for row in rows()} == set(UNITS)
    assert all(specs()[name]["tables"] for name in [*BENCHES, "micro", "compare"])


@pytest.mark.parametrize("name", [*BENCHES, "micro", "compare"])
def test_every_bench_can_be_run_alone_and_asks_a_question(name: str) -> None:
    bench = importlib.import_module(f"bench.{name}").BENCH
    assert bench.name == name
    assert bench.question.endswith("?")
    assert callable(bench.main)
    assert bench.parser().prog == f"python -m bench.{name}"


@pytest.mark.parametrize(("names", "count"), [([], len(BENCHES)), ([ALL], len(BENCHES)), (["storm", "relay"], 2)])
def test_all_are_chosen_by_name_or_by_none(names: list[str], count: int) -> None:
    assert len(chosen(names)) == count


def test_benches_run_in_the_order_of_the_suite() -> None:
    assert [bench.name for bench in chosen(["fanout", "startup"])] == ["startup", "fanout"]


@pytest.mark.parametrize("name", BENCHES)
def test_a_short_run_never_changes_the_load(name: str) -> None:
    allowed = {"--rounds", "--seconds", "--requests", "--aborts", "--quiet-seconds", "--kept-seconds"}
    allowed |= {"--slices", "--slice-seconds", "--latency-seconds"}
    words = Suite(Path(), quick=True).options(BENCHES[name])
    assert {word for word in words if word.startswith("--")} <= allowed
    BENCHES[name].parser().parse_args(words)


def test_rounds_that_were_asked_for_win_over_those_of_a_short_run() -> None:
    suite = Suite(Path(), quick=True, rounds=4, litellm="py")
    quick = specs()["relay"]["quick"]
    assert suite.options(BENCHES["relay"]) == [*quick, "--rounds", "4", "--litellm", "py"]
    assert suite.options(BENCHES["storm"]) == []


def test_a_bench_with_parts_is_a_run_for_each_part_that_is_asked_for() -> None:
    assert [*BENCHES["requests"].units()] == [f"requests.{part}" for part in PARTS]
    assert BENCHES["requests"].units(["kept", "cost"]) == {
        "requests.cost": ["--only", "cost"],
        "requests.kept": ["--only", "kept"],
    }
    assert BENCHES["relay"].units(["cost"]) == {"relay": []}
    assert set(PARTS) == set(specs()["requests"]["options"]["only"]["among"])


def test_only_a_bench_that_takes_further_gateways_is_given_them() -> None:
    suite = Suite(Path(), litellm="py", peers=["other=other --port $PORT"])
    words = suite.options(BENCHES["requests"])
    assert words == ["--litellm", "py", "--peer=other=other --port $PORT"]
    assert BENCHES["requests"].parser().parse_args(words).peer[0].command == "other --port $PORT"
    assert suite.options(BENCHES["relay"]) == ["--litellm", "py"]


def told_by(program: str) -> object:
    """What this program prints, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=machine.ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


def test_a_bench_that_cannot_run_is_named_with_its_status(tmp_path: Path) -> None:
    told = told_by(f"""
import json
from pathlib import Path
from dataclasses import replace
from bench.kit.command import specs
from bench.suite import BENCHES, Suite
specs()["no_such_bench"] = specs()["startup"]
suite = Suite(Path({str(tmp_path)!r}))
suite.run(replace(BENCHES["startup"], name="no_such_bench"))
print(json.dumps([suite.troubles, suite.broken, suite.reports]))
""")
    assert told == [{"no_such_bench": "ended with status 1 and without a report"}, {"no_such_bench": 1}, {}]
    assert list(tmp_path.iterdir()) == []


def test_what_a_bench_leaves_behind_is_found_and_ended() -> None:
    told = told_by("""
import json, subprocess
from bench import suite
suite.adopt_orphans()
subprocess.run(["setsid", "sh", "-c", "sleep 60 >/dev/null 2>&1 & sleep 60 >/dev/null 2>&1 &"], check=True)
print(json.dumps([len(suite.end_orphans()), len(suite.end_orphans())]))
""")
    assert told == [2, 0]


def test_a_family_that_goes_on_forking_while_it_is_killed_is_ended_too() -> None:
    """Each process starts the next one and ends: no single look finds them all."""
    told = told_by("""
import json, subprocess, sys
from bench import suite
suite.adopt_orphans()
forking = "import os, time\\nwhile True:\\n    if os.fork(): time.sleep(0.002); os._exit(0)"
subprocess.run([sys.executable, "-c", forking], check=True)
suite.end_orphans()
print(json.dumps(suite.end_orphans()))
""")
    assert told == []


def test_a_signal_that_comes_while_a_bench_is_started_is_heard_behind_it() -> None:
    told = told_by("""
import json, signal
from bench import suite
heard = []
try:
    with suite.interrupts_deferred():
        signal.raise_signal(signal.SIGINT)
        heard.append("the end of the block")
except KeyboardInterrupt:
    heard.append("the interrupt")
print(json.dumps(heard))
""")
    assert told == ["the end of the block", "the interrupt"]


def test_only_whole_reports_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "relay.json").write_text('{"bench": "relay"}')
    (tmp_path / "storm.json").write_text('{"bench": ')
    assert suite.load(tmp_path, ["relay", "storm", "fanout"]) == {"relay": {"bench": "relay"}}
