"""A run in progress, and all runs that this worker holds."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from sqlalchemy import Connection

from jobforge_sa.context import ClaimedJob, Signals
from jobforge_sa.tasks import Task
from jobforge_sa.worker.backend import Backend
from jobforge_sa.worker.incidents import Incidents

Why = Literal["canceled", "lost", "stopping", "timed_out"]


class Run(Signals):
    """One claimed job on its way through the worker. Also its own signals, for each object more is the collector's."""

    # the class's, for most runs never change most of them, and each costs its share of a short job
    spawned = 0.0  # monotonic: an async one was handed to the loop; 0: not yet
    started = 0.0  # monotonic; 0: not yet
    stopped = 0.0  # monotonic: its end was reported
    told = False  # its end is on its way to the database: a second one would contradict it
    ended = False  # the handler has returned
    missed = False  # its lease is gone, and that was said
    idle_told = False  # its transaction is open without a statement, and that was said
    overstayed = False  # ... and was ended for it
    abandoned = False  # it was left behind: nobody waits for its return
    thread: threading.Thread | None = None  # of a plain handler
    cancel: Callable[[], object] | None = None  # how to interrupt an async handler, or a statement
    backend: Backend | None = None  # of its session, once that has begun a transaction

    def __init__(self, job: ClaimedJob, task: Task[Any, Any]) -> None:
        self.job = job
        self.task = task

    def start(self) -> None:
        """The handler begins."""
        self.started = time.monotonic()

    def stop(self) -> None:
        """Its end is reported, whatever its handler still does."""
        self.stopped = time.monotonic()

    @property
    def seconds(self) -> float | None:
        """How long the handler took; None where it did not begin."""
        return self.stopped - self.started if self.started else None

    @property
    def left(self) -> float | None:
        """Seconds until its timeout, negative behind it; None: it has none, or has not begun."""
        if not self.started or self.job.timeout is None:
            return None
        return self.started + self.job.timeout.total_seconds() - time.monotonic()

    @property
    def elapsed_ms(self) -> int:
        """How long the handler has run, by this machine's monotonic clock."""
        return min(int((time.monotonic() - self.started) * 1000), 999_999_999) if self.started else 0

    def interrupt(self, why: Why) -> None:
        """Tell the handler to stop: an async one is cancelled, of another its statement; each can ask its context."""
        setattr(self, why, True)
        cancel, self.cancel = self.cancel, None  # once: a second word would cancel the handler's cleaning up
        if cancel is not None:
            cancel()

    def hold(self, connection: Connection) -> None:
        """Its session has begun a transaction on this connection."""
        if self.backend is None:
            self.backend = Backend()
        self.backend.hold(connection)

    def cancel_statement(self) -> None:
        """Cancel what its session is doing in the database, if it is. Does not wait."""
        if self.backend is not None:
            self.backend.cancel()

    def sever(self) -> None:
        """Break its session's connection off, if it has one."""
        if self.backend is not None:
            self.backend.sever()


class Runs:
    """What this worker holds leases for, from the claim to the database's answer to the completion."""

    def __init__(self, incidents: Incidents) -> None:
        self.incidents = incidents
        self._by_token: dict[uuid.UUID, Run] = {}
        # their handlers have completed them, and go on: a stop waits for them, and their timeouts count, but they have
        # no lease any more that a heartbeat could keep or lose
        self._behind: dict[uuid.UUID, Run] = {}
        self._empty = threading.Condition()

    def add(self, runs: Sequence[Run]) -> None:
        """A claim brought them."""
        self.incidents.claimed([run.job for run in runs])
        for run in runs:
            self._by_token[run.job.lease_token] = run

    def remove(self, runs: Iterable[Run]) -> None:
        """Their leases are ended, one way or the other."""
        for run in runs:
            self._by_token.pop(run.job.lease_token, None)
        self._tell_empty()

    def stay(self, run: Run) -> None:
        """Its handler has completed it, and goes on. Called before the lease is removed."""
        self._behind[run.job.lease_token] = run

    def leave(self, run: Run) -> None:
        """A handler that has completed its job has returned, or nobody waits for it any more."""
        self._behind.pop(run.job.lease_token, None)
        self._tell_empty()

    def is_behind(self, run: Run) -> bool:
        """Whether its handler goes on behind its completion."""
        return run.job.lease_token in self._behind

    def get(self, token: uuid.UUID) -> Run | None:
        """The run with that lease."""
        return self._by_token.get(token) or self._behind.get(token)

    def all(self) -> list[Run]:
        """A copy: other threads go on changing the original."""
        return list({**self._behind, **self._by_token}.values())

    def tokens(self) -> list[uuid.UUID]:
        """The leases, for the heartbeat."""
        return list(self._by_token)

    def __len__(self) -> int:
        return len(self._by_token) + len(self._behind)

    def wait_empty(self, timeout: float | None) -> bool:
        """Wait until nothing is held."""
        with self._empty:
            return self._empty.wait_for(lambda: not len(self), timeout)

    def _tell_empty(self) -> None:
        if not len(self):
            with self._empty:
                self._empty.notify_all()
