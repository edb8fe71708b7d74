"""Shell: the pictures of the report, by matplotlib (the extra `bench`), as SVG; the only importer of it.

In: the JSON of the benches, a folder. Out: the names of the files written. Invariant: no picture without its data, no
two labels overlap, a bar begins at zero, every axis has its unit, and the ground is light whatever page shows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from bench.kit.figures import apart
from bench.rows import RATE_KEPT, Report, dig

INK, SOFT, GRID, WARNING = "#1f2933", "#616e7c", "#e4e7eb", "#c0392b"
PEERS = {  # title, colour
    "gateway": ("Rivergate", "#0b6bcb"),
    "nginx": ("nginx", "#2f8f5b"),
    "nchan": ("Nchan", "#2f8f5b"),
    "c": ("C loop of send()", "#52606d"),
    "aiohttp+uvloop": ("aiohttp+uvloop", "#e8b27a"),
    "aiohttp": ("aiohttp", "#d9822b"),
    "litellm": ("LiteLLM", "#b44d6e"),
}
LINE_PIXELS = 13.0  # between two labels, at 100 dots per inch
FAR = 6.0  # times the next longest: such a bar would leave nothing to see of the others, and is told in words
Series = Sequence[tuple[float, Mapping[str, float]]]  # x, and a spread


def draw(folder: Path, reports: Mapping[str, Report]) -> list[str]:
    drawers: Mapping[str, Callable[[Report], Figure | None]] = {"fanout": fanout, "relay": relay}
    drawn = []
    for bench, drawer in drawers.items():
        if bench in reports and (picture := drawer(reports[bench])) is not None:
            if reports[bench].get("quick"):
                picture.text(0.995, 0.008, "short run, not final", ha="right", va="bottom", color=WARNING)
            picture.savefig(folder / f"{bench}.svg", format="svg", metadata={"Date": None, "Creator": None})
            drawn.append(f"{bench}.svg")
    return drawn


def fanout(report: Report) -> Figure | None:
    """Deliveries per CPU second over subscribers, one event at a time and in bursts."""
    panels = {
        "single": "One event at a time",
        "burst": f"Bursts of {dig(report, 'options', 'burst')} events",
    }
    lines = {key: _by_peer(report["sizes"], f"{key}_per_cpu_s") for key in panels}
    if not lines["single"]:
        return None
    picture = _figure(10.0, 4.3)
    for axes, (key, title) in zip(picture.subplots(1, 2), panels.items(), strict=True):
        _title(axes, title, "subscribers of one stream", "deliveries per CPU second")
        for axis, scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
            scale("log")  # with 1,000 and 1M at the ticks, not powers of ten
            axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
            axis.set_minor_formatter(NullFormatter())
        medians = [spread["median"] for series in lines[key].values() for _, spread in series]
        axes.set_xticks([x for x, _ in max(lines[key].values(), key=len)])
        axes.set_ylim(*(10.0 ** end(math.log10(each)) for end, each in _ends(medians)))
        for peer, series in lines[key].items():
            _line(axes, peer, series)
    picture.draw_without_rendering()  # type: ignore[no-untyped-call]
    for axes, peers in zip(picture.axes, lines.values(), strict=True):
        _label_ends(axes, {peer: (series[-1][0], series[-1][1]["median"]) for peer, series in peers.items()})
    return picture


def _ends(values: Sequence[float]) -> tuple[tuple[Callable[[float], int], float], ...]:
    """Whole decades around the values: how to round which of them."""
    return (math.floor, min(values)), (math.ceil, max(values))


def _by_peer(sizes: Mapping[str, Any], key: str) -> dict[str, Series]:
    found: dict[str, list[tuple[float, Mapping[str, float]]]] = {}
    for size, group in sorted(sizes.items(), key=lambda item: int(item[0])):
        for peer, figures in group["peers"].items():
            if figures.get(key):
                found.setdefault(peer, []).append((float(size), figures[key]))
    return dict(found)


def _line(axes: Axes, peer: str, series: Series) -> None:
    """The median, with the range of the rounds behind it."""
    xs, colour, strong = [x for x, _ in series], PEERS[peer][1], peer == "gateway"
    low, median, high = ([spread[name] for _, spread in series] for name in ("low", "median", "high"))
    axes.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(xs, median, color=colour, linewidth=2.4 if strong else 1.5, marker="o", markersize=5 if strong else 4)


def _label_ends(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """A name at the right end of each line, moved up or down where two would overlap."""
    order = sorted(ends, key=lambda peer: ends[peer][1])
    pixels = [axes.transData.transform(ends[peer])[1] for peer in order]
    for peer, was, at in zip(order, pixels, apart(pixels, LINE_PIXELS), strict=True):
        title, colour = PEERS[peer]
        place = {"xytext": (9, (at - was) * 0.72), "textcoords": "offset points"}  # points, of pixels
        axes.annotate(title, ends[peer], va="center", color=colour, annotation_clip=False, **place)


def relay(report: Report) -> Figure | None:
    """Lying bars of the CPU of an event; what is far longer than the others stands below, in words."""
    peers = report["peers"]
    values = {name: peers[name]["cpu_us"]["median"] for name in PEERS if dig(peers, name, "cpu_us")}
    if not values:
        return None
    options, picture = report["options"], _figure(8.0, 1.1 + 0.5 * len(values))
    axes = picture.subplots()
    longest = sorted(values.values())[-2:]
    near = {name: value for name, value in values.items() if value <= longest[0] * FAR}
    far = [f"{PEERS[name][0]}: {value:,.3g} µs" for name, value in values.items() if name not in near]
    load = f"{options['streams']:g} streams, {options['rate']:g} events/s each"
    below = "".join(f"\nbeyond this axis: {told}" for told in far)
    _title(axes, "CPU of a relayed event", f"µs of CPU per event ({load}); less is better{below}", "")
    edge = max(near.values())
    for row, (name, value) in enumerate(near.items()):
        kept = peers[name]["rate_kept"]["median"]
        note = f", with {kept:.0%} of the rate" if kept < RATE_KEPT else ""
        axes.barh(row, value, 0.65, color=PEERS[name][1])
        axes.text(value + edge * 0.012, row, f"{value:,.3g} µs{note}", va="center", color=INK)
    axes.set_yticks(range(len(near)), [PEERS[name][0] for name in near])
    axes.set_xlim(0, edge * 1.3)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    return picture


def _figure(width: float, height: float) -> Figure:
    style = {"font.family": "DejaVu Sans", "font.size": 9.0, "svg.fonttype": "path"}
    matplotlib.rcParams.update(style | {"svg.hashsalt": "rivergate"})  # the same figures give the same file
    return Figure(figsize=(width, height), facecolor="white", dpi=100, layout="constrained")


def _title(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, color=INK, fontweight="bold", pad=10)
    axes.set_xlabel(x, color=SOFT)
    axes.set_ylabel(y, color=SOFT)
    axes.tick_params(which="both", colors=SOFT, length=0)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)


def short(value: float) -> str:
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:g}{letter}"
    return f"{value:g}"
