"""Rows and their jobs: a mixin for the application's own mapped classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, Unpack

from sqlalchemy import Connection, event, func, inspect, select
from sqlalchemy.orm import Mapped, Mapper, declared_attr, foreign, object_session, relationship, remote

from jobforge_sa.enqueue import pending, subject
from jobforge_sa.enqueue.answers import translated
from jobforge_sa.enqueue.jobs import Jobs, cancel_jobs_of
from jobforge_sa.enqueue.tenant import bound_tenant
from jobforge_sa.errors import ConfigurationError, RowHasJobs, TenantRequired
from jobforge_sa.models import Job
from jobforge_sa.types import FINAL

if TYPE_CHECKING:
    from jobforge_sa.enqueue.pending import PendingJob
    from jobforge_sa.tasks import JobOptions, Task

P = TypeVar("P")

_ACTIVE = select(Job.id).where(Job.state.not_in(FINAL)).limit(1)


class HasJobs:
    """Gives a mapped class its jobs: `order.jobs`, `order.add_job(...)`, `select(Order).where(Order.jobs.any(...))`.

    A job is a row's where it was enqueued with it: `order.add_job(ship, ...)`, or `Jobs.enqueue(..., subject=order)`.
    The key has to be made of numbers, texts and UUIDs (no CHAR, no Enum), and must not change.

    Attributes:
        jobs: The row's jobs, oldest first, for reading; under the policies of who asks. Not changed by an enqueue
            until it is loaded again.
        jobs_on_delete: What becomes of jobs that have not ended when the session deletes the row: "cancel" (running
            ones are told), "keep", or "refuse", which raises `RowHasJobs`. A bulk `delete()` passes by the session
            and so by this. Where there is no tenant nobody can see its jobs: but for "keep", `TenantRequired`.
    """

    jobs_on_delete: ClassVar[Literal["cancel", "keep", "refuse"]] = "cancel"

    @declared_attr
    @classmethod
    def jobs(cls) -> Mapped[list[Job]]:
        """The row's jobs."""
        return relationship(
            Job,
            primaryjoin=lambda: remote(foreign(Job.subject)) == subject.expression(inspect(cls)),
            order_by=Job.id,
            viewonly=True,
        )

    def add_job(self, task: Task[P, Any], payload: P | Callable[[], P], **options: Unpack[JobOptions]) -> PendingJob:
        """Let the session's next flush enqueue a job of this row. See `Jobs.add`; the same for async sessions.

        Raises:
            ConfigurationError: the row is in no session. InvalidJob, InvalidPayload: it must not be stored.
        """
        session = object_session(self)
        if session is None:
            raise ConfigurationError(
                f"this {type(self).__name__} is in no session", cure="session.add(...) it before its jobs"
            )
        options.setdefault("subject", self)
        return Jobs(session).add(task, payload, **options)


@event.listens_for(HasJobs, "before_delete", propagate=True)
def _deleted(_mapper: Mapper[Any], connection: Connection, row: HasJobs) -> None:
    session = object_session(row)
    if session is None or row.jobs_on_delete == "keep":
        return
    name = subject.name_of(row)
    tenant = bound_tenant(session)
    with translated(connection):
        if tenant is None and connection.scalar(select(func.jobforge.current_tenant())) is None:
            raise TenantRequired(
                f"{name} is deleted in a transaction without a tenant, and so its jobs cannot be looked at",
                cure="bind_tenant(session, ...), or once for its sessionmaker; or jobs_on_delete = 'keep'",
            )
        added = [job for job in pending.of_flush(session) if job.values.get("subject") is row]
        if row.jobs_on_delete == "cancel":
            cancel_jobs_of(connection, tenant, name)
            for job in added:
                pending.take_back(session, job)
        elif added or connection.scalar(_ACTIVE.where(Job.subject == name)) is not None:
            raise RowHasJobs(
                f"{name} has jobs that have not ended", cure="cancel them first, or wait until they have run"
            )
