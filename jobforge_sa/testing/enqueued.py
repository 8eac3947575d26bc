"""Assert that a job was enqueued, or that none was, in what the transaction of a test sees."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import text

from jobforge_sa.enqueue.jobs import Jobs
from jobforge_sa.enqueue.tenant import bound_tenant
from jobforge_sa.errors import ConfigurationError, TenantRequired
from jobforge_sa.tasks import Task
from jobforge_sa.tenant import Tenant
from jobforge_sa.testing._given import Given, connection_of, session_of
from jobforge_sa.testing.drain.desk import Desk
from jobforge_sa.testing.pattern import Difference, differences, words
from jobforge_sa.types import JobInfo, JobState

__all__ = ["assert_enqueued", "refute_enqueued"]

_TENANT = text("select jobforge.current_tenant()")
PAGE = 1_000
SHOWN = 3  # jobs in a message
WIDTH = 200  # characters of a payload in a message

When: TypeAlias = dt.datetime | dt.timedelta | Callable[[dt.datetime], object]


def assert_enqueued(
    session: Given,
    task: Task[Any, Any] | str,
    payload: Any = ...,
    *,
    count: int | None = None,
    queue: str | None = None,
    run_at: When | None = None,
    state: JobState | str | None = None,
    tenant: Tenant | None = None,
) -> list[JobInfo]:
    """Assert that a job was enqueued, in whatever state it is by now.

    Args:
        session: The test's; it is flushed. For an `AsyncSession`: `await session.run_sync(assert_enqueued, task, ...)`.
        task: The task, or the type's name.
        payload: A pattern: see `jobforge_sa.testing.pattern.differences`. Default: anything.
        count: So many such jobs, and no more. Default: one or more.
        queue: In this queue.
        run_at: At this moment, to the second; so long after its enqueue, exactly; or a function of the moment.
        state: In this state now, such as "scheduled".
        tenant: This tenant's. Default: the session's, else the registry's.

    Returns:
        The jobs, oldest first.

    Raises:
        AssertionError: there is none, or not so many. The message has the nearest jobs, and how they differ.
        TenantRequired: whose job? ConfigurationError: the payload of the task never has such a field.
    """
    __tracebackhide__ = True
    wanted = Wanted(task, payload, queue, run_at, state)
    found = wanted.among(_jobs(session, task, tenant))
    matching = [job for job, faults in found if not faults]
    if len(matching) == count or (count is None and matching):
        return matching
    if matching:
        listed = "".join(f"\n    {_line(job)}" for job in matching[:SHOWN])
        raise AssertionError(f"{_number(len(matching))} like this, and not {count}:\n  wanted: {wanted}{listed}")
    others = [] if found else _jobs(session, None, tenant)
    raise AssertionError("\n".join([*wanted.missed(found, others, count)]))


def refute_enqueued(
    session: Given,
    task: Task[Any, Any] | str,
    payload: Any = ...,
    *,
    queue: str | None = None,
    run_at: When | None = None,
    state: JobState | str | None = None,
    tenant: Tenant | None = None,
) -> None:
    """Assert that no such job was enqueued. See `assert_enqueued`.

    Raises:
        AssertionError: there is one; the message has it.
        TenantRequired: whose job? ConfigurationError: the payload of the task never has such a field.
    """
    __tracebackhide__ = True
    wanted = Wanted(task, payload, queue, run_at, state)
    matching = [job for job, faults in wanted.among(_jobs(session, task, tenant)) if not faults]
    if matching:
        listed = "".join(f"\n    {_line(job)}" for job in matching[:SHOWN])
        raise AssertionError(f"{_number(len(matching))} like this, and none should be:\n  refuted: {wanted}{listed}")


Found: TypeAlias = list[tuple[JobInfo, list[Difference]]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a job should be like."""

    task: Task[Any, Any] | str
    payload: Any
    queue: str | None
    run_at: When | None
    state: JobState | str | None

    def __post_init__(self) -> None:
        if isinstance(self.payload, Mapping) and isinstance(self.task, Task):
            _check_fields(self.task, self.payload)

    @property
    def name(self) -> str:
        """The type."""
        return self.task.name if isinstance(self.task, Task) else self.task

    def among(self, jobs: Sequence[JobInfo]) -> Found:
        """Each of the jobs, with what is wrong about it."""
        return [(job, self._faults(job)) for job in jobs]

    def missed(self, found: Found, others: Sequence[JobInfo], count: int | None) -> list[str]:
        """The lines of a message: there is no such job."""
        number = "" if count is None else f", and not {count}"
        lines = [f"no job like this was enqueued{number}", f"  wanted: {self}"]
        if not found:
            types = Counter(job.type for job in others)
            there = ", ".join(f"{number} × {name}" for name, number in types.most_common())
            return [*lines, f"  enqueued: none of this type; {there or 'no job at all'}"]
        nearest = sorted(found, key=lambda one: len(one[1]))[:SHOWN]
        lines.append(f"  nearest, of {len(found)}:")
        for job, faults in nearest:
            lines += [f"    {_line(job)}", *(f"      {fault}" for fault in faults)]
        return lines

    def _faults(self, job: JobInfo) -> list[Difference]:
        faults = differences(self.payload, job.payload)
        if self.queue is not None and job.queue != self.queue:
            faults.append(Difference("queue", repr(self.queue), job.queue))
        if self.state is not None and job.state != self.state:
            faults.append(Difference("state", repr(str(self.state)), str(job.state)))
        if self.run_at is not None and not _is_at(self.run_at, job):
            found = job.run_at - job.created_at if isinstance(self.run_at, dt.timedelta) else job.run_at
            faults.append(Difference("run_at", _moment(self.run_at), _moment(found), plain=True))
        return faults

    def __str__(self) -> str:
        said = [self.name]
        said += [] if self.payload is ... else [words(self.payload)]
        said += [f"in queue {self.queue!r}"] if self.queue is not None else []
        said += [f"at {_moment(self.run_at)}"] if self.run_at is not None else []
        return ", ".join(said + ([f"{self.state}"] if self.state is not None else []))


