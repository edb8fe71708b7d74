"""Pure: where a figure stands in the JSON of a bench.

In: the path to it. Out: a reader, a function from the report to the figure. Invariant: what a report does not have
is None, whatever is missing on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Report = Mapping[str, Any]  # the JSON of one bench
RATE_KEPT = 0.97  # of the events that were due in the window
Reader = Callable[[Report], float | None]


def dig(report: Any, *path: str) -> Any:
    """What stands at this path, None if nothing does."""
    for name in path:
        if not isinstance(report, Mapping):
            return None
        report = report.get(name)
    return report


def number(*path: str, factor: float = 1.0) -> Reader:
    """The figure at this path: a number, or the median of a spread."""

    def read(report: Report) -> float | None:
        found = dig(report, *path)
        found = found.get("median") if isinstance(found, Mapping) else found
        return found * factor if isinstance(found, int | float) else None

    return read


def worst(*path: str) -> Reader:
    """The highest p99 of all kinds at this path."""

    def read(report: Report) -> float | None:
        values = [kind["p99_ms"] for kind in (dig(report, *path) or {}).values() if kind]
        return max(values, default=None)

    return read


def difference(above: Reader, below: Reader) -> Reader:
    def read(report: Report) -> float | None:
        high, low = above(report), below(report)
        return None if high is None or low is None else high - low

    return read


def quotient(above: Reader, below: Reader) -> Reader:
    def read(report: Report) -> float | None:
        high, low = above(report), below(report)
        return None if high is None or not low else high / low

    return read


def rate_not_kept(peer: str, report: Report) -> str:
    """Who of the gateway and this peer was given, or took, less than the rate: late events come together, and those
    are cheaper, so that a CPU per event of such a run flatters.
    """
    for name in ("gateway", peer):
        kept = number("peers", name, "rate_kept")(report)
        if kept is not None and kept < RATE_KEPT:
            return f"{name} had {kept:.0%} of the rate"
    return ""


def faults(size: str, report: Report) -> float | None:
    """0: everybody got every event, in order, exactly once; one fault ends a run, so that there is never more."""
    if dig(report, "sizes", size, "peers", "gateway", "latency_p99_ms"):
        return 0.0
    failure = dig(report, "sizes", size, "failures", "gateway") or ""
    return None if not failure or ", join" in failure else 1.0
