"""Pure: the tables of `rivergate top`, and the words in which it writes values.

In: parts of a snapshot (`GET /v1/feeds/statistics/events`). Out: something that rich prints. The invariant: neither
markup nor control characters of the snapshot reach the terminal.
"""

import datetime
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from gateway.commands.top_history import LEVELS
from gateway.endings import Ending

WIDE = 112  # a terminal with this many columns or more shows the ids of streams whole
WIDER = 126  # a terminal with this many columns or more shows the dialects of streams, too
NONE = "-"
STYLES = {  # the colours of states, breakers and endings; a word that is missing here is yellow
    **{ending.value: "bold red" for ending in Ending if ending.is_fault},
    Ending.COMPLETED.value: "green",
    "streaming": "cyan",
    "closed": "green",
    "live": "green",
    "open": "bold red",
}

Snapshot = Mapping[str, Any]


def plain(value: object) -> Text:
    """A value as text without markup, its control characters spelt out."""
    return Text("".join(c if c.isprintable() else f"[U+{ord(c):04X}]" for c in str(value)))


def milliseconds(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.3g} s"


def duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def summary(bounds: Sequence[int], counts: Sequence[int]) -> str:
    """The bounds within which half of the measurements are, and 95 % of them."""
    if not sum(counts):
        return "none yet"

    def within(share: float) -> str:
        left = share * sum(counts)
        for bound, count in zip(bounds, counts, strict=False):
            left -= count
            if left <= 0:
                return f"within {milliseconds(bound)}"
        return f"over {milliseconds(bounds[-1])}"

    if sum(counts) == 1:
        return f"1 completion: {within(1)}"
    return f"{sum(counts)} completions: half {within(0.5)}, 95 % {within(0.95)}"


def number(value: float | None, digits: int = 0) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"


def word(name: str) -> Text:
    text = plain(name.replace("_", " "))
    text.stylize(STYLES.get(name, "yellow"))
    return text


def head_line(now: Snapshot, state: str) -> Text:
    mode = "open to this machine" if now["open_mode"] else "with API keys"
    parts = [plain(f"Rivergate {now['version']}"), word(state), Text(f"up {duration(now['uptime_seconds'])}")]
    draining = [] if now["ready"] else [Text("draining", "bold red")]
    return Text("  ").join([*parts, Text(mode), *draining])


def figures_table(now: Snapshot, columns: int) -> Table:
    ledger, sends = now["ledger"], now["sends"]
    shown = [
        ("deliveries", number(now["deliveries"])),
        ("per send", number(now["deliveries"] / sends if sends else None, 2)),
        ("requests", number(now["requests"])),
        ("refused", number(now["refusals"])),
        ("hedges", number(now["hedges"])),
        ("budget misses", number(now["budget_misses"])),
        ("lagged readers", number(now["lagged_readers"])),
        ("ran for nobody", duration(now["orphan_seconds"])),
        ("loop lag", milliseconds(now["loop_lag_ms"])),
        ("connections", number(now["connections"])),
        ("open files", number(now["open_fds"])),
        ("unwritten", number(ledger["unwritten"])),
        ("ledger", ledger["failure"] or "ok"),
    ]
    table = Table.grid(padding=(0, 1), expand=False)
    for _ in range(columns):
        table.add_column(style="dim")
        table.add_column(justify="right", min_width=8)
    for row in _rows(shown, columns):
        table.add_row(*[cell for label, value in row for cell in (Text(label), plain(value))])
    return table


def _rows(values: Iterable[tuple[str, str]], width: int) -> Iterable[list[tuple[str, str]]]:
    left = iter(values)
    while row := list(islice(left, width)):
        yield row


def distribution_lines(name: str, histogram: Mapping[str, Sequence[int]]) -> Text:
    bounds, counts = histogram["bounds"], histogram["counts"]
    most = max(1, *counts)
    labels = [*(f"{bound}" if bound < 1000 else f"{bound // 1000}s" for bound in bounds), "more"]
    line = Text(f"{name:<5}{summary(bounds, counts)}\n     ")
    for label, count in zip(labels, counts, strict=True):
        level = LEVELS[math.ceil(count / most * (len(LEVELS) - 1))] if count else " "
        line.append(f"{label} ", "dim").append(f"{level} ", "cyan")
    return line


