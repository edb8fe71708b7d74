"""Pure: the report as Markdown: the targets, then the figures of every bench with their spread.

In: the JSON of the benches, verdicts, the names of the pictures. Out: a text. Invariant: it says under which
conditions each bench ran, and of a short run that it was one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.readings import Report, dig
from bench.report_tables import TABLES, Table
from bench.verdicts import MET, MISSED, Verdict, failures_of

MARKS = {MET: "met", MISSED: "**MISSED**"}
PICTURES = {
    "fanout.svg": "Deliveries per CPU second by subscribers",
    "relay.svg": "CPU per relayed event",
    "ttft.svg": "Time to first token added by each peer",
    "hedging.svg": "Time to first token with and without hedging",
    "growth.svg": "How costs grow",
}
OF_BENCH = {"fanout": ("fanout.svg",), "relay": ("relay.svg", "ttft.svg"), "ttft": ("hedging.svg",)}
OF_BENCH |= {"growth": ("growth.svg",)}


def markdown(reports: Mapping[str, Report], verdicts: Sequence[Verdict], pictures: Sequence[str]) -> str:
    parts = ["# Results", _warning(reports), *_targets(verdicts), "## Conditions", _conditions(reports)]
    for name, report in reports.items():
        parts += [f"## {name}", _line(report)]
        parts += [f"![{PICTURES[one]}]({one})" for one in OF_BENCH.get(name, ()) if one in pictures]
        parts += [_table(table) for table in TABLES[name](report)]
        parts += [
            f"- **{who or name} failed**: {why.partition(chr(10))[0]}" for who, why in failures_of(report).items()
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _warning(reports: Mapping[str, Report]) -> str:
    quick = [name for name, report in reports.items() if report.get("quick")]
    if not quick:
        return ""
    return (
        f"**Not final**: {', '.join(quick)} ran in short rounds (`--quick`), which show that all works, no figures."
    )


def _targets(verdicts: Sequence[Verdict]) -> Iterable[str]:
    for source in dict.fromkeys(one.row.source for one in verdicts):
        rows = [_verdict(one) for one in verdicts if one.row.source == source]
        yield f"## Targets: {source}"
        yield _table(Table(("question", "target", "measured", "verdict"), rows, figures=False))


def _verdict(one: Verdict) -> list[str]:
    mark = MARKS.get(one.word, one.word)
    return [one.row.question, one.row.target, one.figure, f"{mark}: {one.why}" if one.why else mark]


def _conditions(reports: Mapping[str, Report]) -> str:
    """One row for each machine, commit and set of versions, as a rule one in all."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, report in reports.items():
        facts = report.get("machine", {})
        machine = f"{facts.get('cpu')}, {facts.get('cores')} cores, Linux {facts.get('kernel')}"
        commit = f"{facts.get('commit')}{' with changes' if facts.get('dirty') else ''}"
        rows.setdefault((machine, commit, str(facts.get("date"))[:10]), []).append(name)
    versions: dict[str, str] = {}
    for report in reports.values():
        versions |= report.get("versions", {})
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    told_rows = [[*key, ", ".join(names)] for key, names in rows.items()]
    table = Table(("machine", "commit", "date", "benches"), told_rows, figures=False)
    return f"{_table(table)}\n\nVersions: {told}."


def _line(report: Report) -> str:
    options = ", ".join(f"{name} {_plain(value)}" for name, value in report.get("options", {}).items() if value)
    before, after = dig(report, "machine", "load_average_before"), report.get("load_average_after")
    loads = f"load average {before} before" + (f", {after:.2f} after" if isinstance(after, float) else "")
    return f"{dig(report, 'machine', 'date')}, {report.get('seconds', 0):.0f} s; {options}; {loads}."


def _plain(value: object) -> str:
    return "/".join(map(str, value)) if isinstance(value, list) else str(value)


def _table(table: Table) -> str:
    lines = [table.head, ["---", *["---:" if table.figures else "---"] * (len(table.head) - 1)], *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
