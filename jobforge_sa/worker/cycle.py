"""The worker's decisions, pure: how much to claim, how long to sleep. No threads, no clock, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CLAIM = 500  # rows in one claim: the gain beyond is small, and the answer's latency grows
MAX_PREFETCH = 1_000  # jobs of one queue that are claimed and not started
PREFETCH_SECONDS = 0.25  # claimed ahead: what the handlers finish in so long, hence nothing for slow handlers
BEHIND = 0.01  # seconds until the next look while the reports are behind
MAX_UNREPORTED = 1_500  # ended runs that the database does not know of yet: over it nothing is claimed


@dataclass(slots=True)
class Pace:
    """How fast a queue's handlers finish jobs: a moving average, in jobs a second."""

    rate: float = 0.0

    def observe(self, finished: int, seconds: float) -> None:
        """Take note of jobs finished in so many seconds. Rises at once, falls by half each time."""
        now = finished / seconds
        self.rate = now if now > self.rate else (self.rate + now) / 2


def room(concurrency: int, rate: float, held: int) -> int:
    """How many more jobs a queue may hold: its slots, and a buffer worth a quarter of a second of its work."""
    prefetch = min(MAX_PREFETCH, int(rate * PREFETCH_SECONDS))
    return max(0, concurrency + prefetch - held)


def nap(idle_rounds: int, poll: float) -> float:
    """How long to sleep after so many claims in a row without a job: 50 ms, 100 ms ... `poll`.

    Short at first, because a lost or skipped wake-up costs just that.
    """
    return min(poll, 0.05 * 2.0 ** min(idle_rounds, 20))
