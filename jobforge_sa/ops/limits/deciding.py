"""The transaction in which an administrator says something: it waits some seconds for another one, not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from jobforge_sa.db import failures, limit_calls
from jobforge_sa.errors import WrongState
from jobforge_sa.ops.reader import administering


@contextmanager
def deciding(target: Engine) -> Iterator[Session]:
    """One transaction of an administrator's that changes what is said of a tenant, a queue or a task.

    Raises:
        WrongState: another transaction has changed the same, and is still open. What `administering` raises.
    """
    with administering(target) as session:
        session.execute(limit_calls.PATIENCE)
        try:
            yield session
        except DBAPIError as error:
            if failures.sqlstate(error) != "55P03":
                raise
            raise _busy(target) from error


def _busy(target: Engine) -> WrongState:
    with administering(target) as session:
        pids = session.scalars(limit_calls.HOLDERS).all()
    who = f" (backend {', '.join(map(str, pids))})" if pids else ""
    ended = f"{limit_calls.END.format(pid=pids[0])} ends it" if pids else "jobforge doctor may name it"
    return WrongState(
        f"another transaction has changed this and is still open{who}; nothing was changed",
        cure=f"commit it or roll it back, then try again; {ended}",
    )
