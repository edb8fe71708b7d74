"""Shell: makes the report of the results that are kept: a text and pictures beside them.

In: a folder with the JSON files of a run. Out: report.md and the pictures in it. Invariant: the text needs no package
beyond the gateway's own; only the pictures need matplotlib, and the text is there without them.
"""

from __future__ import annotations

from pathlib import Path

from bench import report_text, suite
from bench.command import say
from bench.line_up import NAMES
from bench.readings import Report
from bench.rows import ROWS
from bench.verdicts import judge


def write(folder: Path) -> int:
    """Exit status: 1 if there is nothing to report, or matplotlib is absent."""
    reports = suite.load(folder, NAMES)
    if not reports:
        say(f"no results in {folder}: python -m bench run")
        return 1
    drawn, trouble = _drawn(folder, reports)
    verdicts = judge(reports, {}, ROWS)
    file = folder / "report.md"
    file.write_text(report_text.markdown(reports, verdicts, drawn))
    say(f"{file}: {len(reports)} of {len(NAMES)} benches, {len(drawn)} pictures")
    if trouble:
        say(trouble)
    return 1 if trouble else 0


def _drawn(folder: Path, reports: dict[str, Report]) -> tuple[list[str], str]:
    """The names of the pictures, or why there is none."""
    try:
        from bench import plots
    except ModuleNotFoundError as error:
        return [], f"no pictures: {error.name} is not installed: pip install 'rivergate[bench]'"
    return plots.draw(folder, reports), ""
