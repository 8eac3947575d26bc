"""`Results`: wait for a job's end, from anywhere, and get its result."""

from __future__ import annotations

import threading
import uuid
from typing import Any, TypeVar

from sqlalchemy import Engine

from jobforge_sa.errors import ConfigurationError
from jobforge_sa.results.bell import bell_of
from jobforge_sa.results.glance import Glance
from jobforge_sa.results.look import OPTIONS, Waiting
from jobforge_sa.tasks import Task
from jobforge_sa.tenant import Tenant
from jobforge_sa.types import Enqueued

R = TypeVar("R")


class Results:
    """What handlers returned. Each look is a short transaction of its own; between two no connection is held.

    All who wait in a process share one connection with one LISTEN (through an engine without psycopg: one made from its
    URL), which tells them to look; and they look by themselves, at first after 50 ms, then each second at least. Where
    there is no answer, because the server restarts or the pool is empty, they look again.

    Args:
        engine: Where to look, as a login that is a member of jobforge_app.
        tenant: The jobs' tenant. Default: that of the task's registry.

    Example:
        >>> with Session(engine) as session:
        ...     job = Jobs(session).enqueue(add, Numbers(a=1, b=2))
        ...     session.commit()
        >>> Results(engine).wait(add, job, timeout=10)
        3
    """

    def __init__(self, engine: Engine, *, tenant: Tenant | None = None) -> None:
        if not isinstance(engine, Engine):
            raise ConfigurationError(
                f"Results takes an Engine, not {type(engine).__name__}", cure="for an AsyncEngine use AsyncResults"
            )
        self._engine = engine
        self._looks = engine.execution_options(**OPTIONS)
        self._tenant = tenant

    def wait(self, task: Task[Any, R], job: Enqueued | uuid.UUID, *, timeout: float | None = None) -> R:
        """Wait until a job has ended, and give what its handler returned.

        Not in the transaction that enqueues it: nobody else sees the job before that commits.

        Args:
            task: Its task, which knows the type of the result.
            job: Its id, or what the enqueue gave.
            timeout: Seconds, and one more at most where the database does not answer; None: as long as it takes.

        Raises:
            ResultTimeout: the time is up; the job goes on.
            JobDead, JobCanceled: it ended without a result.
            JobNotFound: there is no such job of this tenant, or not yet.
            InvalidResult: the result is not what the handler is annotated with.
        """
        waiting = Waiting(task, job, self._tenant, timeout)
        rung = threading.Event()
        if (found := self._look(waiting)) is not None:
            return found[0]
        with bell_of(self._engine).heard(rung.set):
            for pause in waiting.pauses():
                rung.wait(pause)
                rung.clear()
                if (found := self._look(waiting)) is not None:
                    return found[0]
        raise AssertionError("the pauses end by an error")

    def _look(self, waiting: Waiting[R]) -> tuple[R] | None:
        try:
            return Glance(self._looks, waiting).answer()
        except Exception as error:
            waiting.missed(error)
            return None
