"""Shell: what a bench is: a question, a measurement and its entry in bench/benches.toml; and its command line.

In: options. Out: progress and tables on stderr, one line of JSON on stdout. Invariant: SIGTERM ends a bench as an
exception does, so that every `with` block and `finally` has its turn; a fault of one peer does not end the bench.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from bench import rows
from bench.kit import machine
from bench.kit.load import Load, Plan
from bench.kit.peers import DIRECT, Peer, PeerFailure, Server, started
from bench.kit.script import BrokenStream, Target
from bench.kit.tables import Report, Table

OF_THIS_MACHINE = ("litellm", "peer")  # options that name programs and their folders
FAULTS = (PeerFailure, BrokenStream, OSError, subprocess.SubprocessError)
Given = argparse.Namespace
Kind = Callable[[str], Any]
E = TypeVar("E")
P = ParamSpec("P")


@lru_cache
def specs() -> Mapping[str, Any]:
    return tomllib.loads((machine.ROOT / "bench" / "benches.toml").read_text())


@dataclass(frozen=True, slots=True)
class Bench:
    """`measure` takes the options and the two cores, and returns the figures, and `failures` by name."""

    name: str
    about: str | None  # the docstring of its module, which begins with the question
    measure: Callable[[Given, tuple[int, int]], dict[str, Any]]
    kinds: Mapping[str, Kind] = field(default_factory=dict)  # of options that only this bench has

    @property
    def spec(self) -> Mapping[str, Any]:
        return dict(specs()[self.name])

    @property
    def question(self) -> str:
        return (self.about or "").partition("\n")[0].partition(": ")[2]

    def run_as(self, module: str) -> None:
        """Run this bench, and end the process, if its module is the program. `module`: the module's `__name__`."""
        if module == "__main__":
            sys.exit(self.main())

    def main(self, arguments: list[str] | None = None) -> int:
        """Exit status: 1 if a peer failed that is needed."""
        asked = vars(given := self._asked(arguments))
        file = asked.pop("json")
        facts: Report = {"bench": self.name, "machine": machine.facts(), "versions": machine.versions()}
        machine.raise_open_files()
        cores = machine.take_cores()
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        found = self.measure(given, cores)
        options = {name: value for name, value in asked.items() if name not in OF_THIS_MACHINE}
        after = {"load_average_after": os.getloadavg()[0], "peer_core": cores[0], "load_core": cores[1]}
        report = {**facts, "options": options, **after, **found}
        self._tell(report, file)
        failed = set(rows.failures_of(report))
        return int(bool(failed & set(self.spec.get("needed", failed))))

    def units(self, parts: Sequence[str] = ()) -> dict[str, list[str]]:
        """What the suite runs and keeps apart, by name, with its options: `parts` of this bench, or all of it."""
        asked = [part for part in self.spec.get("parts", ()) if part in parts or not parts]
        return {f"{self.name}.{part}": ["--only", part] for part in asked} or {self.name: []}

    def tables(self, report: Report) -> list[Table]:
        return [table for spec in self.spec["tables"] if (table := Table.of(report, spec)).rows]

    def _tell(self, report: dict[str, Any], file: Path | None) -> None:
        """Tables and targets to stderr; the report to stdout and into the file."""
        verdicts = rows.of_bench(self.name, report)
        failures = [f"{name} FAILED: {why}" for name, why in rows.failures_of(report).items()]
        tables = [*self.tables(report), *rows.tables(verdicts).values()]
        say("\n" + "\n\n".join([*failures, *(table.aligned() for table in tables)]) + "\n")
        line = json.dumps(report)
        print(line, flush=True)
        if file:
            file.write_text(line + "\n")

    def parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(prog=f"python -m bench.{self.name}", description=self.question)
        for name, spec in self.spec["options"].items():
            kinds = {"int": int, "float": float, "text": str, "names": several(spec.get("among", ())), "sizes": sizes}
            shape: dict[str, Any] = {key: spec.get(key) for key in ("default", "metavar")}
            shape |= {"type": (kinds | dict(self.kinds))[spec["kind"]], "help": spec["help"].replace("%", "%%")}
            shape |= {"action": "append"} if spec.get("repeated") else {}
            parser.add_argument(name if spec.get("positional") else f"--{name}", **shape)
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the line of JSON here too")
        return parser

    def _asked(self, arguments: list[str] | None) -> Given:
        """The options, within their ranges."""
        parser = self.parser()
        given = parser.parse_args(arguments)
        for name, spec in self.spec["options"].items():
            if "min" in spec and not spec["min"] <= getattr(given, name.replace("-", "_")) <= spec["max"]:
                parser.error(f"--{name} must be from {spec['min']:g} to {spec['max']:g}")
        return given


def several(among: Iterable[str]) -> Kind:
    """Some of these names, with commas between."""

    def kind(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(among):
            raise argparse.ArgumentTypeError(f"unknown {sorted(unknown)}, there are {', '.join(among)}")
        return names

    return kind


def sizes(text: str) -> list[int]:
    """Numbers of subscribers, with commas between."""
    return list(map(int, text.split(",")))


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


def rounds(given: Given) -> Iterator[str]:
    """The label of each round that was asked for."""
    return (f"round {number}/{given.rounds}" for number in range(1, given.rounds + 1))


@dataclass(slots=True)
class Turns(Generic[E]):
    """Whoever takes turns, by name, under the label of a round; who fails is taken out, and noted."""

    label: str
    failures: dict[str, str]
    entries: dict[str, E] = field(default_factory=dict)

    def take(self, step: str, turn: Callable[Concatenate[E, P], object], *args: P.args, **kwargs: P.kwargs) -> None:
        """A turn of each."""
        step = f"{self.label}: {step}"
        say(f"{step}: {', '.join(self.entries)}")
        for name, entry in list(self.entries.items()):
            with reporting(self.failures, name, step):
                turn(entry, *args, **kwargs)
            if name in self.failures:
                del self.entries[name]

    def reverse(self) -> None:
        """Whoever was last is first from now on."""
        self.entries = dict(reversed(self.entries.items()))


@contextlib.contextmanager
def servers(turns: Turns[Server], load: Load, peers: Iterable[Peer], core: int, plan: Plan) -> Iterator[None]:
    """Whoever has not failed yet is started, has a first turn with this plan, and waits, frozen, for its turns.
    "direct", the load alone, is first."""
    with contextlib.ExitStack() as stack:
        turns.entries[DIRECT] = Server(DIRECT, Target(load.port))
        for peer in [peer for peer in peers if peer.name not in turns.failures]:
            say(f"starting {peer.name}")
            with reporting(turns.failures, peer.name):
                turns.entries[peer.name] = stack.enter_context(started(peer, load.port, core, load.serve))
                turns.entries[peer.name].freeze()
        turns.take("warm-up", Server.run, load, plan)
        yield
