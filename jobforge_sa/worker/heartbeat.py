"""The worker's sign of life, and what it hears in answer."""

from __future__ import annotations

import datetime as dt
import math
import time
import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine

from jobforge_sa.db import calls
from jobforge_sa.worker.link import LinkDown
from jobforge_sa.worker.run import Runs
from jobforge_sa.worker.service import Service
from jobforge_sa.worker.voice import log

LEAST = dt.timedelta(seconds=1)  # the shortest life that can be asked for
GAP = 0.1  # seconds between two: anybody may send hints, and a flood of them costs ten updates a second


class Heartbeat(Service):
    """One small update for all runs together, from its own thread and connection, so that no handler can starve it."""

    name = "heartbeat"

    def __init__(
        self, engine: Engine, runs: Runs, *, worker_id: uuid.UUID, lease: dt.timedelta, name: str, queues: list[str],
        types: list[str], connections: int, listens: bool, claim_in_doubt: Callable[[], float],
    ) -> None:  # fmt: skip
        super().__init__(engine)
        self._runs = runs
        self._lease = lease
        self.patience = max(lease.total_seconds() / 3, 1.0)  # there is time for another one before the lease ends
        self.longest = lease.total_seconds() / 10  # so that it is heard of soon after an outage
        self._claim_in_doubt = claim_in_doubt
        self._regular = max(lease.total_seconds() / 2, lease.total_seconds() / 3 + 1)
        self._last = self._since = 0.0  # monotonic: the last one, and the first of those that came regularly
        # a cancel of a running job is heard of within a second: by a hint, or by asking
        self._pause = lease.total_seconds() / 3 if listens else min(lease.total_seconds() / 3, 1.0)
        self._values: dict[str, Any] = {
            "worker_id": worker_id,
            "name": name,
            "queues": queues,
            "types": types,
            "connections": connections,
        }

    def step(self) -> None:
        """Beat, and sleep for a third of the lease, or until a running job was canceled."""
        self.beat()
        self._stopping.wait(GAP)
        self.sleep(self._pause)

    def finish(self) -> None:
        """Take leave: whatever is still held (nothing, after a clean stop) is given back, or can be rescued at once."""
        try:
            self._leave()
        except LinkDown:  # half-open, it may be
            self._leave()

    def _leave(self) -> None:
        # a claim whose answer was lost, an end that could not be told: no crash of the job's. What was claimed less
        # than the shortest life ago is not taken back
        doubt = self._claim_in_doubt()
        if len(self._runs):
            doubt = time.monotonic()
        if doubt:
            time.sleep(max(0.0, min(doubt + 0.1 - time.monotonic(), 0.1) + LEAST.total_seconds()))
        held = {run.job.id for run in self._runs.all()}
        gone = [job_id for _, job_id, _ in self._send([], LEAST)]
        self._runs.incidents.unheard([job_id for job_id in gone if job_id not in held])
        if held.intersection(gone):
            log.warning("%s jobs are queued again: their ends could not be told", len(held.intersection(gone)))
        self._send([], dt.timedelta(0))

    def deaf(self) -> None:
        """No hint will ever come: ask for cancels each second."""
        self._pause = min(self._pause, 1.0)
        self.wake()

    def steady(self) -> bool:
        """Whether heartbeats have gone well for one whole lease, until now."""
        now = time.monotonic()
        return 0 < self._since <= now - self._lease.total_seconds() and now - self._last <= self._regular

    @property
    def begun(self) -> bool:
        """Whether one has gone well."""
        return self._last > 0

    @property
    def age(self) -> float:
        """Seconds since the last one that went well; infinite before the first."""
        return time.monotonic() - self._last if self._last else math.inf

    def _send(self, runs: list[uuid.UUID], alive: dt.timedelta) -> list[Any]:
        values = {**self._values, "runs": runs, "alive": alive}
        rows: list[Any] = self.link.run(lambda c: c.execute(calls.HEARTBEAT_JOBS, values).fetchall())
        now = time.monotonic()
        if now - self._last > self._regular:
            self._since = now
        self._last = now
        return rows

    def beat(self) -> None:
        """Send one heartbeat, and pass its answers on to the runs."""
        answers = self._send(self._runs.tokens(), self._lease)
        self._runs.incidents.unheard([job_id for signal, job_id, _ in answers if signal == "released"])
        for signal, _, token in answers:
            run = self._runs.get(token)
            if run is not None and signal != "released":
                if signal == "lost":
                    self._runs.incidents.lost(run)
                run.interrupt("lost" if signal == "lost" else "canceled")
