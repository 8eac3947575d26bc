"""The queues and their workers, for administrators: what waits, what runs, who works on it; paused and limited."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from jobforge_sa.db import calls, limit_calls
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.limits import Limited

COUNTED = 100_000  # jobs of a queue that are counted, so that a look costs the same however many there are


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """A queue that has something waiting or running, or a live worker, or of which something is said: see `Limit`."""

    name: str
    queued: int  # at most as many as were to be counted; as with suspects and scheduled
    oldest: dt.datetime | None  # when the first of the queued jobs was due
    suspects: int  # have lost their last workers, and wait to run alone
    scheduled: int
    next_due: dt.datetime | None
    running: int
    workers: int  # that live
    paused_at: dt.datetime | None = None  # claims pass it over since then
    max_running: int | None = None  # so many of its jobs run at a time


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker that lives, or was lost in the last hour without taking leave."""

    id: uuid.UUID
    name: str | None  # host and process
    started_at: dt.datetime
    alive_until: dt.datetime  # in the past: it is dead
    queues: Sequence[str] | None  # None: it has not said
    types: Sequence[str] | None
    running: int


class Queues(Limited[str]):
    """The queues of a database, of all tenants. Never commits.

    Every method may raise what those of `Tenants` do.

    Example:
        >>> with Session(engine) as session:
        ...     late = [queue for queue in Queues(session).list() if queue.queued and not queue.workers]
    """

    _calls = limit_calls.QUEUE_LIMITS

    def list(self, count: int = COUNTED) -> Sequence[QueueInfo]:
        """The queues by name; of each, up to `count` jobs in a state are counted."""
        if not 1 <= count <= 100_000_000:
            raise ConfigurationError(f"1 to 100,000,000 jobs are counted, not {count}", cure="leave the count out")
        return [QueueInfo(*row) for row in self._rows(calls.LIST_QUEUES, count=count)]

    def workers(self) -> Sequence[WorkerInfo]:
        """The workers, the oldest first."""
        return [WorkerInfo(*row) for row in self._rows(calls.LIST_WORKERS)]