def _jobs(session: Given, task: Task[Any, Any] | str | None, tenant: Tenant | None) -> list[JobInfo]:
    """What the transaction sees of the tenant, oldest first."""
    its = session_of(session)
    if its is not None:
        its.flush()
        tenant = tenant if tenant is not None else bound_tenant(its)
    if tenant is None and isinstance(task, Task):
        tenant = task.forge.tenant
    connection = connection_of(session)
    if tenant is None and connection.scalar(_TENANT) is None:
        raise TenantRequired("whose jobs? Without a tenant none are seen, and this would prove nothing")
    found: list[JobInfo] = []
    with Desk(connection).kept():
        jobs = Jobs(connection, tenant=tenant)
        page = jobs.list(type=task, limit=PAGE)
        found += page.jobs
        while page.cursor is not None:
            page = jobs.list(type=task, limit=PAGE, cursor=page.cursor)
            found += page.jobs
    return found[::-1]


def _check_fields(task: Task[Any, Any], payload: Mapping[Any, Any]) -> None:
    """A name that is misspelt would make every refusal true."""
    schema = task.payload_schema(stored=True) or {}
    fields = schema.get("properties")
    if fields and not schema.get("additionalProperties"):
        for name in payload.keys() - fields.keys():
            raise ConfigurationError(
                f"the payload of {task.name} has no field {name!r}: no job could match",
                cure=f"its fields: {', '.join(fields)}",
            )


def _is_at(wanted: When, job: JobInfo) -> bool:
    match wanted:
        case dt.datetime():
            return abs(job.run_at - wanted) < dt.timedelta(seconds=1)
        case dt.timedelta():
            return job.run_at - job.created_at == wanted
    return bool(wanted(job.run_at))


def _moment(when: When) -> str:
    match when:
        case dt.datetime():
            return when.isoformat(sep=" ", timespec="seconds")
        case dt.timedelta():
            return f"{when} after its enqueue"
    return words(when)


def _line(job: JobInfo) -> str:
    payload = str(job.payload)
    due = f", due {_moment(job.due_at)}" if job.due_at is not None else ""
    shown = payload if len(payload) <= WIDTH else payload[:WIDTH] + " …"
    return f"{job.type} {shown}, {job.state} in queue {job.queue!r}{due} ({job.id})"


def _number(count: int) -> str:
    return "1 job was enqueued" if count == 1 else f"{count} jobs were enqueued"