def endings_line(counts: Mapping[str, int]) -> Text:
    shown = sorted(counts.items(), key=lambda item: -item[1])
    line = Text("ended  ", "dim")
    for name, count in shown:
        line.append_text(word(name)).append(f" {count:,}   ")
    return line if shown else line.append("none yet")


def upstreams_table(upstreams: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("upstream", "model", "breaker", *(f">{name}" for name in ("p50", "p95", "tok/s", "fails", "now")))
    for upstream in upstreams:
        breaker = word(upstream["breaker"])
        if upstream["wait_seconds"]:
            breaker.append(f", {duration(upstream['wait_seconds'])}", "red")
        times = (
            milliseconds(upstream["ttft_p50_ms"]),
            milliseconds(upstream["ttft_p95_ms"]),
            number(upstream["tps_p50"], 1),
        )
        share = f"{100 * upstream['error_rate']:.1f} %"
        table.add_row(
            plain(upstream["upstream"]),
            plain(upstream["model"]),
            breaker,
            *times,
            share,
            number(upstream["in_flight"]),
        )
    return table


def errors_table(errors: Iterable[Mapping[str, Any]], at: float, width: int) -> Table:
    """The last errors of upstreams, the newest first; a narrow terminal has no room for the model."""
    is_wide = width >= WIDE
    table = _table("last errors", *["model"] * is_wide, "error", "HTTP", "reason", ">count", ">ago")
    table.columns[0].max_width = WIDE if is_wide else 14
    table.columns[-3].no_wrap = False  # the reason is never cut
    for error in errors:
        table.add_row(
            plain(error["upstream"]),
            *[plain(error["model"])] * is_wide,
            Text(plain(error["outcome"]).plain.replace("_", " "), "bold red"),
            NONE if error["status"] is None else str(error["status"]),
            plain(error["reason"]),
            number(error["count"]),
            duration(at - error["at"]),
        )
    return table


def failures_table(failures: Iterable[Mapping[str, Any]], width: int) -> Table:
    """The last requests that failed, the newest first; a narrow terminal has no room for the request's id."""
    is_wide = width >= WIDE
    table = _table("failed at", "ending", "model", "asked", "reason", *["request"] * is_wide)
    table.columns[4].overflow = "ellipsis"
    for failure in failures:
        upstreams = dict.fromkeys(attempt["upstream"] for attempt in failure["attempts"])
        table.add_row(
            time_of_day(failure["at"]),
            word(failure["outcome"]),
            plain(failure["model"] or NONE),
            plain(", ".join(upstreams) or NONE),
            plain(failure["reason"] or NONE),
            *[plain(failure["request_id"])] * is_wide,
        )
    return table


def time_of_day(at: float) -> str:
    """The time of a moment in Unix seconds, in UTC."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%H:%M:%S")


def streams_table(now: Snapshot, rate: Callable[[str], float | None], width: int, most: int) -> Table:
    right = (f">{name}" for name in ("readers", "lag", "TTFT", "tokens", "tok/s", "age"))
    has_dialect = width >= WIDER
    table = _table("stream", "model", *["dialect"] * has_dialect, "state", "upstream", *right)
    if width < WIDE:
        table.columns[0].max_width = 8
        table.padding = (0, 0)
    for stream in now["list"][:most]:
        running = stream["ending"] is None
        table.add_row(
            plain(stream["id"]),
            plain(stream["model"]),
            *[plain(stream["dialect"])] * has_dialect,
            word(stream["ending"] or stream["state"]),
            plain(stream["upstream"] or NONE),
            number(stream["readers"]),
            number(stream["lag_events"]),
            milliseconds(stream["ttft"]["first_content_ms"]),
            number((stream["usage"] or {}).get("completion_tokens")),
            number(rate(stream["id"]) if running else None, 1),
            duration(now["at"] - stream["created"]),
        )
    return table


def _table(*columns: str) -> Table:
    """A table with these columns; a column whose name begins with `>` is aligned to the right."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    for name in columns:
        right = name.startswith(">")
        table.add_column(name.removeprefix(">"), justify="right" if right else "left", no_wrap=True)
    return table
