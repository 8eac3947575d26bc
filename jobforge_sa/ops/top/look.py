"""One look at everything that is waiting, running or dying; and the rates between two."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from jobforge_sa.db import calls, overview
from jobforge_sa.ops.reader import administering
from jobforge_sa.queues import QueueInfo, Queues, WorkerInfo

COUNTED = 1_000  # jobs of a queue in a state: more are a thousand and more
SHOWN = 50  # rows of a table at most, on the tallest terminal
LIMIT = "10 s"  # for each statement of a look


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What a look has found."""

    now: dt.datetime
    version: str
    counters: tuple[int, int, int]  # enqueued, started, ended: ever
    queues: Sequence[QueueInfo]
    workers: Sequence[WorkerInfo]
    paused_tasks: Sequence[str]
    tenants: Sequence[Any]
    running: Sequence[Any]
    deaths: Sequence[Any]
    took: float  # seconds


def look(engine: Engine) -> Glimpse:
    """Look, in one transaction of an administrator's.

    Raises:
        JobForgeError: the database does not let us, or does not answer.
    """
    began = time.monotonic()
    with administering(engine) as session:
        session.execute(calls.LIMIT, {"limit": LIMIT})
        queues = Queues(session)
        found, workers = queues.list(COUNTED), queues.workers()  # these raise our errors where the schema does not fit
        now, version, *counters = session.execute(overview.COUNTERS).one()
        paused = session.scalars(overview.PAUSED_TASKS).all()
        tenants, running, deaths = (
            session.execute(query, {"count": SHOWN}).all()
            for query in (overview.TENANTS, overview.RUNNING, overview.DEATHS)
        )
    enqueued, started, ended = counters
    took = time.monotonic() - began
    return Glimpse(now, version, (enqueued, started, ended), found, workers, paused, tenants, running, deaths, took)


def rates(before: Glimpse | None, after: Glimpse) -> tuple[float, ...] | None:
    """Jobs that were enqueued, started and ended in a second since the look before, if there was one."""
    if before is None or after.now <= before.now:
        return None
    seconds = (after.now - before.now).total_seconds()
    # somebody may have reset the counters in between
    return tuple(max(0, b - a) / seconds for a, b in zip(before.counters, after.counters, strict=True))
