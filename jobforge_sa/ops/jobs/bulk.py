"""Jobs that fit, changed batch by batch: each commits on its own, so that it can be stopped, and gone on with."""

from __future__ import annotations

import random
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Engine

from jobforge_sa.db import failures
from jobforge_sa.enqueue.matching import Matching, MoreFilters
from jobforge_sa.errors import JobForgeError
from jobforge_sa.ops.reader import writing
from jobforge_sa.types import Batch

CROSSED = ("40P01", "55P03")  # a deadlock; a lock that was not given in time
TRIES = 8  # of one batch, where somebody stands in its way
AGAIN = 5  # looks at jobs that were on their way while they were to be canceled
COUNTED = 10_000  # jobs in a batch that changes nothing

Change = Callable[..., Batch]


@dataclass
class Bulk:
    """One change of the jobs that fit, from a cursor on."""

    engine: Engine
    tenant: str | None
    filters: MoreFilters
    change: Callable[[Matching], Change]
    patient: bool = False  # a skipped job may be between two places, and is looked at again
    cursor: uuid.UUID | None = None
    changed: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    over_quota: int = field(default=0, init=False)  # of those

    def count(self) -> int:
        """How many fit: nothing is changed."""
        found, cursor = 0, self.cursor
        while True:
            batch = self._batch(cursor, limit=COUNTED, dry_run=True)
            found += batch.changed
            if (cursor := batch.cursor) is None:
                return found

    def run(self, limit: int, report: Callable[[int], None]) -> None:
        """Change them, batch by batch. `cursor` is always where to go on.

        Raises:
            JobForgeError: the database refuses.
        """
        while True:
            batch = self._changed(limit)
            self.skipped += batch.skipped
            self.over_quota += batch.over_quota
            self.cursor = batch.cursor
            report(self.changed)
            if self.cursor is None:
                return

    def _changed(self, limit: int) -> Batch:
        """One batch; and what it skipped once more, for a claim that is under way is over in a moment."""
        batch = self._batch(self.cursor, limit=limit)
        for tried in range(1, AGAIN if self.patient and batch.skipped else 1):
            time.sleep(0.02 * 2**tried)
            batch = self._batch(self.cursor, limit=limit)
            if not batch.skipped:
                break
        return batch

    def _batch(self, cursor: uuid.UUID | None, *, dry_run: bool = False, limit: int) -> Batch:
        for tried in range(TRIES):
            try:
                with _undisturbed():  # what is committed is counted
                    with writing(self.engine, self.tenant) as reader:
                        filters = self.filters.copy()
                        filters["all_tenants"] = reader.sees_all
                        these = reader.jobs.matching(**filters)
                        batch = self.change(these)(cursor=cursor, limit=limit, dry_run=dry_run)
                    self.changed += 0 if dry_run else batch.changed
                    return batch
            except JobForgeError as error:
                if failures.sqlstate(error.__cause__ or error) not in CROSSED:
                    raise
                time.sleep(0.1 * 2**tried * random.uniform(0.5, 1))
        raise JobForgeError("somebody holds these jobs", cure="end that transaction (pg_locks), and go on")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let a Ctrl-C wait for the end of the block; a second one does not."""
    plain = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not plain or threading.current_thread() is not threading.main_thread():
        yield
        return
    came = False

    def note(*_: object) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if came:
            raise KeyboardInterrupt
