"""Wiring: all benches as one tool.

    python -m bench run [relay requests fanout ttft … | all] [--quick] [--litellm PYTHON]
    python -m bench report

`run` keeps a JSON file per bench, or part of one, in bench/results/, progress goes to stderr, and at the end a table
on stdout says of every target whether it was met; exit 0: all were, 1: one was missed or not measured. `report`
prints the table of what is kept, and makes a text and pictures of it.
"""

import argparse
import signal
import sys
from pathlib import Path

from bench import report
from bench.kit.command import say, several
from bench.rows import MET, judge, rows, tables
from bench.suite import ALL, BENCHES, PARTS, RESULTS, Suite, adopt_orphans, chosen


def run(given: argparse.Namespace) -> int:
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that `finally` runs
    benches = chosen(given.benches)
    suite = Suite(given.results, given.quick, given.rounds, given.litellm, given.peer, given.parts)
    try:
        for number, bench in enumerate(benches, 1):
            say(f"── {number}/{len(benches)} {bench.name}: {bench.question}")
            suite.run(bench)
    except KeyboardInterrupt:
        say("interrupted; nothing is left running")
        return 130
    asked = {*suite.reports, *suite.troubles}
    verdicts = judge(suite.reports, suite.troubles, [row for row in rows() if row.bench in asked])
    for table in tables(verdicts).values():
        print(f"\n{table.aligned()}")
    for name, status in suite.broken.items():
        print(f"\nbench {name} failed: status {status}")
    return 0 if all(verdict.word == MET for verdict in verdicts) and not suite.broken else 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="All benches as one tool.")
    commands = parser.add_subparsers(required=True, metavar="run | report")
    running = commands.add_parser("run", help="measure, and compare with the targets")
    add, names = running.add_argument, [*BENCHES, ALL]
    add("benches", nargs="*", choices=names, metavar="BENCH", help=f"of {', '.join(names)}")
    add("--quick", action="store_true", help="short rounds: to see that all works, not for figures")
    add("--rounds", type=int, help="of every bench that has rounds")
    add("--parts", type=several(PARTS), default=[], metavar="A,B", help=f"of requests: {', '.join(PARTS)}; else all")
    add("--litellm", default="", metavar="PYTHON", help="a python with litellm[proxy], for relay and requests")
    peer_help = "a gateway, for requests and startup"
    add("--peer", action="append", default=[], metavar="NAME[@MODEL]=COMMAND", help=peer_help)
    reporting = commands.add_parser("report", help="the targets, tables and pictures of what was kept")
    running.set_defaults(act=run)
    reporting.set_defaults(act=lambda given: report.write(given.results))
    for command in (running, reporting):
        command.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="bench/results")
    given = parser.parse_args(arguments)
    return int(given.act(given))


if __name__ == "__main__":
    sys.exit(main())
