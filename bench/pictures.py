"""Shell: the pictures of the report, by matplotlib (the extra `bench`), as SVG; the only importer of it.

In: the JSON of the benches, a folder. Out: the names of the files written. Invariant: no picture without its data, a
bar begins at zero, every axis has its unit, and the ground is light whatever page shows it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from bench.kit.tables import Report, dig

INK, SOFT, GRID = "#1f2933", "#616e7c", "#e4e7eb"
PEERS = {  # title, colour
    "gateway": ("Rivergate", "#0b6bcb"),
    "nginx": ("nginx", "#2f8f5b"),
    "nchan": ("Nchan", "#2f8f5b"),
    "c": ("C loop of send()", "#52606d"),
    "aiohttp+uvloop": ("aiohttp+uvloop", "#e8b27a"),
    "aiohttp": ("aiohttp", "#d9822b"),
    "litellm": ("LiteLLM", "#b44d6e"),
}
FAR = 6.0  # times the next longest: such a bar would leave nothing to see of the others, and is told in words
# With the salt, and without the date, the same figures give the same file.
STYLE: dict[Any, Any] = {"font.size": 9.0, "svg.fonttype": "path", "svg.hashsalt": "rivergate", "grid.color": GRID}
STYLE |= {"axes.titlelocation": "left", "axes.titleweight": "bold", "axes.titlecolor": INK}
STYLE |= dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color"), SOFT)
STYLE |= dict.fromkeys(("axes.grid", "axes.axisbelow"), True)
STYLE |= dict.fromkeys(("axes.spines.top", "axes.spines.right", "axes.spines.left"), False)


def draw(folder: Path, reports: Mapping[str, Report]) -> list[str]:
    drawn = []
    for bench, drawer in (("fanout", fanout), ("relay", relay)):
        with matplotlib.rc_context(STYLE):
            if bench in reports and (picture := drawer(reports[bench])) is not None:
                picture.savefig(folder / f"{bench}.svg", format="svg", metadata={"Date": None, "Creator": None})
                drawn.append(f"{bench}.svg")
    return drawn


def fanout(report: Report) -> Figure | None:
    """Deliveries per CPU second over subscribers, one event at a time and in bursts."""
    if not any(group["peers"] for group in report["sizes"].values()):
        return None
    picture = Figure(figsize=(10.0, 4.3), layout="constrained")
    for axes, kind in zip(picture.subplots(1, 2), ("single", "burst"), strict=True):
        _lines(axes, report, kind)
    axes.legend(frameon=False, labelcolor=INK)
    return picture


def _lines(axes: Axes, report: Report, kind: str) -> None:
    """A bar for each peer: its median, with the range of the rounds behind the bar."""
    title = {"single": "One event at a time", "burst": f"Bursts of {dig(report, 'options.burst')} events"}[kind]
    axes.set(title=title, xlabel="subscribers of one stream", ylabel="deliveries per CPU second")
    axes.loglog()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(EngFormatter(sep=""))
        axis.set_minor_formatter(NullFormatter())
    for peer, (name, colour) in PEERS.items():
        spreads = {int(size): dig(group, f"peers.{peer}.{kind}_per_cpu_s") for size, group in report["sizes"].items()}
        if sizes := sorted(size for size, spread in spreads.items() if spread):
            low, median, high = ([spreads[size][end] for size in sizes] for end in ("low", "median", "high"))
            axes.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
            width = 2.4 if peer == "gateway" else 1.5
            axes.plot(sizes, median, color=colour, linewidth=width, marker="o", label=name)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))


def relay(report: Report) -> Figure | None:
    """Lying bars of the CPU of an event; what is far longer than the others stands below, in words."""
    peers = report["peers"]
    values = {name: peers[name]["cpu_us"]["median"] for name in PEERS if dig(peers.get(name), "cpu_us")}
    if not values:
        return None
    options, picture = report["options"], Figure(figsize=(8.0, 1.1 + 0.5 * len(values)), layout="constrained")
    axes, limit = picture.subplots(), sorted(values.values())[-2:][0] * FAR
    near = {name: value for name, value in values.items() if value <= limit}
    far = [f"\nbeyond this axis: {PEERS[name][0]}: {values[name]:,.3g} µs" for name in values if name not in near]
    load = f"{options['streams']:g} streams, {options['rate']:g} events/s each"
    axes.set(title="CPU of a relayed event", xlabel=f"µs of CPU per event ({load}); less is better{''.join(far)}")
    for row, (name, value) in enumerate(near.items()):
        axes.barh(row, value, 0.65, color=PEERS[name][1])
        axes.text(value, row, f"  {value:,.3g} µs", va="center", color=INK)
    axes.set_yticks(range(len(near)), [PEERS[name][0] for name in near])
    axes.set(xlim=(0, max(near.values()) * 1.3), ylim=(len(near) - 0.5, -0.5))
    axes.grid(False, axis="y")
    return picture
