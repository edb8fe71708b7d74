"""Shell: how the pictures look: colours, axes, labels beside the lines instead of legends. The only importer of
matplotlib beside bench/plots.py.

In: axes, series. Out: marks on them. Invariant: no two labels overlap, a bar begins at zero, every axis has its unit,
and the ground is light whatever the page is that shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from bench.measure import apart

INK, SOFT, GRID, WARNING = "#1f2933", "#616e7c", "#e4e7eb", "#c0392b"
COLOURS = {
    "gateway": "#0b6bcb",
    "c": "#52606d",
    "nginx": "#2f8f5b",
    "nchan": "#2f8f5b",
    "aiohttp": "#d9822b",
    "aiohttp+uvloop": "#e8b27a",
    "litellm": "#b44d6e",
    "auto": "#0b6bcb",
    "off": "#d9822b",
}
TITLES = {
    "gateway": "Rivergate",
    "c": "C loop of send()",
    "nchan": "Nchan",
    "litellm": "LiteLLM",
    "aiohttp": "aiohttp",
    "auto": "with hedging",
    "off": "without hedging",
}
LABEL_POINTS = 9.0
LINE_PIXELS = 13.0  # between two labels, at 100 dots per inch
FAR = 6.0  # times the next longest: such a bar would leave nothing to see of the others, and is told in words


def figure(width: float, height: float) -> Figure:
    matplotlib.rcParams.update(
        {
            "font.family": "DejaVu Sans",
            "font.size": LABEL_POINTS,
            "svg.fonttype": "path",
            "svg.hashsalt": "rivergate",  # the same figures give the same file
        }
    )
    return Figure(figsize=(width, height), facecolor="white", dpi=100, layout="constrained")


def save(drawn: Figure, file: Path) -> None:
    drawn.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


def warn(drawn: Figure, text: str) -> None:
    """In the corner below, where no axis has its label."""
    drawn.text(0.995, 0.008, text, ha="right", va="bottom", color=WARNING, fontweight="bold")


def titled(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, color=INK, fontweight="bold", pad=10)
    axes.set_xlabel(x, color=SOFT)
    axes.set_ylabel(y, color=SOFT)
    axes.tick_params(which="both", colors=SOFT, length=0)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)


def logarithmic(axes: Axes, *, x: bool = True, y: bool = True) -> None:
    """With whole numbers at the ticks: 1,000 and 1M, not powers of ten."""
    for wanted, axis, scale in ((x, axes.xaxis, axes.set_xscale), (y, axes.yaxis, axes.set_yscale)):
        if wanted:
            scale("log")
            axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
            axis.set_minor_formatter(NullFormatter())


def short(value: float) -> str:
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:g}{letter}"
    return f"{value:g}"


def colour(name: str) -> str:
    return COLOURS.get(name, SOFT)


def name_of(peer: str) -> str:
    return TITLES.get(peer, peer)


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """A name at the right end of each line, moved up or down where two would overlap."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    order = sorted(ends, key=lambda name: ends[name][1])
    pixels = [axes.transData.transform(ends[name])[1] for name in order]
    for name, was, at in zip(order, pixels, apart(pixels, LINE_PIXELS), strict=True):
        axes.annotate(
            name_of(name),
            ends[name],
            xytext=(9, (at - was) * 0.72),  # points, of pixels
            textcoords="offset points",
            va="center",
            color=colour(name),
            fontweight="bold" if name == "gateway" else "normal",
            annotation_clip=False,
        )


def bars(axes: Axes, values: Sequence[tuple[str, Sequence[float]]], unit: str, notes: Mapping[str, str]) -> None:
    """Lying bars from zero, one or more for each name, each with its figure and what is to be said of that name; what
    is far longer stands below.
    """
    longest = sorted((max(many) for _, many in values), reverse=True)
    limit = longest[1] * FAR if len(longest) > 1 else longest[0]
    near = [(name, many) for name, many in values if max(many) <= limit]
    edge = max(max(many) for _, many in near)
    for row, (name, many) in enumerate(near):
        thick = 0.7 / len(many)
        for number, value in enumerate(many):
            at = row - 0.35 + thick * (number + 0.5)
            axes.barh(at, max(value, 0.0), thick * 0.92, color=colour(name), alpha=1.0 if number == 0 else 0.5)
            axes.text(
                max(value, 0.0) + edge * 0.012,
                at,
                f"{value:,.3g} {unit}{notes.get(name, '')}",
                va="center",
                color=INK,
            )
    axes.set_yticks(range(len(near)), [name_of(name) for name, _ in near])
    axes.set_xlim(0, edge * (1.4 if notes else 1.18))
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    if far := [(name, many) for name, many in values if max(many) > limit]:
        told = "; ".join(f"{name_of(name)}: {' / '.join(f'{one:,.3g}' for one in many)} {unit}" for name, many in far)
        axes.set_xlabel(f"{axes.get_xlabel()}\nbeyond this axis: {told}", color=SOFT)
