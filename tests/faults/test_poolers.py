"""pgbouncer in transaction mode before the worker's own connections: found out, said once, nothing is left there."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Worker
from tests.fix_postgres import Database
from tests.security.pgbouncer import Pgbouncer, pgbouncer
from tests.support import wait_for

LEFT = """
select array(select pg_listening_channels()), (select count(*) from pg_prepared_statements),
       current_setting('default_transaction_isolation'), current_setting('idle_session_timeout')"""


@pytest.fixture
def bouncer(database: Database) -> Iterator[Pgbouncer]:
    with pgbouncer(database) as bouncer:  # one server connection: all that is left on it is seen
        yield bouncer


def enqueue(database: Database, forge: JobForge, name: str) -> uuid.UUID:
    with Session(database.engine("jf_app")) as session, session.begin():
        return Jobs(session).enqueue(forge.tasks[name], {"n": 1}).id


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
def test_fault_027_behind_a_pooler_a_worker_polls_and_leaves_nothing_on_its_connections(
    database: Database, bouncer: Pgbouncer, isolation: str, caplog: pytest.LogCaptureFixture
) -> None:
    with database.engine(isolation_level="AUTOCOMMIT").connect() as dba:
        for setting in (f"default_transaction_isolation = '{isolation}'", "idle_session_timeout = '1h'"):
            dba.exec_driver_sql(f"alter role jf_worker in database {database.name} set {setting}")
    forge, running, told = JobForge(tenant="a"), threading.Event(), threading.Event()

    @forge.task()
    def quick(ctx: Context, payload: dict[str, int]) -> None: ...

    @forge.task()
    def asks(ctx: Context, payload: dict[str, int]) -> None:
        running.set()
        while not ctx.canceled:
            told.wait(0.01)
        told.set()

    engine = sa.create_engine(bouncer.url("jf_worker"), poolclass=sa.NullPool)
    minute, tenth = dt.timedelta(minutes=1), dt.timedelta(seconds=0.1)
    direct = database.engine("jf_app")
    with (
        caplog.at_level(logging.INFO, "jobforge_sa"),
        Worker(engine, forge, session_engine=direct, lease=minute, poll=tenth) as worker,
    ):
        for _ in range(8):  # more than what it takes psycopg to prepare a statement
            done = worker.outcomes["succeeded"]
            enqueue(database, forge, "quick")
            wait_for(lambda done=done: worker.outcomes["succeeded"] > done, 10, "the job to be found")  # type: ignore[misc]
        job = enqueue(database, forge, "asks")
        assert running.wait(10)
        with Session(direct) as session, session.begin():
            Jobs(session, tenant="a").cancel(job)
        assert told.wait(5), "a cancel is asked for each second, though a third of the lease is 20"
    with bouncer.connect("jf_worker") as stranger:
        assert stranger.execute(LEFT).fetchone() == ([], 0, isolation, "1h")
    lines = [record.getMessage() for record in caplog.records]
    assert sum("a pooler stands between" in line for line in lines) == 1
    assert not [line for line in lines if "trying again" in line]
