"""What lasts for too long: plain handlers past their timeout, and transactions with which nothing is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from sqlalchemy import Engine

from jobforge_sa.worker import ending as endings
from jobforge_sa.worker.ending import Ending
from jobforge_sa.worker.lane import Lane
from jobforge_sa.worker.run import Run, Runs
from jobforge_sa.worker.service import Service

LOOK = 0.25  # seconds between two looks
PATIENCE = 5.0  # seconds that a handler has after it was told: to clean up, and to let a completion through


class Deadlines(Service):
    """Looks after what runs for too long. Durations are this machine's monotonic clock's; no wall clock counts.

    A thread cannot be killed. What ignores its timeout is left behind: its run ends as timed out, its slot is free, and
    its session's connection is broken off, with all that it had written. So is that of a handler whose transaction has
    been without a statement for `idle_limit` seconds: it holds its locks, and keeps vacuum from everything.
    """

    name = "deadlines"

    def __init__(
        self, engine: Engine, runs: Runs, lanes: Mapping[str, Lane], report: Callable[[Run, Ending], None],
        idle: tuple[float, float],
    ) -> None:  # fmt: skip
        super().__init__(engine)
        self._idle_warning, self._idle_limit = idle  # seconds
        self._runs = runs
        self._lanes = lanes
        self._report = report

    def step(self) -> None:
        """Look at all runs, and sleep."""
        for run in self._runs.all():
            self._look_at_transaction(run)
            if run.spawned and not run.started and time.monotonic() - run.spawned > PATIENCE:
                self._give_back(run)
            left = run.left
            if left is None or left > 0:
                continue
            if not run.timed_out and not run.task.is_async:  # those have a timeout of their loop's
                run.interrupt("timed_out")
            elif left <= -PATIENCE and not run.task.process:  # the pool kills those
                self._abandon(run)
        self.sleep(LOOK)

    def _look_at_transaction(self, run: Run) -> None:
        if run.backend is None:
            return
        idle = run.backend.idle_for()
        if idle > self._idle_limit and not run.overstayed:
            run.overstayed = True
            self._runs.incidents.idle(run, idle, ended=True)
            run.sever()
        elif idle > self._idle_warning and not run.idle_told:
            run.idle_told = True
            self._runs.incidents.idle(run, idle, ended=False)

    def _give_back(self, run: Run) -> None:
        """Nothing begins on a loop that is blocked: the job waits for another worker, its slot serves others."""
        lane = self._lanes[run.job.queue]
        behind = lane.take_back()
        if not run.told and lane.abandon(run):
            self._runs.incidents.blocked(run)
            self._report(run, endings.RELEASED)
            run.interrupt("stopping")  # should it begin at this moment
        for other in behind:  # they would have their turn one after the other, five seconds each
            self._report(other, endings.RELEASED)

    def _abandon(self, run: Run) -> None:
        if (run.told and not self._runs.is_behind(run)) or not self._lanes[run.job.queue].abandon(run):
            return
        self._runs.incidents.abandoned(run)
        run.sever()
        self._report(run, endings.ABANDONED)
