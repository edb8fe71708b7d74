"""Shell: what a bench is: a question with options, a measurement and tables; and its command line.

In: options. Out: progress and tables on stderr, one line of JSON on stdout. Invariant: SIGTERM ends a bench as an
exception does, so that every `with` block and `finally` has its turn; a fault of one peer does not end the bench.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bench import rows
from bench.kit import machine, peers
from bench.kit.check import Broken
from bench.kit.processes import PeerFailed
from bench.kit.tables import Table

FAULTS = (PeerFailed, Broken, OSError, subprocess.SubprocessError)
SECRET = ("header", "litellm")  # options that no report repeats
Report = Mapping[str, Any]
Given = argparse.Namespace


@dataclass(frozen=True, slots=True)
class Option:
    """`kind` turns the text of the command line into the value."""

    name: str
    kind: Callable[[str], Any]
    default: Any
    help: str
    metavar: str | None = None
    repeated: bool = False  # may stand several times; the value is a list

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        action: dict[str, Any] = {"action": "append"} if self.repeated else {}
        parser.add_argument(
            self.name, type=self.kind, default=self.default, help=self.help, metavar=self.metavar, **action
        )


@dataclass(frozen=True, slots=True)
class Bench:
    """A question. `measure` takes the options and the two cores, and returns the figures and `failures` by name.

    `needed`: the peers whose failure is the bench's; empty: anybody's is.
    """

    name: str
    about: str  # the docstring of its module
    options: Sequence[Option]
    measure: Callable[[Given, tuple[int, int]], dict[str, Any]]
    tables: Callable[[Report], list[Table]]
    packages: Sequence[str] = ("uvloop", "aiohttp", "httptools", "rivergate")
    needed: Sequence[str] = ()
    quick: Sequence[str] = ()  # options of a short run

    @property
    def question(self) -> str:
        return self.about.partition("\n")[0].partition(": ")[2]

    def main(self, arguments: list[str] | None = None) -> int:
        """Exit status: 1 if a peer failed that is needed."""
        given = self.parser().parse_args(arguments)
        asked = vars(given)
        file = asked.pop("json")
        facts = {"bench": self.name, "machine": machine.facts(), "versions": peers.versions(*self.packages)}
        machine.raise_open_files()
        cores = machine.take_cores()
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        found = self.measure(given, cores)
        options = {name: value for name, value in asked.items() if name not in SECRET}
        report = facts | {"options": options, "peer_core": cores[0], "load_core": cores[1]} | found
        report["load_average_after"] = os.getloadavg()[0]
        for table in self.tables(report):
            say(f"\n{table.aligned()}")
        failures = rows.failures_of(report)
        say("".join(f"\n{name or self.name} FAILED: {why}\n" for name, why in failures.items()))
        self._tell(report, file)
        counted = failures.keys() - set(found.get("skipped", ()))
        return int(bool(counted & set(self.needed or failures)))

    def _tell(self, report: dict[str, Any], file: Path | None) -> None:
        """The targets to stderr; the report and what became of them to stdout and into the file."""
        verdicts = rows.of_bench(self.name, report)
        if verdicts:
            say(Table(("gateway", "target", "figure", "verdict"), [one.cells for one in verdicts]).aligned() + "\n")
        line = json.dumps({**report, "targets": [verdict.as_json() for verdict in verdicts]})
        print(line, flush=True)
        if file:
            file.write_text(line + "\n")

    def parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(prog=f"python -m bench.{self.name}", description=self.question)
        for option in self.options:
            option.add_to(parser)
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the line of JSON here too")
        return parser


def bounded(low: float, high: float, kind: type[int] | type[float] = int) -> Callable[[str], float]:
    """The kind of an option: a number from `low` to `high`."""

    def number(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low:g} to {high:g}")
        return value

    return number


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """The kind of an option: one of these names."""
    return lambda text: several(names)(text)[0]


def several(names: Iterable[str]) -> Callable[[str], list[str]]:
    """The kind of an option: some of these names, with commas between."""
    known = list(names)

    def chosen(text: str) -> list[str]:
        if unknown := set(text.split(",")) - set(known):
            raise argparse.ArgumentTypeError(f"unknown {sorted(unknown)}, there are {', '.join(known)}")
        return text.split(",")

    return chosen


def sizes(text: str) -> list[int]:
    """The kind of an option: numbers of subscribers, with commas between."""
    return [int(bounded(1, 50_000)(size)) for size in text.split(",")]


def say(text: str) -> None:
    """Progress, and tables."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def reporting(failures: dict[str, str], name: str, step: str = "") -> Iterator[None]:
    """Whoever fails in the block is noted, and told."""
    try:
        yield
    except FAULTS as error:
        failures[name] = f"{step}: {error}" if step else str(error) or type(error).__name__
        say(f"FAILED: {name}: {failures[name]}")


class Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


def take_turns(step: str, subjects: list[N], turn: Callable[[N], object], failures: dict[str, str]) -> None:
    """A turn of each; who fails is taken out of the list."""
    say(f"{step}: {', '.join(subject.name for subject in subjects)}")
    for subject in list(subjects):
        with reporting(failures, subject.name, step):
            turn(subject)
        if subject.name in failures:
            subjects.remove(subject)
