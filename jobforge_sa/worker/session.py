"""The handler's session: the job's tenant in every transaction, and the completion in the last one.

The last commit is the completion: what the handler wrote and the fact that the job is done become durable in the
same instant, or neither does. Commits of the handler's own are steps: each holds the lease until it is through, so
that no step of a lost run is ever committed.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from jobforge_sa.context import ClaimedJob
from jobforge_sa.db import calls, failures
from jobforge_sa.enqueue.origin import ORIGIN, Origin
from jobforge_sa.enqueue.tenant import TENANT, TenantSession
from jobforge_sa.errors import LeaseLost, TenantConflict
from jobforge_sa.tenant import Named, SignedTenant
from jobforge_sa.worker import backend
from jobforge_sa.worker.run import Run

RUN = "jobforge.run"  # keys in Session.info
ENDING = "jobforge.ending"
# the server's own timeouts, for a transaction and for one that does nothing: those are the handler's
OVERSTAYED = frozenset({"25P03", "25P04"})


class HandlerSession(TenantSession):
    """A session of one run. Its listeners are the class's: attaching them to each instance would cost 50 µs a job."""


def tenant_of(job: ClaimedJob) -> Named:
    """A job's tenant, with the token that came with the claim, where there was one."""
    token = job.tenant_token
    return job.tenant_id if token is None else SignedTenant(job.tenant_id, lambda: token)


def info(run: Run) -> dict[str, Any]:
    """What a run's session knows of its job; jobs enqueued through it become its children."""
    return {TENANT: tenant_of(run.job), RUN: run, ORIGIN: Origin(run.job.id, run.job.trace)}


def open_session(engine: Engine, run: Run) -> HandlerSession:
    """A session for a run."""
    return HandlerSession(engine, info=info(run))


@event.listens_for(HandlerSession, "after_begin")
def _hold_backend(session: Session, _transaction: object, connection: Connection) -> None:
    run: Run = session.info[RUN]
    backend.use(connection)
    run.hold(connection)


@event.listens_for(HandlerSession, "before_commit")
def _complete_or_hold(session: Session) -> None:
    if session.in_nested_transaction():
        return
    run: Run = session.info[RUN]
    session.flush()  # all the handler's work first: the lease is locked for the shortest time
    item = session.info.pop(ENDING, None)
    connection = session.connection()
    if item is None:
        values = {"job_id": str(run.job.id), "lease_token": str(run.job.lease_token)}
        held, tenant = connection.execute(calls.HOLD_LEASE, values).one()
    else:
        answer, reason, tenant = connection.execute(calls.COMPLETE_IN_SESSION, {"results": f"[{item}]"}).one()
        if answer == "refused":
            raise CompletionRefused(reason)
        held = answer == "done"
    if tenant is None:
        raise TenantConflict(
            "the transaction of the handler's session was ended beneath it: what came before may be committed",
            cure="commit by ctx.session.commit() alone, and leave jobforge.tenant_id as it is in a handler",
        )
    if tenant != run.job.tenant_id:
        raise TenantConflict(
            f"the handler's session ends under the tenant {tenant!r}, its job is {run.job.tenant_id!r}'s; "
            "its work is rolled back",
            cure="leave jobforge.tenant_id as it is in a handler",
        )
    if not held:
        run.lost = True
        raise LeaseLost(f"job {run.job.id}: the lease of run {run.job.run} is gone; its work is rolled back")


class CutOff(Exception):
    """The connection broke at the last commit: the work is undone, or, where its answer alone was lost, done."""


class CompletionRefused(ValueError):
    """The database would not take the completion; the work is rolled back with it."""


def complete(session: Session, item: str) -> None:
    """Commit the handler's work and the run's end together.

    Raises:
        LeaseLost: the lease is gone; nothing was committed.
        CompletionRefused: the item was refused; nothing was committed.
        CutOff: the connection broke.
    """
    session.info[ENDING] = item
    try:
        session.commit()
    except DBAPIError as error:
        if error.connection_invalidated and failures.sqlstate(error) not in OVERSTAYED:
            raise CutOff from error
        raise
    finally:
        session.info.pop(ENDING, None)
