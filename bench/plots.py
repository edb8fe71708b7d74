"""Shell: the pictures of the report, by matplotlib (the extra `bench`), as SVG.

In: the JSON of the benches, a folder. Out: the names of the files written. Invariant: no picture without its data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.plot_style import (
    LABEL_POINTS,
    SOFT,
    bars,
    colour,
    figure,
    label_ends,
    logarithmic,
    name_of,
    save,
    titled,
    warn,
)
from bench.readings import RATE_KEPT, Report, dig

Series = Sequence[tuple[float, Mapping[str, float]]]  # x, and a spread
Drawer = Callable[[Report], Figure | None]
SHOWN = ("gateway", "nginx", "aiohttp+uvloop", "aiohttp", "litellm")
GROWTH = (  # curve, cost, title, x, y
    ("streams", "cpu", "CPU, streams", "concurrent streams", "thousandths of a core"),
    ("subscribers", "cpu", "CPU, subscribers", "subscribers", "µs per event, all of them"),
    ("event_bytes", "cpu", "CPU, event size", "bytes of text in an event", "µs per event"),
    ("rate", "cpu", "CPU, event rate", "events/s", "thousandths of a core"),
    ("streams", "memory", "memory, streams", "concurrent streams", "KiB"),
    ("subscribers", "memory", "memory, subscribers", "subscribers", "KiB"),
    ("log", "cpu", "CPU, late joiner", "bytes in the log", "ms until whole"),
    ("log", "time", "time, late joiner", "bytes in the log", "ms until whole"),
)


def draw(folder: Path, reports: Mapping[str, Report]) -> list[str]:
    drawers: tuple[tuple[str, str, Drawer], ...] = (
        ("fanout", "fanout.svg", fanout),
        ("relay", "relay.svg", relay),
        ("relay", "ttft.svg", ttft_added),
        ("ttft", "hedging.svg", hedging),
        ("growth", "growth.svg", growth),
    )
    drawn = []
    for bench, name, drawer in drawers:
        if bench in reports and (picture := drawer(reports[bench])) is not None:
            if reports[bench].get("quick"):
                warn(picture, "short run, not final")
            save(picture, folder / name)
            drawn.append(name)
    return drawn


def fanout(report: Report) -> Figure | None:
    """Deliveries per CPU second over subscribers, one event at a time and in bursts."""
    lines = {key: _by_peer(report["sizes"], f"{key}_per_cpu_s") for key in ("single", "burst")}
    if not lines["single"]:
        return None
    picture = figure(10.0, 4.3)
    burst = dig(report, "options", "burst")
    titles = {"single": "One event at a time", "burst": f"Bursts of {burst} events"}
    panels = picture.subplots(1, 2)
    for axes, (key, peers) in zip(panels, lines.items(), strict=True):
        titled(axes, titles[key], "subscribers of one stream", "deliveries per CPU second")
        logarithmic(axes)
        for peer, series in peers.items():
            _line(axes, peer, series)
        axes.set_xticks([x for x, _ in max(peers.values(), key=len)])
        axes.set_ylim(*_decades([spread["median"] for series in peers.values() for _, spread in series]))
    for axes, peers in zip(panels, lines.values(), strict=True):
        label_ends(axes, {peer: (series[-1][0], series[-1][1]["median"]) for peer, series in peers.items()})
    return picture


def _by_peer(sizes: Mapping[str, Any], key: str) -> dict[str, Series]:
    found: dict[str, list[tuple[float, Mapping[str, float]]]] = {}
    for size, one in sorted(sizes.items(), key=lambda item: int(item[0])):
        for peer, figures in one["peers"].items():
            if figures.get(key):
                found.setdefault(peer, []).append((float(size), figures[key]))
    return dict(found)


def _line(axes: Axes, peer: str, series: Series) -> None:
    """The median, with the range of the rounds behind it."""
    xs = [x for x, _ in series]
    low, median, high = ([spread[name] for _, spread in series] for name in ("low", "median", "high"))
    strong = peer == "gateway"
    axes.fill_between(xs, low, high, color=colour(peer), alpha=0.15, linewidth=0)
    axes.plot(
        xs, median, color=colour(peer), linewidth=2.4 if strong else 1.5, marker="o", markersize=5 if strong else 4
    )


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """Whole decades around the values."""
    low = 10.0 ** math.floor(math.log10(min(values)))
    high = low
    while high < max(values):
        high *= 10
    return low, high


def relay(report: Report) -> Figure | None:
    peers = report["peers"]
    values = [(name, [peers[name]["cpu_us"]["median"]]) for name in SHOWN if dig(peers, name, "cpu_us")]
    if not values:
        return None
    picture = figure(8.0, 1.1 + 0.5 * len(values))
    axes = picture.subplots()
    options = report["options"]
    load = f"{options['streams']:g} streams, {options['rate']:g} events/s each"
    titled(axes, "CPU of a relayed event", f"µs of CPU per event ({load}); less is better", "")
    notes = {name: f", with {kept:.0%} of the rate" for name, _ in values if (kept := _kept(peers[name])) < RATE_KEPT}
    bars(axes, values, "µs", notes)
    return picture


def _kept(figures: Mapping[str, Any]) -> float:
    kept: float = figures["rate_kept"]["median"]
    return kept


def ttft_added(report: Report) -> Figure | None:
    peers, many = report["peers"], dig(report, "options", "ttft_streams")
    picture = figure(10.0, 3.9)
    for axes, (key, title) in zip(
        picture.subplots(1, 2), (("one", "One stream at a time"), ("many", f"{many:g} streams")), strict=True
    ):
        keys = [f"added_ttft_{key}_{share}_ms" for share in ("p50", "p99")]
        values = [
            (name, [peers[name][one]["median"] for one in keys])
            for name in SHOWN
            if all(dig(peers, name, one) for one in keys)
        ]
        if not values:
            return None
        titled(axes, title, "ms later than without a proxy: p50 (dark), p99 (light)", "")
        bars(axes, values, "ms", {})
    return picture


def hedging(report: Report) -> Figure | None:
    """The distribution of the TTFT, with hedging and without."""
    curves: Mapping[str, list[float]] = report.get("tail_steps_ms") or {}
    if not curves:
        return None
    picture = figure(7.5, 4.0)
    axes = picture.subplots()
    slow = 100 * report["options"]["slow_share"]
    titled(axes, f"First token, {slow:g} % of the requests to the first upstream are slow", "TTFT, ms", "requests, %")
    for name, steps in curves.items():
        shares = [100 * number / (len(steps) - 1) for number in range(len(steps))]
        p99 = report["tail"][name]["p99_ms"]
        axes.plot(steps, shares, color=colour(name), linewidth=2)
        axes.plot([p99], [99], "o", color=colour(name), markersize=6)
        axes.annotate(
            f"{name_of(name)}: p99 {p99:.0f} ms",
            (p99, 99),
            xytext=(-4 if p99 > 500 else 4, -18),
            textcoords="offset points",
            ha="right" if p99 > 500 else "left",
            color=colour(name),
            fontweight="bold",
        )
    axes.set_xlim(0, max(max(steps) for steps in curves.values()) * 1.05)
    axes.set_ylim(0, 102)
    return picture


def growth(report: Report) -> Figure | None:
    """Small ones, each with a line of slope 1 to compare with."""
    curves = report["curves"]
    there = [one for one in GROWTH if one[0] in curves]
    if not there:
        return None
    picture = figure(13.0, 3.1 * -(-len(there) // 4))
    panels = picture.subplots(-(-len(there) // 4), 4, squeeze=False).flatten()
    for axes, (name, cost, title, x, y) in zip(panels, there, strict=False):
        titled(axes, title, x, y)
        logarithmic(axes)
        if cost == "cpu" and f"{name}_c" in curves:
            _growth_line(axes, curves[f"{name}_c"], cost, "c", 1.2)
        _growth_line(axes, curves[name], cost, "gateway", 2.2)
        _linear(axes, curves[name], cost)
    picture.supxlabel("dashed: linear growth, through the last point", color=SOFT, fontsize=LABEL_POINTS)
    for axes in panels[len(there) :]:
        axes.set_visible(False)
    return picture


def _points(curve: Mapping[str, Any], cost: str) -> list[tuple[float, float]]:
    return [(point["x"], point[cost]) for point in curve["points"] if point[cost] > 0]


def _growth_line(axes: Axes, curve: Mapping[str, Any], cost: str, name: str, width: float) -> None:
    points = _points(curve, cost)
    axes.plot(*zip(*points, strict=True), color=colour(name), linewidth=width, marker="o", markersize=3 + width / 2)
    slope = dig(curve, "fits", cost, "slope")
    told = "-" if slope is None else f"{slope:.2f}"
    row = 0.93 if name == "gateway" else 0.84
    axes.text(0.04, row, f"{name_of(name)}: exponent {told}", transform=axes.transAxes, color=colour(name), va="top")


def _linear(axes: Axes, curve: Mapping[str, Any], cost: str) -> None:
    """Through the last point."""
    points = _points(curve, cost)
    (first, _), (last, most) = points[0], points[-1]
    axes.plot([first, last], [most * first / last, most], color=SOFT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.set_ylim(*_decades([min(cost for _, cost in points) * 0.8, most * 3]))
