"""Whether a worker is alive and fit for work, and its numbers of this moment. Looks only, and waits for nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobforge_sa.worker.counters import Counters, Measured
from jobforge_sa.worker.heartbeat import Heartbeat
from jobforge_sa.worker.lane import Lane
from jobforge_sa.worker.outage import Outage
from jobforge_sa.worker.service import Service

STUCK = 30.0  # seconds beyond its patience: the watchdog breaks a connection off before that
NEEDED = frozenset({"claimer", "heartbeat", "reporter"})  # without whom no job runs


@dataclass(frozen=True, slots=True)
class Health:
    """An answer, and where it is no, why. True where it is yes."""

    reasons: Sequence[str] = ()

    def __bool__(self) -> bool:
        return not self.reasons

    def __str__(self) -> str:
        return "; ".join(self.reasons) or "ok"


@dataclass(frozen=True, slots=True)
class Numbers:
    """A worker's numbers of one moment."""

    stats: Mapping[str, int]
    measured: Measured
    running: Mapping[str, int]  # handlers, by queue
    slots: Mapping[str, int]
    unreported: int  # ended runs that the database does not know of yet
    heartbeat_age: float  # seconds; infinite before the first
    lease: float
    live: Health
    ready: Health


class Vitals:
    """Looks at the parts of a worker that was started."""

    def __init__(
        self, connected: Sequence[Service], others: Sequence[Service], heartbeat: Heartbeat, lanes: Sequence[Lane],
        lease: dt.timedelta,
    ) -> None:  # fmt: skip
        self._connected, self._others = connected, others
        self._heartbeat = heartbeat
        self._lanes = lanes
        self._lease = lease.total_seconds()
        self.outage = Outage()

    def live(self) -> Health:
        """Whether its threads live and none of them is stuck. A database that is away is no reason to say no."""
        ended = [f"{one.name}: its thread has ended" for one in (*self._connected, *self._others) if one.ended]
        stuck = [
            f"{one.name}: no answer for {one.link.busy:.0f} s, and its connection cannot be broken off"
            for one in self._connected
            if one.link.busy > one.patience + STUCK
        ]
        return Health((*ended, *stuck))

    def ready(self) -> Health:
        """Whether it works: its last heartbeat is younger than the lease, and its threads reach the database."""
        reasons = list(self.live().reasons)
        age = self._heartbeat.age
        if age > self._lease:
            reasons.append(f"the last heartbeat was {age:.0f} s ago" if self._heartbeat.begun else "no heartbeat yet")
        if down := NEEDED & self.outage.down:
            reasons.append(f"the database does not work for: {', '.join(sorted(down))}")
        return Health(tuple(reasons))

    def numbers(self, counters: Counters, unreported: int, live: Health, ready: Health) -> Numbers:
        """All of them."""
        return Numbers(
            counters.read(), counters.measured(),
            {lane.queue: lane.active for lane in self._lanes}, {lane.queue: lane.concurrency for lane in self._lanes},
            unreported, self._heartbeat.age, self._lease, live, ready,
        )  # fmt: skip
