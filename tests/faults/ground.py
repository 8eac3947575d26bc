"""A server of a test's own, which it may break: migrated, with the real logins, over the socket and over TCP."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row
from sqlalchemy.orm import Session

from jobforge_sa import Jobs
from jobforge_sa.db import migrate
from jobforge_sa.tasks import Task
from jobforge_sa.testing.server import EmbeddedServer, ServerError
from tests.fix_postgres import ROLES, make_logins

QUICK: dict[str, Any] = {"poll": dt.timedelta(milliseconds=50)}
STATES = "select state, count(*) from jobforge.all_jobs group by 1"
RUNS = "select outcome, count(*) from jobforge.all_attempts group by 1"
ENDED = "select state from jobforge.outcomes where job_id = %s"


class Ground:
    """The ways to a server, and what stands in its database."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self._engines: list[sa.Engine] = []

    def prepare(self) -> None:
        """Migrate, and give the logins their passwords."""
        superuser = sa.create_engine(self.server.url, poolclass=sa.NullPool)
        migrate.upgrade(superuser)
        make_logins(superuser)
        for login in ROLES:
            self.run(f"alter role {login} password '{self.server.password}'")
        self.run("create table effects (n int)", "grant all on effects to jf_app, jf_one")

    def engine(self, login: str = "jf_one", port: int | None = None, **options: Any) -> sa.Engine:
        """An engine over the socket; with a port over TCP, as through a proxy."""
        url = sa.make_url(self.server.url_for("postgres", login))
        if port is not None:
            url = sa.make_url(self.server.tcp_url_for("postgres", login)).set(port=port)
        engine = sa.create_engine(url, **({"poolclass": sa.NullPool} | options))
        self._engines.append(engine)
        return engine

    def dispose(self) -> None:
        for engine in self._engines:
            engine.dispose()

    def connect(self, login: str = "postgres") -> psycopg.Connection[dict[str, Any]]:
        """A connection in autocommit, by default the superuser's: to set up, to break and to look."""
        dsn = sa.make_url(self.server.url_for("postgres", login)).set(drivername="postgresql")
        return psycopg.connect(dsn.render_as_string(hide_password=False), autocommit=True, row_factory=dict_row)

    def run(self, *statements: str) -> None:
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def look(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Look at anything, in a connection of its own: the server may have restarted."""
        with self.connect() as connection:
            return connection.execute(query.encode(), values).fetchall()

    def counts(self, query: str) -> dict[str, int]:
        """How many of each."""
        with self.connect("jf_admin") as connection:  # to a superuser these views show nothing without a tenant
            rows = connection.execute(query.encode()).fetchall()
        return {str(next(iter(row.values()))): int(row["count"]) for row in rows}

    def ended(self, job: uuid.UUID) -> str | None:
        """The state of a job that has ended."""
        rows = self.look(ENDED, job)
        return str(rows[0]["state"]) if rows else None

    def clean(self) -> None:
        """Take all jobs away, when the auditor has looked at them."""
        found = self.look("select * from jobforge.audit()")
        self.run(
            "truncate jobforge.jobs, jobforge.idempotency_keys, jobforge.ready, jobforge.scheduled, jobforge.leases, "
            "jobforge.workers, jobforge.cancel_requests, jobforge.attempts, jobforge.outcomes, effects"
        )
        assert found == []


@contextmanager
def own_ground(*, tcp: bool = False, settings: Mapping[str, str] | None = None) -> Iterator[Ground]:
    """Start a server and stop it; skip where that cannot be done."""
    server = EmbeddedServer(tcp=tcp, settings=settings)
    try:
        server.start()
    except ServerError as error:
        pytest.skip(f"needs a server of its own: {error}")
    ground = Ground(server)
    try:
        ground.prepare()
        yield ground
    finally:
        ground.dispose()
        server.stop()


def enqueue(engine: sa.Engine, task: Task[Any, Any], n: int = 0, **options: Any) -> uuid.UUID:
    """One job, committed."""
    with Session(engine) as session, session.begin():
        return Jobs(session).enqueue(task, {"n": n}, **options).id


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What workers have said, each line as a text."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("jobforge_sa")]


def levels(caplog: pytest.LogCaptureFixture) -> Counter[str]:
    return Counter(logging.getLevelName(record.levelno) for record in caplog.records)
