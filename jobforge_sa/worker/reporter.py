"""Tells the database how runs ended: as many in one statement as have come together, again until it has answered."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from typing import Any

import psycopg
from sqlalchemy import Engine

from jobforge_sa.db import calls
from jobforge_sa.worker import ending as endings
from jobforge_sa.worker.ending import Ending
from jobforge_sa.worker.link import LinkDown
from jobforge_sa.worker.run import Run, Runs
from jobforge_sa.worker.service import Service

log = logging.getLogger("jobforge_sa.worker")

BATCH = 500


class Reporter(Service):
    """Batches completions. Repeating one is safe: the database says that it was done already."""

    name = "reporter"

    def __init__(self, engine: Engine, runs: Runs, ended: Callable[[Run, str], None]) -> None:
        super().__init__(engine)
        self._runs = runs
        self._ended = ended  # told each run and how it ended for the database: an outcome, or "lost"
        self._queue: queue.SimpleQueue[tuple[Run, Ending] | None] = queue.SimpleQueue()
        self._batch: list[tuple[Run, Ending]] = []

    def report(self, run: Run, ending: Ending | None) -> None:
        """Take a run's end; None: the handler's own transaction has completed it."""
        if ending is None:
            self._runs.remove(run.job.lease_token)
            self._ended(run, "succeeded")
        else:
            self._queue.put((run, ending))

    @property
    def backlog(self) -> int:
        """Ended runs that the database does not know of yet."""
        return self._queue.qsize() + len(self._batch)

    def wake(self) -> None:
        """Let the thread look at once."""
        self._queue.put(None)

    def step(self) -> None:
        """Send what has come together; wait for the first if there is nothing."""
        self._collect(wait=not self._batch)
        if self._batch:
            self._send()

    def finish(self) -> None:
        """Send what is left, once."""
        try:
            while True:
                self._collect(wait=False)
                if not self._batch:
                    return
                self._send()
        except (LinkDown, psycopg.Error) as error:
            log.warning("reporter: %s runs ended and could not be reported (%s); they will run again",
                        len(self._batch), error)  # fmt: skip

    def _collect(self, *, wait: bool) -> None:
        try:
            while len(self._batch) < BATCH:
                entry = self._queue.get(block=wait)
                if entry is not None:
                    self._batch.append(entry)
                wait = False
        except queue.Empty:
            pass

    def _send(self) -> None:
        batch = self._batch
        document = "[" + ",".join(ending.item(run) for run, ending in batch) + "]"
        answers: list[Any] = self.link.run(lambda c: c.execute(calls.COMPLETE_JOBS, {"results": document}).fetchall())
        self._batch = []
        for item, answer, reason in answers:
            run, ending = batch[item - 1]
            if answer == "refused" and ending.error is None:
                log.warning("job %s: the database refused its completion: %s", run.job.id, reason)
                self._queue.put((run, endings.refused(reason)))
                continue
            if answer == "lost":
                log.warning("job %s: the lease of run %s was lost, its end does not count", run.job.id, run.job.run)
            self._runs.remove(run.job.lease_token)
            self._ended(run, ending.outcome if answer in ("done", "already_done") else "lost")
