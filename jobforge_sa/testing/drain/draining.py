"""Run the jobs of a test: on its own connection, in its own transaction, which nobody ever needs to commit.

They are claimed, run and completed by the functions that a worker calls, under the policies and rights of the login,
and by a worker's own code; but handlers' sessions stand on savepoints. Other connections see nothing of it, and
notifications are not sent. What differs from a worker: one job at a time, in this thread, `process=True` included;
no timeout stops a plain handler; what a handler does on connections of its own is not in the test's transaction.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from jobforge_sa.context import ClaimedJob
from jobforge_sa.db.jsontext import decode
from jobforge_sa.enqueue.tenant import autocommits
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.tasks import JobForge, Task
from jobforge_sa.tenant import Tenant, name_of, named
from jobforge_sa.testing._given import Given, connection_of, session_of
from jobforge_sa.testing.clock import Clock
from jobforge_sa.testing.drain.desk import Desk, Place, Waiting
from jobforge_sa.testing.drain.handling import Handling
from jobforge_sa.types import JobInfo, JobState
from jobforge_sa.worker import session as sessions
from jobforge_sa.worker.ending import RELEASED, Ending, refused
from jobforge_sa.worker.run import Run

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

__all__ = ["Drained", "Ran", "TooManyJobs", "Waiting", "async_drain", "drain"]

MAX_JOBS = 1_000
TENANT_LENGTH = 200  # characters at most
LAST = "\U0010ffff"  # no character is behind it


class TooManyJobs(AssertionError):
    """More jobs than `max_jobs` ran, and others wait: as likely as not a job enqueues itself for ever."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of a job.

    Attributes:
        outcome: How it ended: succeeded, failed, timed_out, snoozed, released or canceled; "lost": it did not count.
        error: What is on record of a failure: its type, message and traceback.
        exception: What the handler raised, if that was no outcome.
        job: The job behind its run; None: it is gone.
    """

    id: uuid.UUID
    type: str
    tenant_id: str
    payload: Any
    attempt: int
    outcome: str
    error: dict[str, str] | None = field(repr=False)
    exception: BaseException | None
    job: JobInfo | None = field(repr=False)

    @property
    def state(self) -> JobState | None:
        """Where the job stood behind it; None: the job is gone."""
        return None if self.job is None else self.job.state

    @property
    def result(self) -> Any:
        """What the handler returned, as it was stored."""
        return None if self.job is None else self.job.result


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain has run, in its order, and what still waits: later, or of types and queues that were not asked."""

    ran: list[Ran]
    left: list[Waiting]

    @property
    def counts(self) -> Counter[str]:
        """How many runs had which outcome."""
        return Counter(one.outcome for one in self.ran)

    def of(self, task: Task[Any, Any] | str) -> list[Ran]:
        """The runs of a task, or of a type."""
        name = task.name if isinstance(task, Task) else task
        return [one for one in self.ran if one.type == name]

    def __iter__(self) -> Iterator[Ran]:
        return iter(self.ran)

    def __len__(self) -> int:
        return len(self.ran)

    def __bool__(self) -> bool:
        return bool(self.ran)


def drain(
    session: Given,
    forge: JobForge,
    *,
    tenant: Tenant | None = None,
    queues: Collection[str] | None = None,
    scheduled: bool = False,
    recursive: bool = True,
    raise_errors: bool = True,
    max_jobs: int = MAX_JOBS,
) -> Drained:
    """Run the jobs that wait in the transaction of a session or connection, oldest first.

    Args:
        session: The test's. It is flushed before, and behind it reads anew what handlers have changed, as behind a
            commit (where it expires on commit).
        forge: The registry that knows the tasks; jobs of other types are left.
        tenant: Run this tenant's jobs only. Default: all tenants' that the login may see (as jobforge_admin, if it may
            become that), and those that stand in the queues of the registry's tasks.
        queues: Run jobs of these queues only.
        scheduled: Run what is due later too: the clock is moved to each such moment, and stays there.
        recursive: Run what handlers enqueue, and retries that are due, too. If not, each job that waits now runs once.
        raise_errors: Raise what a handler raises, when the failure is on record. Outcomes (Retry, Discard ...) are no
            errors. If not, go on: they are in `Drained.ran`.
        max_jobs: So many runs at most.

    Raises:
        TooManyJobs: there were more.
        AccessDenied: the login may not work as a worker; the error has the GRANT.
        WrongIsolation: the transaction is not at READ COMMITTED.
        ConfigurationError: a handler ended the transaction; the clock cannot be set; the connection is in AUTOCOMMIT.
    """
    __tracebackhide__ = True
    its = session_of(session)
    if its is not None:
        its.flush()
    connection = connection_of(session)
    if autocommits(connection):
        raise ConfigurationError("drain needs a transaction, and this is in AUTOCOMMIT", cure="give another connection")
    one = Drain(connection, forge, tenant, queues, scheduled, recursive, raise_errors, max_jobs)
    try:
        return one.run()
    finally:
        if its is not None and its.expire_on_commit:
            its.expire_all()


async def async_drain(session: AsyncSession | AsyncConnection, forge: JobForge, **options: Any) -> Drained:
    """Run the jobs that wait in the transaction of an `AsyncSession` or `AsyncConnection`. See `drain`."""
    __tracebackhide__ = True
    return await session.run_sync(lambda sync: drain(sync, forge, **options))


