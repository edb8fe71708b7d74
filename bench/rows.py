"""Shell: the targets of bench/targets.toml, judged by what the benches have measured.

In: the JSON that the benches have written. Out: a verdict per row. Invariant: whoever tells of a target, a bench, the
suite's table or the report, has it from here; a figure that was taken under other conditions than its row names is no
figure, and a row without a figure says why.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from bench.kit.tables import Report, Table, dig, number, shown

DESIGN, BEYOND = "DESIGN.md section 7", "beyond it"
MET, MISSED, NOT_MEASURED = "met", "MISSED", "not measured"
HEAD = ("target", "measured", "verdict", "peers beside it")
LOAD_LATE_MS = 1.0  # beyond this the machine has delayed the load itself
RATE_KEPT = 0.97  # of the events that were due in the window


@dataclass(frozen=True, slots=True)
class Row:
    """A question and its target; bench/targets.toml says what the fields mean."""

    bench: str
    question: str
    figure: str
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""
    minus: str = ""
    over: str = ""
    factor: float = 1.0
    part: str = ""
    rate_of: str = ""
    load_late: str = ""
    options: Mapping[str, float] = field(default_factory=dict)
    needs: str = ""
    beyond: bool = False

    @property
    def target(self) -> str:
        bounds = (("<=", self.at_most), (">=", self.at_least))
        return " ".join(f"{sign} {shown(bound)}{self.unit}" for sign, bound in bounds if bound is not None)

    @property
    def source(self) -> str:
        return BEYOND if self.beyond else DESIGN

    def read(self, report: Report) -> float | None:
        """The figure of a report, None if it has none."""
        found, minus, over = (number(report, path) for path in (self.figure, self.minus or "0", self.over or "1"))
        if found is None or (self.minus and minus is None) or (self.over and not over):
            return None
        return (found - (minus or 0.0)) / (over or 1.0) * self.factor

    def beside(self, report: Report) -> str:
        """The same figure of the gateway's peers in a report."""
        peers, _, rest = self.figure.partition(".gateway.")
        names = [name for name in (rest and dig(report, peers)) or () if name != "gateway"]
        found = {name: replace(self, figure=f"{peers}.{name}.{rest}").read(report) for name in names}
        return ", ".join(f"{name} {shown(value)}" for name, value in found.items() if value is not None)


@lru_cache
def rows() -> tuple[Row, ...]:
    """Every target, in the order of the file."""
    tables = tomllib.loads(Path(__file__).with_name("targets.toml").read_text())
    return tuple(Row(bench, **row) for bench, rows in tables.items() for row in rows)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`value` None: not measured, and `why`; `beside`: what the peers have reached, as text."""

    row: Row
    value: float | None
    why: str = ""
    beside: str = ""

    @property
    def word(self) -> str:
        at_most, at_least, value = self.row.at_most, self.row.at_least, self.value
        if value is None:
            return NOT_MEASURED
        met = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
        return MET if met else MISSED

    @property
    def cells(self) -> list[str]:
        """The question, and what stands under `HEAD`."""
        figure = "-" if self.value is None else f"{shown(self.value)}{self.row.unit}"
        word = f"{self.word}: {self.why}" if self.why else self.word
        return [self.row.question, self.row.target, figure, word, self.beside]


def judge(reports: Mapping[str, Report], troubles: Mapping[str, str], rows: Iterable[Row]) -> list[Verdict]:
    """A verdict for each row. `troubles`: why a bench has no report."""
    return [_verdict(row, reports.get(row.bench), troubles.get(row.bench, "not run")) for row in rows]


def of_bench(name: str, report: Report) -> list[Verdict]:
    """The verdicts that one bench can give, with all its parts or with those that it was asked for."""
    asked = report.get("options", {}).get("only")
    parts = [(row, *row.bench.partition(".")) for row in rows()]
    found = [row for row, bench, _, part in parts if bench == name and (not part or not asked or part in asked)]
    return judge({row.bench: report for row in found}, {}, found)


def tables(verdicts: Iterable[Verdict]) -> dict[str, Table]:
    """The verdicts, by the source of their targets."""
    found: dict[str, list[list[str]]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.row.source, []).append(verdict.cells)
    return {source: Table((source, *HEAD), cells) for source, cells in found.items()}


def _verdict(row: Row, report: Report | None, trouble: str) -> Verdict:
    if report is None:
        return Verdict(row, None, f"{row.bench}: {trouble}")
    asked = report.get("options", {})
    others = [f"{name} was {asked.get(name)}" for name, wanted in row.options.items() if asked.get(name) != wanted]
    others += [_disturbed(row.load_late, report)] * bool(row.load_late)
    others += [_slow(name, report) for name in ("gateway", row.rate_of) if row.rate_of]
    why = "; ".join(filter(None, others))
    value = None if why else row.read(report)
    return Verdict(row, value, why if why or value is not None else _reason(row, report), row.beside(report))


def _disturbed(figure: str, report: Report) -> str:
    """Whether the load was late without any peer, so that the lateness of a peer says nothing."""
    late = number(report, figure)
    return f"the load alone was {shown(late)} ms late" if late is not None and late > LOAD_LATE_MS else ""


def _slow(peer: str, report: Report) -> str:
    """Whether this peer was given, or took, less than the rate: late events come together, and those are cheaper, so
    that a CPU per event of such a run flatters."""
    kept = number(report, f"peers.{peer}.rate_kept")
    return f"{peer} had {kept:.0%} of the rate" if kept is not None and kept < RATE_KEPT else ""


def _reason(row: Row, report: Report) -> str:
    """The failure of the part that was needed, or of the gateway, or what the run lacks."""
    failures = failures_of(report)
    for name in [name for name in (row.part, "gateway") if name in failures]:
        return f"{name}: {failures[name].partition(chr(10))[0].removeprefix(f'{name}: ')}"
    needs = row.needs or f"{row.bench} has no such figure"
    return "litellm: give --litellm PYTHON" if row.part == "litellm" else needs


def failures_of(report: Report) -> dict[str, str]:
    """Who failed in a bench, and why."""
    found = dict(report.get("failures") or {})
    for size in (report.get("sizes") or {}).values():
        found = {**size.get("failures", {}), **found}
    return found
