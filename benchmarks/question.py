"""What a question is made of: cases, contenders, and how their figures are put together."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.arena import Database

Measured = dict[str, float]  # metric: value
Run = Callable[[Database], Measured]


@dataclass(frozen=True)
class Metric:
    """What is measured, and which way is better."""

    name: str
    unit: str
    more_is_better: bool

    @property
    def title(self) -> str:
        """The name with its unit and direction."""
        return f"{self.name}, {self.unit} {'↑' if self.more_is_better else '↓'}"


RATE = Metric("throughput", "jobs/s", more_is_better=True)


@dataclass(frozen=True)
class Case:
    """Contenders that do the same, the first of them ours. Each runs once in every round, on a database of its own."""

    title: str
    contenders: Mapping[str, Run]
    metrics: tuple[Metric, ...] = (RATE,)
    fill: Callable[[Database], None] | None = None


@dataclass(frozen=True)
class Figure:
    """One cell: all rounds of one contender and metric, and ours beside it, round by round."""

    case: str
    contender: str
    metric: Metric
    values: list[float]
    ours: list[float]

    @property
    def median(self) -> float:
        """The middle one of its rounds."""
        return statistics.median(self.values)

    @property
    def is_ours(self) -> bool:
        """Whether this is our own line."""
        return self.values is self.ours

    @property
    def ratio(self) -> float:
        """Ours divided by this one: the median over the rounds, since the two ran side by side in each."""
        return statistics.median(mine / its for mine, its in zip(self.ours, self.values, strict=True))


@dataclass
class Tally:
    """The rounds of one case, as they come in."""

    case: Case
    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, contender: str, measured: Measured) -> None:
        """Take one run's figures."""
        for metric in self.case.metrics:
            self.values.setdefault((contender, metric.name), []).append(measured[metric.name])

    def figures(self) -> list[Figure]:
        """One for each metric and contender."""
        first = next(iter(self.case.contenders))
        return [
            Figure(self.case.title, name, metric, self.values[name, metric.name], self.values[first, metric.name])
            for metric in self.case.metrics
            for name in self.case.contenders
        ]
