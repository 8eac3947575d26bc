"""Jobs that a session enqueues with its next flush, all of them in one call: the unit of work.

A handle is pending in the session like a row that was added to it, so all that SQLAlchemy does to pending rows (a
rollback, also of a savepoint, expunge, close) happens to it too. It has no table. At the flush it takes the
place of an unchanged persistent object: nothing is inserted for such a one, and a flush that has nothing else to do
ends with `after_flush` all the same. There the keys of all new rows are known, and the jobs are sent.
"""

from __future__ import annotations

import itertools
import sys
import uuid
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import finalize

from sqlalchemy import Column, MetaData, Table, Uuid, event
from sqlalchemy.orm import Session, SessionTransaction, make_transient_to_detached, registry
from sqlalchemy.orm.attributes import flag_dirty

from jobforge_sa.errors import ConfigurationError, JobsDroppedWarning

if TYPE_CHECKING:
    from jobforge_sa.tasks import Task
    from jobforge_sa.types import Enqueued

USED = "jobforge.pending"  # keys in Session.info: the session has had a handle
FLUSHING = "jobforge.flushing"  # the jobs of a flush that has begun and has not sent them yet
ROLLING = "jobforge.rolling"  # a rollback has begun and has not ended yet
DROPPED = "jobforge.dropped"  # jobs that left the session before a flush

_numbers = itertools.count()


class PendingJob:
    """A job that its session's next flush enqueues: what `Jobs.add` gives.

    Attributes:
        enqueued: The answer, once the session is flushed. After a rollback it tells of a job that does not exist.
    """

    def __init__(
        self, task: Task[Any, Any], values: dict[str, Any], payload: Callable[[], str],
        send: Callable[[Sequence[PendingJob]], None], together: Hashable,
    ) -> None:  # fmt: skip
        self.key = uuid.uuid4()
        self.number = next(_numbers)  # the session keeps no order
        self.task = task
        self.values = values
        self.payload = payload
        self.send = send
        self.together = together  # those of a flush that have the same are sent by one of them
        self.enqueued: Enqueued | None = None
        self.loss: finalize[..., Any] | None = None  # tells of its end together with its session's
        self.amid = id(sys.exc_info()[1])  # the error that was being handled when it was added

    @property
    def id(self) -> uuid.UUID | None:
        """The job's id, once the session is flushed."""
        return self.enqueued.id if self.enqueued else None

    def __repr__(self) -> str:
        return f"<PendingJob {self.task.name}: {self.id or 'not flushed yet'}>"


registry().map_imperatively(PendingJob, Table("pending_job", MetaData(), Column("key", Uuid, primary_key=True)))


@event.listens_for(PendingJob, "before_delete")
def _refuse_to_delete(_mapper: object, _connection: object, job: PendingJob) -> NoReturn:
    raise ConfigurationError(
        f"{job!r} is no row that could be deleted", cure="cancel the job: Jobs(session).cancel(job.id)"
    )


def add(session: Session, job: PendingJob) -> None:
    """Let the session's next flush enqueue a job."""
    session.info[USED] = True
    session.add(job)
    job.loss = finalize(job, _tell, [job.task.name])
    if FLUSHING in session.info:  # by a listener of before_flush behind ours
        _take(session, job)


def of_flush(session: Session) -> list[PendingJob]:
    """The jobs that the flush under way will send."""
    return [*session.info.get(FLUSHING, [])]


def take_back(session: Session, job: PendingJob) -> None:
    """Let the flush under way not send one of its jobs."""
    session.info[FLUSHING].remove(job)


@event.listens_for(Session, "before_flush")
def _take_all(session: Session, _context: object, _instances: object) -> None:
    session.info.setdefault(FLUSHING, [])
    if USED in session.info:
        for job in [one for one in session.new if isinstance(one, PendingJob)]:
            _take(session, job)


def _take(session: Session, job: PendingJob) -> None:
    session.info[USED] = job  # so that its leaving is not taken for a loss
    session.expunge(job)
    session.info[USED] = True
    make_transient_to_detached(job)
    session.add(job)
    flag_dirty(job)
    session.info[FLUSHING].append(job)


@event.listens_for(Session, "after_flush")
def _send(session: Session, _context: object) -> None:
    groups: dict[Hashable, list[PendingJob]] = {}
    for job in sorted(session.info.pop(FLUSHING, []), key=lambda one: one.number):
        groups.setdefault(job.together, []).append(job)
    for jobs in groups.values():
        jobs[0].send(jobs)


@event.listens_for(Session, "after_flush_postexec")
def _release(session: Session, _context: object) -> None:
    if USED in session.info:  # else a commit would expire them, and there is nothing to refresh them from
        for job in [one for one in session.identity_map.values() if isinstance(one, PendingJob)]:
            session.expunge(job)


# -- a job that is neither enqueued nor rolled back is not lost without a word ---------------


@event.listens_for(Session, "pending_to_transient")
def _note(session: Session, instance: object) -> None:
    if isinstance(instance, PendingJob):
        if instance.loss is not None:
            instance.loss.detach()
        if session.info.get(USED) is not instance and ROLLING not in session.info:
            session.info.setdefault(DROPPED, []).append(instance)


@event.listens_for(Session, "after_rollback")  # before its pending rows leave the session
def _mind(session: Session) -> None:
    if USED in session.info:
        session.info[ROLLING] = True


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, _transaction: SessionTransaction) -> None:
    session.info.pop(FLUSHING, None)
    session.info.pop(ROLLING, None)


@event.listens_for(Session, "after_commit")
def _forgive(session: Session) -> None:
    session.info.pop(DROPPED, None)  # taken out by the application itself


@event.listens_for(Session, "after_transaction_end")
def _warn(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is not None:
        return
    # a flush that a listener has stopped, or that found nothing to do, has sent none of its jobs
    left = [*session.info.pop(DROPPED, []), *session.info.pop(FLUSHING, [])]
    error = sys.exc_info()[1]  # who leaves by an exception knows that nothing was committed
    if dropped := [job.task.name for job in left if error is None or id(error) == job.amid]:
        _tell(dropped)


def _tell(dropped: list[str]) -> None:
    warnings.warn(JobsDroppedWarning(dropped), stacklevel=3)
