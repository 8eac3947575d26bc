"""Claims jobs for the lanes as they have room, and sleeps when there are none."""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, LiteralString

import psycopg
from sqlalchemy import Engine

from jobforge_sa.context import ClaimedJob
from jobforge_sa.db import calls
from jobforge_sa.tasks import Task
from jobforge_sa.worker.bed import Bed
from jobforge_sa.worker.cycle import BEHIND, LOOK_SOON, MAX_CLAIM, MAX_UNREPORTED, SUSPECT, Lookout, Rest
from jobforge_sa.worker.deadlines import PATIENCE
from jobforge_sa.worker.lane import Lane
from jobforge_sa.worker.run import Run, Runs
from jobforge_sa.worker.service import Service
from jobforge_sa.worker.voice import log


class Claimer(Service):
    """Keeps the lanes supplied: continuous refill, no batch barrier; as many as there is room for, never more.

    A suspect, which may kill this process, runs alone: it is claimed when nothing is held, and then nothing else is.
    """

    name = "claimer"

    def __init__(
        self, engine: Engine, runs: Runs, lanes: list[Lane], tasks: Mapping[str, Task[Any, Any]], *,
        worker_id: uuid.UUID, lease: dt.timedelta, poll: dt.timedelta, unreported: Callable[[], int],
        release: Callable[[Run], None], signed: Callable[[], None], loop_late: Callable[[], float],
        bed: Bed,
    ) -> None:  # fmt: skip
        super().__init__(engine)
        self._runs = runs
        self._lanes = lanes
        self._tasks = tasks
        self._poll = poll.total_seconds()
        self._unreported = unreported
        self._release = release
        self._signed = signed
        self._loop_late = loop_late
        self._values = {"worker_id": worker_id, "types": list(tasks), "alive": lease}
        self._cursors: dict[str, str] = {}
        self._rest, self._bed = Rest(self._poll), bed
        self._woken = True  # somebody has sent for the look that is under way
        self._paced = time.monotonic()
        self.claimed = 0
        self.in_doubt = 0.0  # monotonic: since then a claim may have been committed whose answer got lost
        self._short: set[str] = set()  # queues in which the last claim left nothing
        self._looks = 0  # how often somebody asked whether there is anything left
        self._drained = 0  # the last of these questions that was answered: nothing
        self._answered = threading.Condition()
        self._lookout = Lookout()
        self._lookout.postpone(self._paced, random.random())
        self._alone: uuid.UUID | None = None  # the lease of the suspect that is here

    def step(self) -> None:
        """Claim what there is room for; sleep when there was less than that."""
        self._observe_pace()
        for lane in self._lanes:
            lane.start()
        if self._unreported() >= MAX_UNREPORTED:
            self.sleep(BEHIND)  # the lanes may be empty by now, and nobody else would wake us
            return
        if self._is_alone() or self._makes_way():
            self.sleep(min(self._poll, LOOK_SOON))
            return
        wanted = {lane.queue: lane.room() for lane in self._lanes}
        wanted = {queue: room for queue, room in wanted.items() if room}
        if not wanted:
            self.sleep(self._poll)
            return
        held, looks = len(self._runs), self._looks  # before the claim: what comes later is not its business
        self.in_doubt = time.monotonic()
        jobs = self.link.run(lambda connection: self._claim(connection, wanted, alone=not held))
        self.in_doubt = 0.0
        rest = self._take_in(jobs)
        if len(jobs) == min(sum(wanted.values()), MAX_CLAIM):
            self._short, self._woken = set(), True
            return
        got = Counter(job.queue for job in jobs)
        self._short = {queue for queue, room in wanted.items() if got[queue] < room}
        if not jobs and not held and looks > self._drained:  # suspects neither: who has asked for that may go
            with self._answered:
                self._drained = looks
                self._answered.notify_all()
        self._woken = self.sleep(rest)

    def _take_in(self, jobs: list[ClaimedJob]) -> float:
        """Start what a claim brought. Gives how long to sleep if that was all there is."""
        now = time.monotonic()
        if jobs:
            self._rest.found(now, len(jobs), unasked=not self._woken)
            self._hand_out(jobs)
        else:
            self._rest.nothing()
        (self._bed.lie_down if self._rest.asleep else self._bed.get_up)()
        return self._rest.nap(now, self._bed.since)

    def _is_alone(self) -> bool:
        """Whether a suspect is here: until the database knows how it ended, for until then a crash would be its own."""
        if self._alone is not None and self._runs.get(self._alone) is None:
            self._alone = None
        return self._alone is not None

    def _makes_way(self) -> bool:
        """Whether nothing is claimed for now: a suspect waits, and this worker becomes empty for it."""
        lookout, now = self._lookout, time.monotonic()
        if not len(self._runs):
            if lookout.until is None:
                return False
            lookout.postpone(now, random.random())
            return self._claim_suspect()
        if now < lookout.busy_at:
            return lookout.until is not None
        values = {"queues": [lane.queue for lane in self._lanes], "types": self._values["types"]}
        ((waits,),) = self.link.run(lambda connection: connection.execute(calls.HAS_SUSPECT, values).fetchall())
        lookout.saw(bool(waits), now, random.random())
        if lookout.until is not None:
            for lane in self._lanes:
                for run in lane.take_back():
                    self._release(run)
        return lookout.until is not None

    def _claim_suspect(self) -> bool:
        """Claim one and start it; nothing is held now."""
        queues = [lane.queue for lane in self._lanes]
        random.shuffle(queues)  # they are looked through in this order
        values = {**self._values, "types": self._types(), "queues": queues}
        self.in_doubt = time.monotonic()
        jobs = self.link.run(lambda connection: self._fetch(connection, calls.CLAIM_SUSPECT, values))
        self.in_doubt = 0.0
        self._hand_out(jobs)
        return bool(jobs)

    def _types(self) -> list[str]:
        """What can be run now: no async task while a handler blocks the loop. They were just given back for that."""
        blocked = self._loop_late() > PATIENCE
        return [name for name, task in self._tasks.items() if not (blocked and task.is_async)]

    def settled(self) -> None:
        """The database knows of the end of a run: whoever waited for that goes on."""
        if self._alone is not None or self._lookout.until is not None:
            self.wake()

    def freed(self, lane: Lane) -> None:
        """A slot became free. Nothing to do where the last claim found the queue empty: new jobs come with a hint."""
        if lane.queue not in self._short or self._looks > self._drained:
            self.wake()

    def drain(self, timeout: float | None) -> bool:
        """Wait until a claim that began after this call finds nothing, suspects neither, with nothing running."""
        with self._answered:
            self._looks += 1
            look = self._looks
            self.wake()
            return self._answered.wait_for(lambda: self._drained >= look, timeout)

    def _claim(self, connection: psycopg.Connection[Any], wanted: dict[str, int], *, alone: bool) -> list[ClaimedJob]:
        queues = list(wanted)
        if alone:
            random.shuffle(queues)  # in this order they are looked through for a suspect
        values = {
            **self._values,
            "types": self._types(),
            "queues": queues,
            "limit": min(sum(wanted.values()), MAX_CLAIM),
            "queue_limits": [wanted[queue] for queue in queues],
            "cursors": [self._cursors.get(queue) for queue in queues],
            "alone": alone,
        }
        return self._fetch(connection, calls.CLAIM_JOBS, values)

    @staticmethod
    def _fetch(
        connection: psycopg.Connection[Any], claim: LiteralString, values: Mapping[str, object]
    ) -> list[ClaimedJob]:
        with connection.cursor(binary=True, row_factory=lambda _: ClaimedJob._make) as cursor:
            return cursor.execute(claim, values).fetchall()

    def _hand_out(self, jobs: list[ClaimedJob]) -> None:
        self.claimed += len(jobs)
        if jobs and jobs[0].tenant_token is not None:
            self._signed()
        if jobs and jobs[0].crashes >= SUSPECT:
            self._isolate(jobs[0])
        runs = [Run(job, self._tasks[job.type]) for job in jobs]
        self._runs.add(runs)
        by_queue: dict[str, list[Run]] = {}
        for run in runs:
            by_queue.setdefault(run.job.queue, []).append(run)
        for lane in self._lanes:
            if lane.queue in by_queue:
                self._cursors[lane.queue] = by_queue[lane.queue][-1].job.tenant_id  # the ring goes on behind it
                for run in lane.offer(by_queue[lane.queue]):
                    self._release(run)

    def _isolate(self, job: ClaimedJob) -> None:
        log.warning(
            "job %s (%s) has lost its last %s workers: it runs alone", job.id, job.type, job.crashes,
            extra=job.log_fields(),
        )  # fmt: skip
        self._alone = job.lease_token

    def _observe_pace(self) -> None:
        now = time.monotonic()
        if now - self._paced < 0.01:  # too short to measure anything
            return
        for lane in self._lanes:
            lane.observe(now - self._paced)
        self._paced = now
