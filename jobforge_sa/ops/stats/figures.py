"""How runs and jobs ended in a while: asked for, and what the numbers say of the time that was looked at."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from jobforge_sa.db import calls
from jobforge_sa.ops.reader import Reader


@dataclass(frozen=True, slots=True)
class Ends:
    """How runs and jobs of a type in a queue ended; of all of them where there is no type."""

    type: str | None
    queue: str | None
    succeeded: int
    failed: int  # runs, as are those that were lost; timed out is failed
    lost: int
    dead: int  # jobs, as are those that were canceled
    canceled: int
    run_p50: float | None  # seconds
    run_p95: float | None
    run_max: float | None
    wait_p50: float | None  # from being due to the first claim
    wait_p95: float | None

    @property
    def runs(self) -> int:
        """How many ended, one way or the other."""
        return self.succeeded + self.failed + self.lost


@dataclass(frozen=True, slots=True)
class Stats:
    """What was found."""

    since: dt.datetime
    now: dt.datetime
    ends: Sequence[Ends]
    total: Ends
    looked_at: int
    back_to: dt.datetime | None  # of jobs that were enqueued since then; None: of all that there are

    @property
    def seconds(self) -> float:
        """Of how long the numbers tell: a cut may leave less than was asked for."""
        return (self.now - max(self.since, self.back_to or self.since)).total_seconds()

    def rate(self, ends: Ends) -> float:
        """Runs that ended, in a second."""
        return ends.runs / self.seconds if self.seconds > 0 else 0.0

    def record(self, ends: Ends) -> dict[str, object]:
        """A line of JSON."""
        of = {"since": self.since, "back_to": self.back_to, "looked_at": self.looked_at}
        return dataclasses.asdict(ends) | {"rate": round(self.rate(ends), 6)} | of


def fetch(
    reader: Reader, since: dt.timedelta | dt.datetime, *, type: str | None, queue: str | None, limit: int  # noqa: A002
) -> Stats:  # fmt: skip
    """Ask the database.

    Raises:
        TenantRequired: this login sees nothing without a tenant.
    """
    reader.require_sight()
    begin = reader.now - since if isinstance(since, dt.timedelta) else since
    first, *rows = reader.rows(calls.JOB_STATS, since=begin, type=type, queue=queue, limit=limit)
    ends = [Ends(*row[:-2]) for row in rows]
    return Stats(begin, reader.now, ends, Ends(*first[:-2]), first.looked_at, first.back_to)
