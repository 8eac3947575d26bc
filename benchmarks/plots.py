"""Pictures of the figures: bars with the spread of the rounds, ours in colour, the yardsticks hatched."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure as Picture

from benchmarks.question import Figure, Tally
from benchmarks.report import number
from benchmarks.systems import PLACES

OURS, PEER, YARDSTICK, INK = "#2f6f4f", "#9aa7b4", "#d8dde2", "#333333"
FAR: Final = 30  # times the smallest: from there on a bar shows nothing, and the axis is logarithmic
PEERS: Final = {name for name, place in PLACES.items() if place.partition(":")[0] not in ("ours", "by_hand")}
mpl.rcParams["svg.hashsalt"] = "jobforge_sa"  # the same figures give the same file


def draw(path: Path, tally: Tally) -> Path:
    """One case: the best at the top."""
    metric = next(metric for metric in tally.case.metrics if metric.name == tally.case.plot)
    figures = [f for f in tally.figures() if f.metric == metric and f.known and math.isfinite(f.median)]
    figures.sort(key=lambda figure: figure.median, reverse=not metric.more_is_better)
    picture = Picture(figsize=(8, 0.9 + 0.34 * len(figures)), layout="constrained")
    axes = picture.add_subplot()
    axes.set_title(f"{tally.case.title}: {metric.name}", loc="left", fontsize=10, color=INK, fontweight="bold")
    axes.set_xlabel(f"{metric.unit} · {'more' if metric.more_is_better else 'less'} is better", fontsize=8, color=INK)
    for row, figure in enumerate(figures):
        _bar(axes, row, figure)
    axes.set_yticks(range(len(figures)), [figure.contender for figure in figures], fontsize=9, color=INK)
    values = [value for figure in figures for value in figure.known if value > 0]
    if values and max(values) > FAR * min(values):
        axes.set_xscale("log")
        axes.set_xlim(left=10 ** math.floor(math.log10(min(values))), right=max(values) * 4)
    else:
        axes.set_xlim(left=0, right=max(values, default=1) * 1.18)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8, colors=INK)
    axes.grid(axis="x", color="#e6e9ec", linewidth=0.8)
    axes.set_axisbelow(True)
    picture.savefig(path, facecolor="white", metadata={"Date": None} if path.suffix == ".svg" else None)
    return path


def _bar(axes: Any, row: int, figure: Figure) -> None:
    """One contender: its median, and a line from its worst round to its best."""
    colour = OURS if figure.is_ours else PEER if figure.contender in PEERS else YARDSTICK
    axes.barh(row, figure.median, height=0.66, color=colour)
    axes.plot([min(figure.known), max(figure.known)], [row, row], color=INK, linewidth=1.2, solid_capstyle="butt")
    told = number(figure.median) + (" !" if figure.disturbed else "")
    weight = "bold" if figure.is_ours else "normal"
    axes.annotate(
        told, (max(figure.known), row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8,
        color=INK, fontweight=weight,
    )  # fmt: skip
