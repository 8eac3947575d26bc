"""The upkeep that every worker does now and then: rescue, promote, clean up. No leader."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from typing import Any

from sqlalchemy import Engine

from jobforge_sa.db import calls
from jobforge_sa.worker.incidents import Incidents
from jobforge_sa.worker.service import Service


class Upkeep(Service):
    """Bounded steps on a connection of its own: should one of them have to wait, the heartbeat does not."""

    name = "upkeep"

    def __init__(self, engine: Engine, incidents: Incidents, *, worker_id: uuid.UUID, lease: dt.timedelta) -> None:
        super().__init__(engine)
        self._incidents = incidents
        self._values = {"worker_id": worker_id}
        self._pause = lease.total_seconds() / 3

    def step(self) -> None:
        """Look after what is due, and sleep for about a third of the lease."""
        rows: list[Any] = self.link.run(lambda c: c.execute(calls.UPKEEP, self._values).fetchall())
        moved = {step: count for step, count in rows if count}
        if moved.get("rescued"):
            self._incidents.rescued(moved["rescued"])
        self.sleep(self._pause * random.uniform(0.7, 1.3))  # so that many workers do not all come at once
