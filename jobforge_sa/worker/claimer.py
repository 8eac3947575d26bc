"""Claims jobs for the lanes as they have room, and sleeps when there are none."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg.rows import args_row
from sqlalchemy import Engine

from jobforge_sa.context import ClaimedJob
from jobforge_sa.db import calls
from jobforge_sa.tasks import Task
from jobforge_sa.worker.cycle import BEHIND, MAX_CLAIM, MAX_UNREPORTED, nap
from jobforge_sa.worker.lane import Lane
from jobforge_sa.worker.run import Run, Runs
from jobforge_sa.worker.service import Service

log = logging.getLogger("jobforge_sa.worker")


class Claimer(Service):
    """Keeps the lanes supplied: continuous refill, no batch barrier; as many as there is room for, never more."""

    name = "claimer"

    def __init__(
        self, engine: Engine, runs: Runs, lanes: list[Lane], tasks: Mapping[str, Task[Any, Any]], *,
        worker_id: uuid.UUID, lease: dt.timedelta, poll: dt.timedelta, unreported: Callable[[], int],
    ) -> None:  # fmt: skip
        super().__init__(engine)
        self._runs = runs
        self._lanes = lanes
        self._tasks = tasks
        self._poll = poll.total_seconds()
        self._unreported = unreported
        self._values = {"worker_id": worker_id, "types": list(tasks), "alive": lease}
        self._cursors: dict[str, str] = {}
        self._idle = 0
        self._paced = time.monotonic()
        self.claimed = 0
        self.in_doubt = 0.0  # monotonic: since then a claim may have been committed whose answer got lost
        self._short: set[str] = set()  # queues in which the last claim left nothing
        self._looks = 0  # how often somebody asked whether there is anything left
        self._drained = 0  # the last of these questions that was answered: nothing
        self._answered = threading.Condition()

    def step(self) -> None:
        """Claim what there is room for; sleep when there was less than that."""
        self._observe_pace()
        if self._unreported() >= MAX_UNREPORTED:
            self.sleep(BEHIND)  # the lanes may be empty by now, and nobody else would wake us
            return
        wanted = {lane.queue: lane.room() for lane in self._lanes}
        wanted = {queue: room for queue, room in wanted.items() if room}
        if not wanted:
            self.sleep(self._poll)
            return
        held, looks = len(self._runs), self._looks  # before the claim: what comes later is not its business
        self.in_doubt = time.monotonic()
        jobs = self.link.run(lambda connection: self._claim(connection, wanted))
        self.in_doubt = 0.0
        self._idle = 0 if jobs else self._idle + 1
        if jobs:
            self._hand_out(jobs)
        elif not held:
            with self._answered:
                self._drained = looks
                self._answered.notify_all()
        limit = min(sum(wanted.values()), MAX_CLAIM)
        if len(jobs) < limit:
            got = Counter(job.queue for job in jobs)
            self._short = {queue for queue, room in wanted.items() if got[queue] < room}
            self.sleep(nap(self._idle, self._poll))
        else:
            self._short = set()

    def freed(self, lane: Lane) -> None:
        """A slot became free. Nothing to do where the last claim found the queue empty: new jobs come with a hint."""
        if lane.queue not in self._short or self._looks > self._drained:
            self.wake()

    def drain(self, timeout: float | None) -> bool:
        """Wait until a claim that began after this call finds nothing, with nothing running."""
        with self._answered:
            self._looks += 1
            look = self._looks
            self.wake()
            return self._answered.wait_for(lambda: self._drained >= look, timeout)

    def _claim(self, connection: psycopg.Connection[Any], wanted: dict[str, int]) -> list[ClaimedJob]:
        values = {
            **self._values,
            "queues": list(wanted),
            "limit": min(sum(wanted.values()), MAX_CLAIM),
            "queue_limits": list(wanted.values()),
            "cursors": [self._cursors.get(queue) for queue in wanted],
        }
        with connection.cursor(binary=True, row_factory=args_row(ClaimedJob)) as cursor:
            return cursor.execute(calls.CLAIM_JOBS, values).fetchall()

    def _hand_out(self, jobs: list[ClaimedJob]) -> None:
        self.claimed += len(jobs)
        by_queue: dict[str, list[Run]] = {}
        for job in jobs:
            run = Run(job, self._tasks[job.type])
            self._runs.add(run)
            by_queue.setdefault(job.queue, []).append(run)
        for lane in self._lanes:
            if lane.queue in by_queue:
                self._cursors[lane.queue] = by_queue[lane.queue][-1].job.tenant_id  # the ring goes on behind it
                lane.offer(by_queue[lane.queue])

    def _observe_pace(self) -> None:
        now = time.monotonic()
        if now - self._paced < 0.02:  # too short to measure anything
            return
        for lane in self._lanes:
            lane.observe(now - self._paced)
        self._paced = now
