"""Wiring: all benches as one tool.

    python -m bench run [relay fanout ttft abort memory storm growth startup | all] [--quick] [--litellm PYTHON]
    python -m bench report

`run` keeps a JSON file per bench in bench/results/, progress goes to stderr, and at the end a table on stdout says of
every target whether it was met; exit 0: all were, 1: one was missed or not measured. `report` makes a text and
pictures of what is kept.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import report, suite
from bench.kit.command import bounded
from bench.rows import MET, MISSED, ROWS, Verdict, judge, needs_packages
from bench.suite import ALL, APT, BENCHES, Settings, chosen

STYLES = {MET: "green", MISSED: "bold red"}


def run(given: argparse.Namespace) -> int:
    progress, benches = Console(stderr=True), chosen(given.benches)
    suite.adopt_orphans()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that `finally` runs
    playing = suite.Suite(given.results, Settings(given.quick, given.rounds, given.litellm))
    try:
        for number, bench in enumerate(benches, 1):
            progress.rule(f"{number}/{len(benches)} {bench.name}: {bench.question}")
            playing.run(bench)
    except KeyboardInterrupt:
        progress.print("interrupted; nothing is left running")
        return 130
    outcome, names = playing.outcome, {bench.name for bench in benches}
    verdicts = judge(outcome.reports, outcome.troubles, [row for row in ROWS if row.bench in names])
    tell(verdicts, outcome)
    return 0 if all(verdict.word == MET for verdict in verdicts) and not outcome.broken else 1


def tell(verdicts: list[Verdict], outcome: suite.Outcome) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    for source in dict.fromkeys(verdict.row.source for verdict in verdicts):
        table = Table(title=source, title_justify="left")
        for name in ("question", "target", "measured", "verdict"):
            table.add_column(name, justify="right" if name in ("target", "measured") else "left")
        for verdict in (verdict for verdict in verdicts if verdict.row.source == source):
            table.add_row(*verdict.cells, style=STYLES.get(verdict.word, "yellow"))
        console.print(table)
    for name, status in outcome.broken.items():
        console.print(f"bench {name} failed: status {status}", style="bold red", highlight=False)
    if needs_packages(outcome.reports.values()):
        console.print(f"peers are missing: {APT}", style="yellow", highlight=False)


def make_report(given: argparse.Namespace) -> int:
    return report.write(given.results)


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    act: Callable[[argparse.Namespace], int] = given.act
    return act(given)


def _bench(text: str) -> str:
    if text not in (*BENCHES, ALL):
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(BENCHES)}, {ALL}")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="All benches as one tool.")
    commands = parser.add_subparsers(required=True, metavar="run | report")
    running = commands.add_parser("run", help="measure, and compare with the targets")
    add = running.add_argument
    add("benches", nargs="*", type=_bench, metavar="BENCH", help=f"of {', '.join(BENCHES)}; or all")
    add("--quick", action="store_true", help="short rounds: to see that all works, not for figures")
    add("--rounds", type=bounded(1, 20), help="of every bench that has rounds")
    add("--litellm", default="", metavar="PYTHON", help="a python with litellm[proxy], for the relay bench")
    running.set_defaults(act=run)
    reporting = commands.add_parser("report", help="tables and pictures of what was kept")
    reporting.set_defaults(act=make_report)
    for command in (running, reporting):
        command.add_argument("--results", type=Path, default=suite.RESULTS, metavar="FOLDER", help="bench/results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
