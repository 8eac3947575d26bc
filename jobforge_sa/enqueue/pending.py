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
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, MetaData, Table, Uuid, event
from sqlalchemy.orm import Session, SessionTransaction, make_transient_to_detached, registry
from sqlalchemy.orm.attributes import flag_dirty

from jobforge_sa.errors import JobsDroppedWarning

if TYPE_CHECKING:
    from jobforge_sa.tasks import Task
    from jobforge_sa.types import Enqueued

USED = "jobforge.pending"  # keys in Session.info: the session has had a handle
FLUSHING = "jobforge.flushing"  # a flush has begun and has not sent its jobs yet
ROLLING = "jobforge.rolling"  # a rollback has begun and has not ended yet
DROPPED = "jobforge.dropped"  # names of jobs that left the session before a flush

_numbers = itertools.count()


class PendingJob:
    """A job that its session's next flush enqueues: what `Jobs.add` gives.

    Attributes:
        enqueued: The answer, once the session is flushed. After a rollback it tells of a job that does not exist.
    """

    def __init__(
        self, task: Task[Any, Any], values: dict[str, Any], payload: Callable[[], str],
        send: Callable[[Sequence[PendingJob]], None],
    ) -> None:  # fmt: skip
        self.key = uuid.uuid4()
        self.number = next(_numbers)  # the session keeps no order
        self.task = task
        self.values = values
        self.payload = payload
        self.send = send
        self.enqueued: Enqueued | None = None

    @property
    def id(self) -> uuid.UUID | None:
        """The job's id, once the session is flushed."""
        return self.enqueued.id if self.enqueued else None

    def __repr__(self) -> str:
        return f"<PendingJob {self.task.name}: {self.id or 'not flushed yet'}>"


registry().map_imperatively(PendingJob, Table("pending_job", MetaData(), Column("key", Uuid, primary_key=True)))


def add(session: Session, job: PendingJob) -> None:
    """Let the session's next flush enqueue a job."""
    session.info[USED] = True
    session.add(job)
    if session.info.get(FLUSHING):  # by a listener of before_flush behind ours
        _take(session, job)


@event.listens_for(Session, "before_flush")
def _take_all(session: Session, _context: object, _instances: object) -> None:
    session.info[FLUSHING] = True
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


@event.listens_for(Session, "after_flush")
def _send(session: Session, _context: object) -> None:
    session.info.pop(FLUSHING, None)
    if USED in session.info:
        waiting = sorted((one for one in session.dirty if isinstance(one, PendingJob)), key=lambda one: one.number)
        for send in dict.fromkeys(job.send for job in waiting):  # one for each `Jobs`, and so for each tenant
            send([job for job in waiting if job.send == send])


@event.listens_for(Session, "after_flush_postexec")
def _release(session: Session, _context: object) -> None:
    if USED in session.info:  # else a commit would expire them, and there is nothing to refresh them from
        for job in [one for one in session.identity_map.values() if isinstance(one, PendingJob)]:
            session.expunge(job)


# -- a job that is neither enqueued nor rolled back is not lost without a word ---------------


@event.listens_for(Session, "pending_to_transient")
def _note(session: Session, instance: object) -> None:
    if isinstance(instance, PendingJob) and session.info.get(USED) is not instance and ROLLING not in session.info:
        session.info.setdefault(DROPPED, []).append(instance.task.name)


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
    dropped = session.info.pop(DROPPED, None) if transaction.parent is None else None
    if dropped and sys.exc_info()[0] is None:  # who leaves by an exception knows that nothing was committed
        warnings.warn(JobsDroppedWarning(dropped), stacklevel=2)
