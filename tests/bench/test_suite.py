"""The suite names benches that fail and ends what they leave behind; each test runs it in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

from bench import machine, suite


def told_by(program: str) -> object:
    """The JSON that this program prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=machine.ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


def test_a_bench_that_cannot_run_is_named_with_its_status(tmp_path: Path) -> None:
    result = told_by(f"""
import json
from pathlib import Path
from bench.line_up import Entry, Wish
from bench.suite import Suite
playing = Suite(Path({str(tmp_path)!r}), Wish())
playing.run(Entry("no_such_bench", ""))
print(json.dumps([playing.outcome.troubles, playing.outcome.broken, playing.outcome.reports]))
""")
    assert result == [{"no_such_bench": "ended with status 1 and without a report"}, {"no_such_bench": 1}, {}]
    assert list(tmp_path.iterdir()) == []


def test_what_a_bench_leaves_behind_is_found_and_ended() -> None:
    result = told_by("""
import json, subprocess
from bench import suite
suite.adopt_orphans()
subprocess.run(["setsid", "sh", "-c", "sleep 60 >/dev/null 2>&1 & sleep 60 >/dev/null 2>&1 &"], check=True)
print(json.dumps([len(suite.end_orphans()), len(suite.end_orphans())]))
""")
    assert result == [2, 0]


def test_a_family_that_goes_on_forking_while_it_is_killed_is_ended_too() -> None:
    """Each process starts the next process and ends: no single look finds them all."""
    result = told_by("""
import json, subprocess, sys
from bench import suite
suite.adopt_orphans()
forking = "import os, time\\nwhile True:\\n    if os.fork(): time.sleep(0.002); os._exit(0)"
subprocess.run([sys.executable, "-c", forking], check=True)
suite.end_orphans()
print(json.dumps(suite.end_orphans()))
""")
    assert result == []


def test_a_signal_that_comes_while_a_bench_is_started_is_heard_behind_it() -> None:
    result = told_by("""
import json, signal
from bench import suite
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with SIGINT ignored
heard = []
try:
    with suite.interrupts_deferred():
        signal.raise_signal(signal.SIGINT)
        heard.append("the end of the block")
except KeyboardInterrupt:
    heard.append("the interrupt")
print(json.dumps(heard))
""")
    assert result == ["the end of the block", "the interrupt"]


def test_only_whole_reports_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "relay.json").write_text('{"bench": "relay"}')
    (tmp_path / "storm.json").write_text('{"bench": ')
    assert suite.load(tmp_path, ["relay", "storm", "fanout"]) == {"relay": {"bench": "relay"}}
