"""Pure: rows, each a question with its target, and the verdicts that the JSON of the benches gives on them.

In: rows, reports of benches. Out: verdicts. Invariant: a figure that was taken under other conditions than its row
names is no figure, and a row without one says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field

from bench.readings import Reader, Report

DESIGN, BEYOND = "DESIGN.md section 7", "beyond it"
MET, MISSED, NOT_MEASURED = "met", "MISSED", "not measured"


@dataclass(frozen=True, slots=True)
class Row:
    """A question, the bench that answers it, where the answer stands, and what it must be."""

    bench: str
    question: str
    limit: float
    read: Reader
    unit: str = ""
    at_least: bool = False
    part: str = ""  # a peer beside the gateway, or a part of the run, that the figure cannot do without
    fault: Callable[[Report], str] = lambda report: ""  # why the figure means nothing, "" if it does
    options: Mapping[str, float] = field(default_factory=dict)  # of the bench, as the question names them
    needs: str = ""  # what a run lacks that has no such figure
    source: str = DESIGN

    @property
    def target(self) -> str:
        return f"{'>=' if self.at_least else '<='} {shown(self.limit)}{self.unit}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`value` None: not measured, and `why`."""

    row: Row
    value: float | None
    why: str = ""

    @property
    def word(self) -> str:
        if self.value is None:
            return NOT_MEASURED
        met = self.value >= self.row.limit if self.row.at_least else self.value <= self.row.limit
        return MET if met else MISSED

    @property
    def figure(self) -> str:
        return "-" if self.value is None else f"{shown(self.value)}{self.row.unit}"

    @property
    def cells(self) -> list[str]:
        """The question, its target, the figure, the verdict."""
        word = f"{self.word}: {self.why}" if self.why else self.word
        return [self.row.question, self.row.target, self.figure, word]

    def as_json(self) -> dict[str, object]:
        kept = {name: value for name, value in asdict(self.row).items() if name not in ("read", "fault")}
        return {**kept, "value": self.value, "verdict": self.word, "why": self.why}


def shown(value: float) -> str:
    """Three digits that count, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def judge(reports: Mapping[str, Report], troubles: Mapping[str, str], rows: Iterable[Row]) -> list[Verdict]:
    """A verdict for each row. `troubles`: why a bench has no report."""
    return [_verdict(row, reports.get(row.bench), troubles.get(row.bench, "not run")) for row in rows]


def _verdict(row: Row, report: Report | None, trouble: str) -> Verdict:
    if report is None:
        return Verdict(row, None, f"{row.bench}: {trouble}")
    asked = report.get("options", {})
    others = [f"{name} was {asked.get(name)}" for name, wanted in row.options.items() if asked.get(name) != wanted]
    others += [why for why in (row.fault(report),) if why]
    value = None if others else row.read(report)
    return Verdict(row, value, "" if value is not None else "; ".join(others) or _reason(row, report))


def _reason(row: Row, report: Report) -> str:
    """The failure of the part that was needed, or of the gateway, or what the run lacks."""
    failures = failures_of(report)
    for name in (row.part, "gateway", ""):
        if name in failures:
            named = name or row.bench
            return f"{named}: {_first_line(failures[name]).removeprefix(f'{named}: ')}"
    if row.part == "litellm":
        return "litellm: give --litellm PYTHON"
    return row.needs or f"{row.bench} has no such figure"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def failures_of(report: Report) -> dict[str, str]:
    """Who failed in a bench, and why; the bench itself is ""."""
    found = dict(report.get("failures") or {})
    for size in (report.get("sizes") or {}).values():
        found = {**size.get("failures", {}), **found}
    found |= dict.fromkeys(report.get("skipped") or (), "not installed")
    return found | ({"": report["failure"]} if report.get("failure") else {})


def needs_packages(reports: Iterable[Report]) -> bool:
    """Whether a peer was missing that a package would bring."""
    return any(
        name in ("nginx", "nchan", "c") and any(word in why for word in ("not installed", "No such file", "no gcc"))
        for report in reports
        for name, why in failures_of(report).items()
    )
