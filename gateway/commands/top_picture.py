"""Pure: the picture of `rivergate top`: the numbers of the dashboard, in the lines and columns that there are.

In: a snapshot, the history, and the size of the terminal. Out: something that rich prints. The invariant: what is cut
is named in the last line.
"""

from collections import deque
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gateway.commands.top_history import POINTS, KeptHistory, Values, spark
from gateway.commands.top_tables import (
    NONE,
    WIDE,
    WIDER,
    Snapshot,
    distribution_lines,
    endings_line,
    errors_table,
    failures_table,
    figures_table,
    head_line,
    milliseconds,
    number,
    streams_table,
    upstreams_table,
)

RATE_SECONDS = 5.0  # a rate is the mean over the snapshots of this time
MOST_ERRORS = 8  # rows of the last errors: more would leave no lines for the streams on a small terminal
MOST_FAILURES = 5  # and of failed requests
LEAST_STREAMS = 3  # rows of streams that are shown however small the terminal is
TABLE_LINES = 3  # of a table beside its rows: the head, the line below it, and the blank line above
BESIDE_SPARK = 62  # columns that a large number takes beside its line of blocks


class Terminal(NamedTuple):
    """Where the picture is drawn: its size, and the state of the connection that the first line tells."""

    state: str
    width: int
    lines: int


class Part(NamedTuple):
    """A part of the picture that can be left out. `name`: as the last line calls it."""

    name: str
    lines: int
    drawn: list[RenderableType]


class Rates:
    """Rates per second, from the snapshots of the last seconds."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, dict[str, float]]] = deque()

    def add(self, now: Snapshot) -> None:
        at = float(now["at"])
        values = {stream["id"]: stream["usage"]["completion_tokens"] for stream in now["list"] if stream["usage"]}
        values["deliveries"], values["tokens"] = now["deliveries"], now["tokens"]
        if self._kept and not 0 <= at - self._kept[-1][0] <= 2 * RATE_SECONDS:
            self._kept.clear()
        self._kept.append((at, values))
        while at - self._kept[0][0] > RATE_SECONDS:
            self._kept.popleft()

    def of(self, name: str) -> float | None:
        """The rate of a stream's tokens, by its id, or of all `tokens` or `deliveries`; None: it is not known yet."""
        known = [(at, values[name]) for at, values in self._kept if name in values]
        if len(known) < 2 or known[-1][0] <= known[0][0]:
            return None
        return max(0.0, (known[-1][1] - known[0][1]) / (known[-1][0] - known[0][0]))


def picture(now: Snapshot, rates: Rates, history: KeptHistory, terminal: Terminal) -> RenderableType:
    """The whole picture; the newest streams fill the lines that the other parts leave."""
    upstreams, listed = now["upstreams"], now["list"]
    # The numbers, the last line, which may need two, and the heads of two tables are always there.
    left = terminal.lines - 9 - 2 * TABLE_LINES - LEAST_STREAMS
    most_upstreams = max(2, min(len(upstreams), left // 2 if len(upstreams) > 4 else left))
    left -= min(most_upstreams, len(upstreams))
    kept, cut = [], []
    for part in _parts(now, history, terminal):
        if part.lines <= left:
            left -= part.lines
            kept.append(part)
        else:
            cut.append(part.name)
    rows = LEAST_STREAMS + max(0, left)
    above = [line for part in _in_order(kept) for line in ("", *part.drawn)]
    ordered = sorted(upstreams, key=lambda upstream: upstream["breaker"] == "closed")[:most_upstreams]
    return Group(
        head_line(now, terminal.state),
        "",
        _numbers(now, rates, history, terminal.width),
        "",
        upstreams_table(ordered if len(ordered) < len(upstreams) else upstreams),
        *above,
        "",
        streams_table(now, rates.of, terminal.width, rows),
        _cut_line(
            [
                *_told("upstreams", len(ordered), len(upstreams)),
                *_told("streams", min(rows, len(listed)), now["streams"]["running"] + now["streams"]["kept"]),
                *cut,
                *(["ids"] if terminal.width < WIDE else []),
                *(["dialects"] if terminal.width < WIDER else []),
            ]
        ),
    )


def _numbers(now: Snapshot, rates: Rates, history: KeptHistory, width: int) -> Table:
    """The large numbers of the dashboard, each with the last ten minutes as a line that takes the width there is."""
    failed, answered = history.total("failures"), history.total("answers")
    share = f"{100 * failed / (failed + answered):.1f} % in 10 min" if failed + answered else "in 10 min"
    ttft = now["ttft"]
    rows: list[tuple[str, str, str, Values]] = [
        ("running", number(now["streams"]["running"]), f"{now['readers']:,} readers", history.values("running")),
        (
            "tokens/s",
            number(rates.of("tokens")),
            f"{number(rates.of('deliveries'))} deliveries/s",
            history.values("tokens_per_second"),
        ),
        (
            "TTFT p50",
            milliseconds(ttft["p50_ms"]),
            f"p95 {milliseconds(ttft['p95_ms'])}, last min",
            history.values("ttft_p50_ms"),
        ),
        ("failures", number(failed), share, history.values("failures")),
    ]
    table = Table.grid(padding=(0, 2, 0, 0), expand=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", style="bold", min_width=8, no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    room = max(10, min(POINTS, width - BESIDE_SPARK))
    for name, value, beside, values in rows:
        known = [value for value in values if value is not None]
        bounds = f"{number(min(known))} to {number(max(known))}" if known else NONE
        red = "bold red" if name == "failures" and failed else ""
        table.add_row(name, Text(value, red), beside, spark(values, room), bounds)
    return table


def _parts(now: Snapshot, history: KeptHistory, terminal: Terminal) -> list[Part]:
    """The parts that can be left out, the most important first."""
    width, failures, errors = terminal.width, history.failures[:MOST_FAILURES], now["errors"][:MOST_ERRORS]
    found = []
    if failures:
        found.append(Part("failures", len(failures) + TABLE_LINES, [failures_table(failures, width)]))
    if errors:
        found.append(Part("last errors", len(errors) + TABLE_LINES, [errors_table(errors, now["at"], width)]))
    distributions: list[RenderableType] = [
        distribution_lines("TTFT", now["ttft_ms"]),
        distribution_lines("gap", now["gap_ms"]),
    ]
    return [
        *found,
        Part("endings", 2, [endings_line(now["streams"]["endings"])]),
        Part("counts", 5 if width >= WIDE else 6, [figures_table(now, 4 if width >= WIDE else 3)]),
        Part("distributions", 5, distributions),
    ]


def _in_order(parts: list[Part]) -> list[Part]:
    """The parts as they stand on the screen: what is told in words first, then the tables."""
    return sorted(parts, key=lambda part: part.name in ("failures", "last errors"))


def _told(name: str, shown: int, all_of_them: int) -> list[str]:
    return [f"{all_of_them - shown:,} of {all_of_them:,} {name}"] if shown < all_of_them else []


def _cut_line(cut: list[str]) -> Text:
    return Text(f"not shown for want of room: {', '.join(cut)}" if cut else "", "dim")
