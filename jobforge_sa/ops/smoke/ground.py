"""What the smoke test stands on: three logins, two tenants and a queue that nobody else has, and a worker by hand."""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from jobforge_sa.db import calls, failures, role
from jobforge_sa.db.seal import seal
from jobforge_sa.enqueue.jobs import Jobs
from jobforge_sa.errors import AccessDenied, JobForgeError
from jobforge_sa.models import Attempt
from jobforge_sa.ops import database
from jobforge_sa.ops.reader import proved, require_plain
from jobforge_sa.tenant import KEY_VARIABLE
from jobforge_sa.types import FINAL, JobInfo
from jobforge_sa.worker import preflight

LIMIT = "5 s"  # for each statement
LOOK = 0.05  # seconds between two looks
HELD = dt.timedelta(seconds=30)  # beyond a slow line's: other workers rescue what is silent
SILENT = dt.timedelta(seconds=1)  # the shortest lease there is, of what shall be rescued


class Skipped(Exception):
    """A part that cannot be tried; why, and what would allow it."""

    def __init__(self, reason: str, cure: str | None) -> None:
        super().__init__(reason)
        self.cure = cure


class Broken(Exception):
    """What was seen is not what is promised."""


class Ground:
    """The way to the database, and names of its own.

    Args:
        app: As a login of the application.
        worker: As one of a worker.
        admin: As one of an administrator.
        within: Seconds for all waits together.
    """

    def __init__(self, app: Engine, worker: Engine, admin: Engine, within: float) -> None:
        name = secrets.token_hex(4)
        self.app, self.worker, self.admin = app, worker, admin
        self.ours, self.other = f"jobforge-smoke-{name}-a", f"jobforge-smoke-{name}-b"
        self.queue = f"jobforge.smoke-{name}"
        self.within, self._end = within, time.monotonic() + within
        self.by_hand, self.silent = uuid.uuid4(), uuid.uuid4()  # workers
        self.signed = self.bound = False
        self.heard: list[str] = []  # what the worker has complained of

    def begin(self) -> str:
        """Look whether it can be begun; say on what.

        Raises:
            JobForgeError: it cannot.
        """
        with database.translated(self.app, "jobforge_app"), Session(self.app) as session:
            row = session.execute(calls.SCHEMA_VERSION).one_or_none()
            mismatch = failures.mismatch(*(row[:2] if row else (None, None)))
            if mismatch is not None or row is None:
                raise mismatch or JobForgeError("the schema jobforge is empty", cure="run: jobforge migrate")
            revision, _, tenancy, self.bound, login, _ = row
            held = role.held(session.connection())
            if "jobforge_app" not in held:
                cure = failures.remedy("jobforge_app", f'"{login}"', held)
                raise AccessDenied(f'the login "{login}" may not enqueue: jobforge_app is missing', cure=cure)
            self.signed = tenancy == "signed"
            if not os.environ.get(KEY_VARIABLE):
                require_plain(session)
        if self.signed:
            seal(self.app)
        return f"revision {revision}, tenancy {tenancy}, login {login} of {', '.join(held)}"

    # -- as the application ------------------------------------------------------------

    @contextmanager
    def jobs(self, tenant: str, *, plain: bool = False) -> Iterator[tuple[Jobs, Session]]:
        """One transaction of a tenant's, which commits; signed where the environment has a key, unless `plain`."""
        with database.translated(self.app, "jobforge_app"), Session(self.app) as session, session.begin():
            session.execute(calls.LIMIT, {"limit": LIMIT})
            yield Jobs(session, tenant=tenant if plain else proved(tenant)), session

    def job(self, job_id: uuid.UUID) -> JobInfo:
        """A job of ours as it is now."""
        with self.jobs(self.ours) as (jobs, _):
            return jobs.get(job_id)

    def outcomes(self, job_id: uuid.UUID) -> list[str]:
        """How its runs ended."""
        with self.jobs(self.ours) as (jobs, session):
            jobs.get(job_id)
            found = session.scalars(select(Attempt.outcome).where(Attempt.job_id == job_id).order_by(Attempt.run))
            return list(found)

    def ended(self, job_id: uuid.UUID) -> JobInfo:
        """The job, when it has ended.

        Raises:
            Broken: it has not, and there is no time left.
        """
        self.wait_for(lambda: self.job(job_id).state in FINAL, lambda: self.standing(job_id))
        return self.job(job_id)

    def wait_for(self, fact: Callable[[], bool], otherwise: Callable[[], str]) -> None:
        """Ask until it is so.

        Raises:
            Broken: the time is up.
        """
        while not fact():
            if time.monotonic() > self._end:
                raise Broken(f"{otherwise()}, and the {self.within:g} s are over")
            time.sleep(LOOK)

    def standing(self, job_id: uuid.UUID) -> str:
        """Where a job of ours stands, and why, as far as anybody says."""
        with self.jobs(self.ours) as (jobs, _):
            job, reasons = jobs.get(job_id), jobs.why(job_id)
        said = [reasons[0].says] if reasons else []
        said += [f"the worker says: {one}" for one in dict.fromkeys([*self.heard[:1], *self.heard[-1:]])]
        return "; ".join([f"the job {job_id} is {job.state} after {self.outcomes(job_id)}", *said])

    # -- as a worker that is written by hand -------------------------------------------

    def require_worker(self) -> None:
        """Look whether this login may work.

        Raises:
            Skipped: it may not. AccessDenied: it should, and may not.
        """
        try:
            preflight.look(self.worker)
        except AccessDenied as error:
            with self.worker.connect() as connection:
                member = "jobforge_worker" in role.held(connection)
            if member:
                closed, cure = "claim_jobs is closed to jobforge_worker", "look what else was: jobforge doctor"
                raise AccessDenied(closed, cure=cure) from error
            raise Skipped(error.message, f"--worker-url; {error.cure}") from error

    def claim(self, task: str, *, silent: bool = False) -> Sequence[Any]:
        """Claim jobs of a task from our queue; `silent`: as a worker of which nothing is heard again."""
        return self._work(calls.CLAIM_JOBS, {
            "worker_id": self.silent if silent else self.by_hand, "queues": [self.queue], "types": [task], "limit": 10,
            "queue_limits": None, "cursors": None, "alive": SILENT if silent else HELD, "alone": False,
        })  # fmt: skip

    def complete(self, job_id: uuid.UUID, token: uuid.UUID, outcome: str) -> str:
        """End a run, and give the answer."""
        item = {"job_id": str(job_id), "lease_token": str(token), "outcome": outcome}
        ((done, others),) = self._work(calls.COMPLETE_JOBS, {"results": json.dumps([item])})
        return "done" if done else str(others[0][1])

    def take_leave(self, worker: uuid.UUID) -> None:
        """A worker is no more."""
        said = dict.fromkeys(("runs", "name", "queues", "types", "connections"))
        self._work(calls.HEARTBEAT_JOBS, {"worker_id": worker, "alive": dt.timedelta(0), **said})

    def _work(self, statement: str, values: Mapping[str, object]) -> Sequence[Any]:
        engine = self.worker.execution_options(isolation_level="READ COMMITTED")
        with database.translated(engine, "jobforge_worker"), engine.begin() as connection:
            connection.execute(calls.LIMIT, {"limit": LIMIT})
            return connection.exec_driver_sql(statement, dict(values)).all()

    # -- as an administrator -----------------------------------------------------------

    def require_admin(self) -> None:
        """Look whether this login may administer.

        Raises:
            Skipped: it may not.
        """
        with database.translated(self.admin, "jobforge_admin"), self.admin.connect() as connection:
            held = role.held(connection)
            if not role.become(connection, "jobforge_admin"):
                login = f'"{self.admin.url.username}"'
                cure = f"--admin-url; {failures.remedy('jobforge_admin', login, held)}"
                raise Skipped("jobforge_admin is missing", cure)
