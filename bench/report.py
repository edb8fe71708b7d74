"""Shell: makes the report of the results that are kept: the targets, then the figures of every bench.

In: a folder with the JSON files of a run. Out: report.md and its pictures. Invariant: it says under which conditions
each bench ran, and of a short run that it was one. Only the pictures need matplotlib, and the text is there without.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import suite
from bench.kit.command import say
from bench.kit.tables import Report, Table, dig
from bench.rows import MISSED, Verdict, failures_of, judge, rows, tables

PICTURES = {"fanout": "Deliveries per CPU second by subscribers", "relay": "CPU per relayed event"}


def write(folder: Path) -> int:
    """Exit status: 1 if there is nothing to report, or matplotlib is absent."""
    reports, drawn, trouble = suite.load(folder, suite.UNITS), list[str](), ""
    if not reports:
        say(f"no results in {folder}: python -m bench run")
        return 1
    try:
        from bench import pictures

        drawn = pictures.draw(folder, reports)
    except ModuleNotFoundError as error:
        trouble = f"; no pictures: {error.name} is not installed: pip install 'rivergate[bench]'"
    file = folder / "report.md"
    verdicts = judge(reports, {}, rows())
    file.write_text(markdown(reports, verdicts, drawn))
    print("\n\n".join(table.aligned() for table in tables(verdicts).values()))
    say(f"{file}: {len(reports)} of {len(suite.UNITS)} runs, {len(drawn)} pictures{trouble}")
    return 1 if trouble else 0


def markdown(reports: Mapping[str, Report], verdicts: Sequence[Verdict], drawn: Sequence[str]) -> str:
    parts = ["# Results"]
    if quick := [name for name, report in reports.items() if report.get("quick")]:
        short = "ran in short rounds (`--quick`), which show that all works, no figures."
        parts.append(f"**Not final**: {', '.join(quick)} {short}")
    for source, table in tables(verdicts).items():
        parts += [f"## Targets: {source}", table.markdown().replace(f"| {MISSED}", f"| **{MISSED}**")]
    parts += ["## Conditions", _conditions(reports)]
    for name, report in reports.items():
        parts += [f"## {name}", _circumstances(report)]
        parts += [f"![{PICTURES[name]}]({name}.svg)"] if f"{name}.svg" in drawn else []
        parts += [table.markdown() for table in suite.BENCHES[report["bench"]].tables(report)]
        failures = failures_of(report).items()
        parts += [f"- **{who or name} failed**: {why.partition(chr(10))[0]}" for who, why in failures]
    return "\n\n".join(parts) + "\n"


def _conditions(reports: Mapping[str, Report]) -> str:
    """One row for each machine, commit and set of versions, as a rule one in all."""
    rows: dict[tuple[str, ...], list[str]] = {}
    versions: dict[str, str] = {}
    for name, report in reports.items():
        facts = report["machine"]
        machine = f"{facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}"
        commit = f"{facts['commit']}{' with changes' if facts['dirty'] else ''}"
        rows.setdefault((machine, commit, facts["date"][:10]), []).append(name)
        versions |= report["versions"]
    cells = [[*key, ", ".join(names)] for key, names in rows.items()]
    table = Table(("machine", "commit", "date", "benches"), cells)
    return f"{table.markdown()}\n\nVersions: {', '.join(map(' '.join, versions.items()))}."


def _circumstances(report: Report) -> str:
    asked = {name: value for name, value in report.get("options", {}).items() if value}
    lists = {name: "/".join(map(str, value)) for name, value in asked.items() if isinstance(value, list)}
    options = ", ".join(f"{name} {value}" for name, value in (asked | lists).items())
    before, after = dig(report, "machine.load_average_before"), report.get("load_average_after")
    loads = f"load average {before} before" + (f", {after:.2f} after" if isinstance(after, float) else "")
    return f"{dig(report, 'machine.date')}, {report.get('seconds', 0):.0f} s; {options}; {loads}."
