"""The geometry of a report's charts: numbers as the places of bars and lines. What they look like is the style sheet's.

A plot is 100 high and stretched to the width of the page; so nothing that must keep its shape, no text and no circle,
stands in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LABELS = 8  # a week, which begins within a day, has one for each


@dataclass(frozen=True, slots=True)
class Part:
    """One rectangle: of which series, where, and what it says when somebody points at it."""

    series: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A stack of parts, and what it says when somebody points at it."""

    title: str
    x: float  # of the area that answers the pointer
    width: float
    parts: Sequence[Part]


def ceiling(value: float) -> float:
    """The next round number: 1, 2, 2.5 or 5 times a power of ten. 1 for nothing."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if value <= step * power * (1 + 1e-9))


_CLOCK = (60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400, 172_800)


def time_ceiling(seconds: float) -> float:
    """The next time of which a half is round too: 10 minutes, 2 hours."""
    if not 20 < seconds <= _CLOCK[-1]:
        return ceiling(seconds / 86_400) * 86_400 if seconds > _CLOCK[-1] else ceiling(seconds)
    return float(next(step for step in (30, *_CLOCK) if seconds <= step))


def columns(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], top: float) -> list[Bar]:
    """Upright stacks, one for each row of a title and its series, on a plot of 10 for each.

    Args:
        rows: Title, and the value of each series, from the bottom up.
        top: The value at the upper edge.
    """
    few = 9.0 - len(rows)  # one bar as wide as the page would be a wall
    gap = max(few, 2.0) if len(rows) <= 40 else 1.0 if len(rows) <= 120 else 0.0
    bars = []
    for place, (title, values) in enumerate(rows):
        parts, under = [], 100.0
        for series, value in values:
            height = 100 * value / top
            under -= height
            if height > 0:
                parts.append(Part(series, place * 10 + gap / 2, _short(under), 10 - gap, _short(height)))
        bars.append(Bar(title, place * 10, 10, parts))
    return bars


def rows_of(values: Sequence[tuple[str, float]], top: float) -> list[Part]:
    """One lying stack, on a plot 100 wide and 10 high."""
    parts, left = [], 0.0
    for series, value in values:
        width = 100 * value / top if top else 0.0
        if width > 0:
            parts.append(Part(series, _short(left), 0, _short(width), 10))
        left += width
    return parts


def line(values: Sequence[float], top: float) -> str:
    """The points of a line through the middles of columns, as the attribute `points` has them."""
    return " ".join(f"{place * 10 + 5},{_short(100 - 100 * value / top)}" for place, value in enumerate(values))


@dataclass(frozen=True, slots=True)
class Scale:
    """Times on a logarithmic scale from one power of ten to another."""

    low: int
    high: int

    @classmethod
    def over(cls, values: Sequence[float]) -> Scale:
        """The powers of ten around these; from a millisecond to a day."""
        found = [min(max(value, 1e-3), 1e5) for value in values] or [1.0]
        low = math.floor(math.log10(min(found)) + 1e-9)
        return cls(low, max(math.ceil(math.log10(max(found)) - 1e-9), low + 1))

    @property
    def ticks(self) -> list[float]:
        """The powers."""
        return [10.0**power for power in range(self.low, self.high + 1)]

    def place(self, value: float) -> float:
        """Where a time stands, 0 to 100."""
        power = math.log10(max(value, 1e-9))
        return _short(100 * min(max((power - self.low) / (self.high - self.low), 0.0), 1.0))


def picked(names: Sequence[str]) -> list[str]:
    """The first, the last, and some at equal distances between, as many as fit beneath a plot."""
    if len(names) <= LABELS:
        return list(names)
    return [names[round(place * (len(names) - 1) / (LABELS - 1))] for place in range(LABELS)]


def _short(number: float) -> float:
    return round(number, 2) + 0.0  # no -0.0
