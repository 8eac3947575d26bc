"""How far the worker has come, asked of the database: a bar on a terminal, lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TextColumn
from sqlalchemy import Engine, func, select

from examples.orders.database import operator
from examples.orders.ledger import Ledger
from examples.orders.screen import console, line
from examples.orders.shops import PREFIX, Shop
from jobforge_sa import JobState
from jobforge_sa.models import Job

PATIENCE = 45.0  # seconds


class JobsDone:
    def __init__(self, engine: Engine, ledger: Ledger) -> None:
        self.engine, self.ledger = engine, ledger
        columns = TextColumn(" "), BarColumn(), TextColumn("{task.fields[count]}")
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self.task = self.bar.add_task("jobs", total=None, count="")
        self.started = self.said = time.monotonic()
        self.before = self._done()

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.bar.stop()

    def show(self, paused: Shop | None = None) -> bool:
        """Show the state, and say whether all is done that can be done now."""
        wanted = len(self.ledger.jobs - self.ledger.summaries) - self.before
        done = self._done() - self.before
        rate = done / (time.monotonic() - self.started)
        count = f"{done:,} of {wanted:,} jobs done, {rate:,.0f}/s"
        self.bar.update(self.task, total=wanted, completed=done, count=count)
        if self.bar.disable and (done == wanted or time.monotonic() > self.said + 1):
            self.said = time.monotonic()
            line(count)
        return done == wanted - (len(self.ledger.waiting(paused)) if paused else 0)

    def wait(self, paused: Shop | None = None) -> None:
        """Wait for the rest; where it does not come, the promises will tell."""
        while not self.show(paused) and time.monotonic() < self.started + PATIENCE:
            time.sleep(0.05)

    def _done(self) -> int:
        ended = Job.tenant_id.startswith(PREFIX), Job.state.in_([JobState.SUCCEEDED, JobState.DEAD])
        with operator(self.engine) as session:
            return session.scalar(select(func.count()).select_from(Job).where(*ended)) or 0
