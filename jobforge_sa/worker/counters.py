"""What a worker counts, and how long things took."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

ENDS: Final[tuple[str, ...]] = ("succeeded", "failed", "timed_out", "snoozed", "released", "canceled", "lost")
NAMES: Final[tuple[str, ...]] = (
    "claimed", *ENDS, "abandoned", "killed", "died", "rescued", "unheard", "idle", "overstayed",
)  # fmt: skip
BOUNDS: Final[tuple[float, ...]] = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
)  # fmt: skip

Kind = tuple[str, str, str]  # queue, type, outcome: each a small set that the application's code names


@dataclass(slots=True)
class Spread:
    """How durations are spread: how many of them were up to each of the bounds and over the one before."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))  # the last: over all bounds
    seconds: float = 0.0
    all: int = 0  # also those without a duration

    def add(self, seconds: float | None) -> None:
        """Take one in."""
        self.all += 1
        if seconds is not None:
            self.counts[bisect_left(BOUNDS, seconds)] += 1
            self.seconds += seconds

    def copy(self) -> Spread:
        """The same, which stays as it is."""
        return Spread(list(self.counts), self.seconds, self.all)


@dataclass(frozen=True, slots=True)
class Measured:
    """All of it, of one moment."""

    runs: Mapping[Kind, Spread]  # how long handlers took; of those that did not begin there is no duration
    waits: Mapping[str, Spread]  # by queue: from due to claimed, of first runs


class Counters:
    """How often what has happened since the worker was made. Any thread may add, and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = dict.fromkeys(NAMES, 0)
        self._runs: dict[Kind, Spread] = {}
        self._waits: dict[str, Spread] = {}

    def add(self, name: str, count: int = 1) -> None:
        """Count."""
        with self._lock:
            self._counts[name] += count

    def claimed(self, waits: Sequence[tuple[str, float | None]]) -> None:
        """Count what a claim brought: of each job its queue, and how long it had waited."""
        with self._lock:  # once for all of them: two threads that meet at it 500 times would change places as often
            self._counts["claimed"] += len(waits)
            for queue, waited in waits:
                if waited is not None:
                    (self._waits.get(queue) or self._waits.setdefault(queue, Spread())).add(waited)

    def ended(self, ends: Iterable[tuple[Kind, float | None]]) -> None:
        """Count ends of runs, and how long their handlers took, if they began. Who notices a lost one counts it."""
        with self._lock:
            for kind, seconds in ends:
                if kind[2] != "lost":
                    self._counts[kind[2]] += 1
                (self._runs.get(kind) or self._runs.setdefault(kind, Spread())).add(seconds)

    def read(self) -> dict[str, int]:
        """The numbers of one moment, each by its name."""
        with self._lock:
            return dict(self._counts)

    def measured(self) -> Measured:
        """The rest, of one moment."""
        with self._lock:
            runs = {kind: spread.copy() for kind, spread in self._runs.items()}
            return Measured(runs, {queue: spread.copy() for queue, spread in self._waits.items()})
