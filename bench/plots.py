"""Shell: none yet."""

from pathlib import Path

from bench.readings import Report


def draw(folder: Path, reports: dict[str, Report]) -> list[str]:
    return []
