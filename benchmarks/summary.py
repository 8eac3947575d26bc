"""The report in a few lines: ours beside the best of the peers, case by case."""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchmarks.question import Figure, Tally
from benchmarks.report import Section, number
from benchmarks.systems import PEERS, YARDSTICK

HEAD = (
    "| | ours | the best peer | ours is better by | than by hand |",
    "|---|---:|---:|---:|---:|",
)


def summary(sections: list[Section]) -> list[str]:
    """A table; nothing where no peer took part."""
    lines = [line for section in sections for tally in section.tallies for line in _lines(section.title, tally)]
    return [*HEAD, *lines, "", "Factors above 1 are in our favour, whichever way is better.", ""] if lines else []


def _lines(title: str, tally: Tally) -> Iterator[str]:
    figures = list(tally.figures())
    for metric in (metric for metric in tally.case.metrics if metric.name in (tally.case.plot, "p99")):
        of = {figure.contender: figure for figure in figures if figure.metric == metric}
        peers = [figure for name, figure in of.items() if name in PEERS and math.isfinite(figure.median)]
        if peers:
            best = (max if metric.more_is_better else min)(peers, key=lambda figure: figure.median)
            ours = next(figure for figure in of.values() if figure.is_ours)
            beside = _factor(of[YARDSTICK]) if YARDSTICK in of else "–"
            yield (
                f"| {title}, {tally.case.title}: {metric.name}, {metric.unit} | **{number(ours.median)}** |"
                f" {best.contender} {number(best.median)} | **{_factor(best)}** | {beside} |"
            )


def _factor(figure: Figure) -> str:
    ratio = figure.ratio
    if not figure.metric.more_is_better and ratio:
        ratio = 1 / ratio
    return number(ratio)
