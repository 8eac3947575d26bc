"""One look at a job that is waited for, and what it means."""

from __future__ import annotations

import datetime as dt
import json
import logging
import math
import time
import uuid
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import pydantic
from sqlalchemy import Connection, exc

from jobforge_sa.db import calls, failures
from jobforge_sa.enqueue.answers import translated
from jobforge_sa.enqueue.options import identifier
from jobforge_sa.errors import (
    ConfigurationError,
    InvalidResult,
    JobCanceled,
    JobDead,
    JobForgeError,
    JobNotFound,
    ResultTimeout,
)
from jobforge_sa.tasks import Task, checked, faults
from jobforge_sa.tenant import Named, Tenant, named
from jobforge_sa.types import Enqueued
from jobforge_sa.worker.link import backoff, in_brief

log = logging.getLogger("jobforge_sa.results")

R = TypeVar("R")

FIRST, LONGEST = 0.05, 1.0  # seconds between two looks: so a hint that is lost costs a second at most
# a wait is written: above READ COMMITTED two for one job, or one and its handler, would be a 40001
OPTIONS: dict[str, Any] = {"isolation_level": "READ COMMITTED"}
AS_JSON = "read it as JSON: Jobs(session).get(id).result"
REGISTERED = 30.0  # seconds for which the database is asked to tell of the end
LEAST, MOST = 1.0, 10.0  # seconds that a look is given: even without a timeout another connection is tried then
NO_ANSWER = ("57014", "55P03")  # canceled, by its limit or by somebody; a lock_timeout of the login's


class Waiting(Generic[R]):
    """A wait for one job: when to look again, and until when.

    Raises:
        InvalidJob: `task` is none, or `job` is not the id of one. ConfigurationError: the timeout is no number.
    """

    def __init__(self, task: Task[Any, R], job: Enqueued | uuid.UUID, tenant: Tenant | None, timeout: float | None):
        self.task = checked(task)
        given: object = timeout
        if given is not None and (not isinstance(given, int | float) or math.isnan(given)):
            raise ConfigurationError(f"timeout is {timeout!r}", cure="pass seconds, or None: as long as it takes")
        self.id = identifier("job", job.id if isinstance(job, Enqueued) else job)
        chosen = tenant if tenant is not None else task.forge.tenant
        self.tenant: Named | None = None if chosen is None else named(chosen)
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._registered = -math.inf
        self._until = math.inf  # monotonic: the look that is under way must be answered by then
        self._failures = 0  # looks in a row without an answer
        self._trouble: BaseException | None = None

    def limit(self) -> float:
        """Seconds that the look has which begins now, from the pool's connection to the answer."""
        now = time.monotonic()
        left = math.inf if self._deadline is None else self._deadline - now
        seconds = max(LEAST, min(left, MOST))
        self._until = now + seconds
        return seconds

    def missed(self, error: Exception) -> None:
        """A look has failed. That there was no answer says nothing of the job: the next look will tell.

        Raises:
            Exception: the error itself, where it is an answer.
        """
        if not unanswered(error):
            raise error
        self._failures += 1
        trouble: BaseException = getattr(error, "orig", None) or error  # SQLAlchemy's own shows tokens of tenants
        self._trouble, self._registered = trouble, -math.inf
        if self._failures == 1 and self._deadline is None:  # else the timeout tells
            said = in_brief(trouble)
            log.warning("results: no answer about the job %s: %s; looking until there is one", self.id, said)

    def pauses(self) -> Iterator[float]:
        """Seconds until the next look, each time that there was nothing.

        Raises:
            ResultTimeout: the time is up.
        """
        pause = FIRST
        while True:
            left = None if self._deadline is None else self._deadline - time.monotonic()
            if left is not None and left <= 0:
                raise self._late() from self._trouble
            wanted = backoff(self._failures) if self._failures else pause
            yield wanted if left is None else min(wanted, left)
            pause = min(pause * 2, LONGEST)

    def _late(self) -> ResultTimeout:
        said = f"the job {self.id} has not ended within {self._timeout:g} s"
        if self._trouble is None:
            return ResultTimeout(said, cure="it goes on; wait longer, or look whether a worker of its queue runs")
        return ResultTimeout(
            f"{said}, as far as we know: the database did not answer: {in_brief(self._trouble)}",
            cure="look whether the database can be reached, and whether the engine's pool has a connection left",
        )

    def look(self, connection: Connection) -> tuple[R] | None:
        """The result in a tuple, or None: it has not ended yet.

        Raises:
            JobNotFound, JobDead, JobCanceled, InvalidResult: there will be none.
        """
        with translated(connection):
            left = max(1, int(1000 * (self._until - time.monotonic())))
            connection.execute(calls.LIMIT, {"limit": f"{left} ms"})
            row = connection.execute(*self._call()).one_or_none()
            self._failures, self._trouble = 0, None
            if row is None:
                raise JobNotFound(
                    f"there is no job {self.id} of this tenant",
                    cure="look at the id and at the tenant; and commit the transaction that enqueues it, then wait",
                )
            if row.state == "succeeded":
                return (self._result(row.result),)
            if row.state == "dead":
                said = connection.execute(calls.LAST_ERROR, {"job_id": str(self.id)}).scalar_one_or_none()
                error = json.loads(said) if said else {}
                raise JobDead(f"the job {self.id} is dead: {error.get('type')}: {error.get('message')}", error)
        if row.state == "canceled":
            raise JobCanceled(f"the job {self.id} was canceled")
        return None

    def _call(self) -> tuple[Any, dict[str, object]]:
        call, more = calls.GET_JOB, dict[str, object]()
        if time.monotonic() - self._registered > REGISTERED / 2:
            call, more = calls.AWAIT_JOB, {"for": dt.timedelta(seconds=REGISTERED)}
            self._registered = time.monotonic()
        return call.statement(self.tenant), call.values(self.tenant, job_id=self.id, **more)

    def _result(self, text: str | None) -> R:
        try:
            return self.task.load_result(text)
        except pydantic.ValidationError as error:
            raise InvalidResult(
                f"the result of {self.task.name} is not what its annotation says: {faults(error)}",
                cure=AS_JSON,
            ) from error
        except pydantic.errors.PydanticUserError as error:
            said = error.message.splitlines()[0]
            raise InvalidResult(
                f"{self.task.name} is annotated to return what no JSON is: {said}", cure=AS_JSON
            ) from error


def unanswered(error: Exception) -> bool:
    """Whether there was no answer: a server or a wire that is gone, a full pool, a limit. Of whatever driver."""
    if isinstance(error, JobForgeError):
        return False
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    if (state := failures.sqlstate(error)) is not None:
        return failures.is_away(error) or state in NO_ANSWER
    # asyncpg's connect raises errors of the operating system as they are
    return isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError | OSError)
