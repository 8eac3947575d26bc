"""The worker's sign of life, and what it hears in answer."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from typing import Any

from sqlalchemy import Engine

from jobforge_sa.db import calls
from jobforge_sa.worker.run import Runs
from jobforge_sa.worker.service import Service

log = logging.getLogger("jobforge_sa.worker")


GAP = 0.1  # seconds between two: anybody may send hints, and a flood of them costs ten updates a second


class Heartbeat(Service):
    """One small update for all runs together, from its own thread and connection, so that no handler can starve it."""

    name = "heartbeat"

    def __init__(
        self, engine: Engine, runs: Runs, *, worker_id: uuid.UUID, lease: dt.timedelta, name: str, queues: list[str],
        types: list[str], listens: bool,
    ) -> None:  # fmt: skip
        super().__init__(engine)
        self._runs = runs
        self._lease = lease
        self.patience = max(lease.total_seconds() / 3, 1.0)  # there is time for another one before the lease ends
        # a cancel of a running job is heard of within a second: by a hint, or by asking
        self._pause = lease.total_seconds() / 3 if listens else min(lease.total_seconds() / 3, 1.0)
        self._values: dict[str, Any] = {
            "worker_id": worker_id,
            "name": name,
            "queues": queues,
            "types": types,
        }

    def step(self) -> None:
        """Beat, and sleep for a third of the lease, or until a running job was canceled."""
        self.beat(self._lease)
        self._stopping.wait(GAP)
        self.sleep(self._pause)

    def finish(self) -> None:
        """Take leave: what is still held (nothing, after a clean stop) can be rescued at once."""
        self.beat(dt.timedelta(0))

    def beat(self, alive: dt.timedelta) -> None:
        """Send one heartbeat, and pass its answers on to the runs."""
        values = {**self._values, "runs": self._runs.tokens(), "alive": alive}
        rows: list[Any] = self.link.run(lambda c: c.execute(calls.HEARTBEAT_JOBS, values).fetchall())
        for signal, token in rows:
            run = self._runs.get(token)
            if signal == "released":
                log.warning("a claim's answer was lost on its way; its job is queued again")
            elif run is not None:
                if signal == "lost":
                    self._runs.incidents.lost(run)
                run.interrupt("lost" if signal == "lost" else "canceled")
