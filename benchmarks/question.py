"""What a question is made of: cases, contenders, and how their figures are put together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks.arena import Arena
from benchmarks.noise import LOUD
from benchmarks.systems.system import Database, System

Measured = dict[str, float]  # metric: value; NaN where there is nothing to measure, infinity where it never happened


@dataclass(frozen=True)
class Metric:
    """What is measured, and which way is better."""

    name: str
    unit: str
    more_is_better: bool = False

    @property
    def arrow(self) -> str:
        """The direction that is wanted."""
        return "↑" if self.more_is_better else "↓"


RATE = Metric("throughput", "jobs/s", more_is_better=True)


@dataclass(frozen=True)
class Contender:
    """What is measured: on a copy of which database, and how."""

    template: Callable[[Arena], str]
    run: Callable[[Database], Measured]


@dataclass(frozen=True)
class Case:
    """Contenders that do the same, the first of them ours. Each runs once in every round, on a database of its own."""

    title: str
    contenders: Mapping[str, Contender]
    metrics: tuple[Metric, ...] = (RATE,)
    plot: str = ""  # the metric that is drawn; none: no picture
    rounds: int = 99  # at most so many

    @property
    def compared(self) -> bool:
        """Whether there is anybody to compare with."""
        return len(self.contenders) > 1


@dataclass(frozen=True)
class Setting:
    """What was asked for: which systems, and whether in earnest."""

    systems: list[System]
    quick: bool = False

    def size(self, real: int, quick: int) -> int:
        """A number of jobs."""
        return quick if self.quick else real

    def without(self, *names: str) -> list[System]:
        """All systems but these."""
        return [system for system in self.systems if system.name not in names]


@dataclass(frozen=True)
class Figure:
    """One cell: all rounds of one contender and metric, and ours beside it, round by round."""

    case: Case
    contender: str
    metric: Metric
    values: list[float]
    ours: list[float]
    foreign: list[float]  # cores that others kept busy

    @property
    def median(self) -> float:
        """The middle one of its rounds."""
        return statistics.median(self.known) if self.known else math.nan

    @property
    def known(self) -> list[float]:
        """The rounds in which there was something to measure."""
        return [value for value in self.values if not math.isnan(value)]

    @property
    def is_ours(self) -> bool:
        """Whether this is our own line."""
        return self.values is self.ours

    @property
    def ratio(self) -> float:
        """Ours divided by this one: the median over the rounds, since the two ran side by side in each."""
        pairs = zip(self.ours, self.values, strict=False)
        ratios = [ours / its for ours, its in pairs if math.isfinite(ours) and math.isfinite(its) and its]
        return statistics.median(ratios) if ratios else math.nan

    @property
    def disturbed(self) -> bool:
        """Whether most of its rounds had company."""
        return statistics.median(self.foreign) > LOUD if self.foreign else False


@dataclass
class Tally:
    """The rounds of one case, as they come in."""

    case: Case
    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    foreign: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, contender: str, measured: Measured, foreign: float) -> None:
        """Take one run's figures."""
        for metric in self.case.metrics:
            self.values.setdefault((contender, metric.name), []).append(measured.get(metric.name, math.nan))
        self.foreign.setdefault(contender, []).append(foreign)

    def figures(self) -> Iterator[Figure]:
        """One for each metric and contender."""
        first = next(iter(self.case.contenders))
        for metric in self.case.metrics:
            for name in self.case.contenders:
                values, ours = self.values[name, metric.name], self.values[first, metric.name]
                yield Figure(self.case, name, metric, values, ours, self.foreign[name])