class Drain:
    """One drain. See `drain` for its options."""

    def __init__(
        self, connection: Connection, forge: JobForge, tenant: Tenant | None, queues: Collection[str] | None,
        scheduled: bool, recursive: bool, raise_errors: bool, max_jobs: int,
    ) -> None:  # fmt: skip
        self._forge, self._types = forge, sorted(forge.tasks)
        self._tenant = None if tenant is None else name_of(tenant)
        self._queues = queues
        self._scheduled, self._recursive, self._raise, self._max = scheduled, recursive, raise_errors, max_jobs
        self._connection = connection
        self._desk = Desk(connection)
        if tenant is not None:
            self._desk.tenants[name_of(tenant)] = named(tenant)
        self._handling = Handling(connection)
        self._once: set[uuid.UUID] | None = None  # the only jobs that may run, each of them once
        self._aside: list[Run] = []  # claimed, and not to be run
        self._stuck: set[tuple[str, str]] = set()  # queues and tenants whose jobs nobody can claim: paused, suspects
        self._ran: list[Ran] = []

    def run(self) -> Drained:
        """Run what there is."""
        __tracebackhide__ = True
        if not self._recursive:
            self._once = {one.id for one in self._desk.waiting()}
        with self._desk.kept():
            try:
                while (job := self._next()) is not None:
                    self._run(job)
            finally:
                self._give_back()
            return Drained(self._ran, self._desk.waiting())

    # -- how ---------------------------------------------------------------------------

    def _next(self) -> ClaimedJob | None:
        """Claim the next job that shall run."""
        while self._once != set() and (job := self._oldest() or self._any()) is not None:
            if self._once is not None and job.id not in self._once:
                self._aside.append(self._run_of(job))
                continue
            if len(self._ran) == self._max:
                self._aside.append(self._run_of(job))
                ran = ", ".join(f"{name} {number} times" for name, number in Counter(r.type for r in self._ran).items())
                raise TooManyJobs(
                    f"{self._max} jobs ran, and more wait: does one enqueue itself? ({ran})\n"
                    "  cure: drain(..., recursive=False), or a larger max_jobs"
                )
            if self._once is not None:
                self._once.remove(job.id)
            return job
        return None

    def _oldest(self) -> ClaimedJob | None:
        """Claim where the oldest job waits; where all are due later, move the clock, if that is asked for."""
        while True:
            places = [place for place in self._desk.places(self._types) if self._is_asked(place)]
            due = next((place for place in places if place.now), None)
            if due is not None:
                if (job := self._claim_at(due)) is not None:
                    return job
                self._stuck.add((due.queue, due.tenant_id))
                continue
            later = [place.due for place in places if place.due is not None]
            if self._once is not None:
                later = [one.due for one in self._desk.waiting() if one.id in self._once and one.due is not None]
            if not later or not self._scheduled:
                return None
            Clock(self._connection).set(min(later))

    def _is_asked(self, place: Place) -> bool:
        return (
            (self._queues is None or place.queue in self._queues)
            and self._tenant in (None, place.tenant_id)
            and (place.queue, place.tenant_id) not in self._stuck
        )

    def _claim_at(self, place: Place) -> ClaimedJob | None:
        with self._connection.begin_nested() as look:
            job = self._desk.claim([place.queue], self._types, [before(place.tenant_id)])
            if job is not None and job.tenant_id == place.tenant_id:
                return job
            look.rollback()
        return None

    def _any(self) -> ClaimedJob | None:
        """Claim a job of a tenant that the login is not shown, in the queues that the tasks name."""
        if self._desk.sees_all or self._tenant is not None:
            return None
        queues = sorted(self._queues if self._queues is not None else {task.queue for task in self._forge})
        return self._desk.claim(queues, self._types, [""] * len(queues))

    def _run_of(self, job: ClaimedJob) -> Run:
        self._desk.tenants.setdefault(job.tenant_id, sessions.tenant_of(job))
        return Run(job, self._forge.tasks[job.type])

    def _run(self, job: ClaimedJob) -> None:
        __tracebackhide__ = True
        run = self._run_of(job)
        with self._desk.kept():
            self._handling.handle(run)
        error = self._handling.error
        self._record(run, self._handling.ending, error)
        if error is None:
            return
        if self._raise or not isinstance(error, Exception | SystemExit):  # the operator's, and pytest's own
            how = "drain(..., raise_errors=False) goes on behind it"
            error.add_note(f"raised by the handler of {job.type}, job {job.id}, attempt {job.attempt}; {how}")
            raise error.with_traceback(_of_handler(error.__traceback__))

    def _record(self, run: Run, ending: Ending, error: BaseException | None) -> None:
        outcome = ending.outcome
        if not ending.committed:
            answer, reason = self._desk.complete(run, ending)
            if answer == "refused":
                ending = refused(reason or "")
                answer, _ = self._desk.complete(run, ending)
            outcome = ending.outcome if answer == "done" else "lost"
        job, payload = run.job, decode(run.job.payload)
        now = self._desk.get(job)
        self._ran.append(Ran(job.id, job.type, job.tenant_id, payload, job.attempt, outcome, ending.error, error, now))

    def _give_back(self) -> None:
        for run in self._aside:
            self._desk.complete(run, RELEASED)


def _of_handler(trace: TracebackType | None) -> TracebackType | None:
    """What of a traceback is the application's: our own way to it says nothing to the user."""
    found = trace
    while found is not None and str(found.tb_frame.f_globals.get("__name__")).startswith("jobforge_sa."):
        found = found.tb_next
    return found or trace


def before(tenant: str) -> str:
    """The last name that stands before a tenant's, in the order of code points; none is between the two."""
    head, last = tenant[:-1], ord(tenant[-1])
    if last == 1:  # there is no character 0
        return head
    previous = chr(0xD7FF if last == 0xE000 else last - 1)  # half a surrogate pair is none either
    return head + previous + LAST * (TENANT_LENGTH - len(tenant))
