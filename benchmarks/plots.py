"""Pictures of the figures: the medians, with the spread of the rounds; ours in colour, the yardsticks pale."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure as Picture

from benchmarks.question import Figure, Tally
from benchmarks.report import DISTURBED, number
from benchmarks.systems import PEERS

OURS, PEER, YARDSTICK, INK = "#2f6f4f", "#9aa7b4", "#d0d6dc", "#333333"
FAR: Final = 30  # times the smallest: from there on a length shows nothing, so there are points on a logarithmic axis
mpl.rcParams["svg.hashsalt"] = "jobforge_sa"  # the same figures give the same file
mpl.rcParams["svg.fonttype"] = "none"  # letters, and not their outlines: a tenth of the size
mpl.rcParams["font.family"] = "sans-serif"


def draw(path: Path, tally: Tally) -> Path:
    """One case: the best at the top."""
    metric = next(metric for metric in tally.case.metrics if metric.name == tally.case.plot)
    figures = [f for f in tally.figures() if f.metric == metric and f.known and math.isfinite(f.median)]
    figures.sort(key=lambda figure: figure.median, reverse=not metric.more_is_better)
    picture = Picture(figsize=(8, 1.0 + 0.34 * len(figures)), layout="constrained")
    axes = picture.add_subplot()
    axes.set_title(tally.case.title, loc="left", fontsize=10, color=INK, fontweight="bold")
    axes.set_xlabel(f"{metric.name}, {metric.unit} · {'more' if metric.more_is_better else 'less'} is better")
    axes.xaxis.label.set(size=8, color=INK)
    values = [value for figure in figures for value in figure.known if 0 < value < math.inf]
    far = metric.unit == "ms" and bool(values) and max(values) > FAR * min(values)
    for row, figure in enumerate(figures):
        _line(axes, row, figure, far=far)
    axes.set_yticks(range(len(figures)), [figure.contender for figure in figures], fontsize=9, color=INK)
    if far:
        axes.set_xscale("log")
        axes.set_xlim(left=min(values) / 1.6, right=max(values) * 2.5)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    else:
        axes.set_xlim(left=0, right=max(values, default=1) * 1.18)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8, colors=INK)
    axes.grid(axis="x", color="#e6e9ec", linewidth=0.8)
    axes.set_axisbelow(True)
    picture.savefig(path, facecolor="white", metadata={"Date": None} if path.suffix == ".svg" else None)
    return path


def _line(axes: Any, row: int, figure: Figure, *, far: bool) -> None:
    """One contender: its median, and a thin line from its worst round to its best."""
    colour = OURS if figure.is_ours else PEER if figure.contender in PEERS else YARDSTICK
    known = [value for value in figure.known if math.isfinite(value)]
    if far:
        axes.plot(figure.median, row, "o", color=colour, markersize=8)
    else:
        axes.barh(row, figure.median, height=0.66, color=colour)
    axes.plot([min(known), max(known)], [row, row], color=INK, linewidth=1.2, solid_capstyle="butt")
    axes.annotate(
        number(figure.median) + (DISTURBED if figure.disturbed else ""), (max(known), row), xytext=(7, 0),
        textcoords="offset points", va="center", fontsize=8, color=INK,
        fontweight="bold" if figure.is_ours else "normal",
    )  # fmt: skip
