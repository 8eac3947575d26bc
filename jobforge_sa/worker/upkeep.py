"""The upkeep that every worker does now and then: rescue, promote, clean up. No leader."""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine

from jobforge_sa.db import calls
from jobforge_sa.worker.incidents import Incidents
from jobforge_sa.worker.service import Service

FULL = 1_000  # what one call moves of a kind: there may be more
REST = 2  # times as long as a step that may not have been the last
LOOK = 1.0  # seconds between two looks whether the heartbeat is steady


class Upkeep(Service):
    """Bounded steps on a connection of its own: should one of them have to wait, the heartbeat does not.

    When the database was away for longer than a lease, all workers look dead when it is back, and whoever comes first
    would count a crash for each job that runs. So nobody rescues before its own heartbeats have gone well for a whole
    lease: by then whoever lives has sent one.
    """

    name = "upkeep"

    def __init__(
        self, engine: Engine, incidents: Incidents, *,
        worker_id: uuid.UUID, lease: dt.timedelta, steady: Callable[[], bool],
    ) -> None:  # fmt: skip
        super().__init__(engine)
        self._incidents = incidents
        self._values = {"worker_id": worker_id}
        self._pause = lease.total_seconds() / 3
        self._steady = steady
        self._asked_now = threading.Event()

    def do_now(self) -> None:
        """Do it once without waiting for a lease: who drains its queues may not live for so long."""
        self._asked_now.set()
        self.wake()

    def step(self) -> None:
        """Look after what is due, and sleep for about a third of the lease."""
        if not self._asked_now.is_set() and not self._steady():
            self.sleep(min(self._pause, LOOK))
            return
        began = time.monotonic()
        rows: list[Any] = self.link.run(lambda c: c.execute(calls.UPKEEP, self._values).fetchall())
        moved = {step: count for step, count, _ in rows if count}
        if moved.get("rescued"):
            self._incidents.rescued(moved["rescued"], [job for _, _, jobs in rows for job in jobs or ()])
        # in a transaction of its own: what cannot be deleted, or takes long, keeps nobody from being rescued
        ((pruned,),) = self.link.run(lambda c: c.execute(calls.PRUNE_STEP).fetchall())
        if pruned or max(moved.values(), default=0) >= FULL:
            # ten thousand after an outage are a second's work, and none of it waits; and where few of many may go, a
            # step of 5,000 in ten seconds would never catch up. A third of the time deletes more than a worker ends
            self._stopping.wait(REST * (time.monotonic() - began))
            return
        self._asked_now.clear()
        self.sleep(self._pause * random.uniform(0.7, 1.3))  # so that many workers do not all come at once
