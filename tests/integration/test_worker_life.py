"""The worker's life: how it starts, stops, and outlives its database."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import create_async_engine

from jobforge_sa import AsyncContext, Context, JobForge, Jobs, Worker
from jobforge_sa.db import migrate
from jobforge_sa.errors import AccessDenied, ConfigurationError, SchemaMismatch, ServerUnavailable
from jobforge_sa.testing.server import EmbeddedServer
from tests.fix_postgres import Database, make_logins
from tests.support import wait_for


class Number(BaseModel):
    n: int


forge = JobForge(tenant="acme")
gates: dict[int, threading.Event] = {}
ran: list[int] = []


@forge.task()
def gated(ctx: Context, payload: Number) -> None:
    ran.append(payload.n)
    gates[payload.n].wait(10)


@forge.task()
def stubborn(ctx: Context, payload: Number) -> None:
    ran.append(payload.n)
    while True:
        ctx.check()
        time.sleep(0.005)


@forge.task()
async def asleep(ctx: AsyncContext, payload: Number) -> None:
    ran.append(payload.n)
    await asyncio.sleep(60)


@forge.task()
def quick(ctx: Context, payload: Number) -> None:
    ran.append(payload.n)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ran.clear()
    gates.clear()


def enqueue(engine: sa.Engine, task: Any, n: int = 0) -> Any:
    with sa.orm.Session(engine) as session, session.begin():
        return Jobs(session).enqueue(task, Number(n=n)).id


def state(engine: sa.Engine, job: Any) -> str:
    with sa.orm.Session(engine) as session:
        return str(Jobs(session, tenant="acme").get(job).state)


def looks(database: Database) -> list[Any]:
    """What stop leaves behind: the leases and the workers."""
    with database.engine().connect() as c:
        return list(
            c.execute(sa.text("select 'lease' from jobforge.leases union all select name from jobforge.workers"))
        )


def test_fault_035_037_stop_lets_running_handlers_finish_and_gives_the_rest_back_uncharged(database: Database) -> None:
    engine = database.engine("jf_one")
    gates.update({n: threading.Event() for n in range(20)})
    worker = Worker(engine, forge, queues={"default": 2}, poll=dt.timedelta(milliseconds=50)).start()
    worker._lanes[0].pace.rate = 40  # as if it had been quick: it claims ahead
    jobs = [enqueue(engine, gated, n) for n in range(10)]
    wait_for(lambda: len(ran) == 2 and len(worker._runs) > 2, what="two to run and others to be claimed")
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    wait_for(lambda: len(worker._runs) == 2, what="the claimed ones to be given back")
    for gate in gates.values():
        gate.set()
    stopping.join(10)
    states = [state(engine, job) for job in jobs]
    assert states.count("succeeded") == 2
    assert states.count("queued") == 8
    assert looks(database) == []
    with database.engine().connect() as c:
        released = c.execute(sa.text("select count(*) from jobforge.attempts where outcome = 'released'")).scalar_one()
        assert released > 0
        assert c.execute(sa.text("select max(attempt) from jobforge.ready")).scalar_one() == 0


@pytest.mark.parametrize("task", [stubborn, asleep], ids=["plain", "async"])
def test_after_the_grace_handlers_are_asked_to_stop_and_their_jobs_wait_again(database: Database, task: Any) -> None:
    engine = database.engine("jf_one")
    worker = Worker(engine, forge).start()
    job = enqueue(engine, task, 1)
    wait_for(lambda: ran == [1])
    assert worker.stop(timeout=0.05)
    assert state(engine, job) == "queued"
    assert looks(database) == []


def test_a_handler_that_ignores_everything_is_left_behind_and_its_job_waits_again(database: Database) -> None:
    engine = database.engine("jf_one")
    gates[1] = threading.Event()
    worker = Worker(engine, forge).start()
    job = enqueue(engine, gated, 1)
    wait_for(lambda: ran == [1])
    assert not worker.stop(timeout=0.05)
    assert state(engine, job) == "queued"
    gates[1].set()
    assert looks(database) == []


def test_stop_twice_or_before_start_does_nothing_and_start_works_again(database: Database) -> None:
    engine = database.engine("jf_one")
    worker = Worker(engine, forge)
    assert worker.stop()
    for n in range(2):
        worker.start()
        worker.start()
        job = enqueue(engine, quick, n)
        wait_for(lambda job=job: state(engine, job) == "succeeded")  # type: ignore[misc]
        assert worker.stop()
        assert worker.stop()
    assert not [
        t for t in threading.enumerate() if t.name.startswith("jobforge-") and t.is_alive() and "loop" in t.name
    ]


def test_a_lifespan_runs_the_worker_as_long_as_the_application(database: Database) -> None:
    from starlette.applications import Starlette

    engine = database.engine("jf_one")
    worker = Worker(engine, forge)
    app = Starlette(lifespan=worker.lifespan)

    async def serve() -> None:
        async with app.router.lifespan_context(app):
            job = await asyncio.to_thread(enqueue, engine, quick, 1)
            while state(engine, job) != "succeeded":
                await asyncio.sleep(0.01)

    asyncio.run(serve())
    assert looks(database) == []


def test_a_worker_takes_an_async_engine_or_a_url(database: Database) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    url = database.url("jf_one")
    for way in (
        create_async_engine(url.set(drivername="postgresql+asyncpg")),
        url.render_as_string(hide_password=False),
    ):
        job = enqueue(database.engine("jf_one"), quick, 1)
        with Worker(way, forge):
            wait_for(lambda job=job: state(database.engine("jf_one"), job) == "succeeded")  # type: ignore[misc]


def test_fault_004_terminated_backends_do_not_stop_the_worker_and_it_says_so_once(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    engine = database.engine("jf_one", poolclass=sa.NullPool)
    kill = """select count(pg_terminate_backend(pid)) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid()"""
    with caplog.at_level(logging.WARNING, "jobforge_sa"), Worker(engine, forge, poll=dt.timedelta(milliseconds=50)):
        for n in range(3):
            job = enqueue(engine, quick, n)
            wait_for(lambda job=job: state(engine, job) == "succeeded")  # type: ignore[misc]
            with database.engine().connect() as c:
                assert c.execute(sa.text(kill)).scalar_one() >= 4
        job = enqueue(engine, quick, 9)
        wait_for(lambda: state(engine, job) == "succeeded")
    for service in ("claimer", "listener"):
        assert sum(r.getMessage().startswith(f"{service}:") for r in caplog.records) <= 3
    told = [r.getMessage() for r in caplog.records if r.name.startswith("sqlalchemy")]
    assert told == [], "a traceback for each connection that broke"


def test_fault_003_a_crash_of_postgres_loses_no_job_and_the_worker_goes_on(tmp_path: Path) -> None:
    """Immediate restart under a running handler: its completion waits for the server to come back."""
    with EmbeddedServer(durable=True) as server:
        migrate.upgrade(superuser := sa.create_engine(server.url, poolclass=sa.NullPool))
        make_logins(superuser)
        engine = sa.create_engine(server.url_for("postgres", "jf_one"), poolclass=sa.NullPool)
        gates[1] = threading.Event()
        with Worker(engine, forge, poll=dt.timedelta(milliseconds=50)) as worker:
            waiting, running = enqueue(engine, quick, 2), enqueue(engine, gated, 1)
            wait_for(lambda: 1 in ran)
            server.restart(immediate=True)
            gates[1].set()
            jobs = [enqueue(engine, quick, n) for n in range(3, 20)]
            for job in (waiting, running, *jobs):
                wait_for(lambda job=job: state(engine, job) == "succeeded", 30)  # type: ignore[misc]
            assert ran.count(1) in (1, 2)  # outside its session a handler is at least once
            assert worker.drain(10)
        with engine.connect() as c:
            assert c.execute(sa.text("select * from jobforge.audit()")).all() == []
        engine.dispose()


def test_fault_004_a_connection_that_is_terminated_while_a_worker_starts_is_a_server_that_is_away(
    database: Database,
) -> None:
    sessions = database.engine("jf_one")
    admin = database.engine(isolation_level="AUTOCOMMIT")

    @sa.event.listens_for(sessions, "checkout")
    def terminate(connection: Any, *_: object) -> None:
        with admin.connect() as c:
            c.execute(sa.text("select pg_terminate_backend(:pid, 5000)"), {"pid": connection.info.backend_pid})

    with pytest.raises(ServerUnavailable, match="terminating connection"):
        Worker(database.engine("jf_one"), forge, session_engine=sessions).start()


def test_no_server_at_the_url(tmp_path: Path) -> None:
    worker = Worker(f"postgresql://nobody@/none?host={tmp_path}", forge)
    with pytest.raises(ServerUnavailable, match="cure: start the server, or correct host"):
        worker.start()


def test_a_wrong_password_is_not_shown() -> None:
    with EmbeddedServer(tcp=True) as server:
        url = sa.make_url(server.tcp_url_for()).set(password="wrong-secret")
        with pytest.raises(ServerUnavailable, match="password authentication failed") as caught:
            Worker(url.render_as_string(hide_password=False), forge).start()
    assert "wrong-secret" not in str(caught.value)


def test_a_schema_that_is_missing_older_or_newer_is_refused_with_the_cure(bare_database: Database) -> None:
    engine = bare_database.engine()
    worker = Worker(bare_database.engine("jf_one"), forge)
    with pytest.raises(SchemaMismatch, match="run: jobforge migrate"):
        worker.start()
    migrate.upgrade(engine, "0001")
    with pytest.raises(SchemaMismatch, match="run: jobforge migrate"):
        worker.start()
    migrate.upgrade(engine)
    newer = """create or replace function jobforge.schema_version()
               returns table (revision text, serves text, tenancy text)
               language sql as $$ select '0099', '0098', 'plain' $$"""
    with engine.begin() as c:
        c.execute(sa.text(newer))
    with pytest.raises(SchemaMismatch, match="pip install -U jobforge_sa"):
        worker.start()
    with engine.begin() as c:  # newer, but it still serves this code: a rolling deployment
        c.execute(sa.text(newer.replace("0098", "0002")))
    with worker:
        pass


def test_a_login_without_the_rights_is_told_the_grant(database: Database) -> None:
    for login in ("jf_stranger", "jf_app", "jf_admin"):  # an administrator may do upkeep, and no more
        with pytest.raises(
            AccessDenied, match="cure: connect as a login of jobforge_worker that the application does not"
        ):
            Worker(database.engine(login), forge).start()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queues": "default"}, r"pass a list: \['default'\]"),
        ({"queues": {}}, "at least one slot"),
        ({"queues": {"default": 0}}, "at least one slot"),
        ({"lease": dt.timedelta(0)}, "lease is"),
        ({"poll": dt.timedelta(0)}, "poll is"),
        ({"poll": 5}, "poll is 5"),
        ({"queues": {"default": 1.5}}, "at least one slot"),
        ({"concurrency": "5"}, "at least one slot"),
    ],
)
def test_options_that_cannot_work_are_refused(options: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Worker("postgresql://x/y", forge, **options)


def test_a_registry_without_tasks_and_a_url_of_another_database_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no tasks"):
        Worker("postgresql://x/y", JobForge())
    with pytest.raises(ConfigurationError, match="takes a JobForge, not list"):
        Worker("postgresql://x/y", [forge])  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a way to a Postgres"):
        Worker("sqlite://", forge)


def test_handlers_sessions_must_be_on_the_database_of_the_jobs(database: Database, bare_database: Database) -> None:
    """Else every job would lose its lease at its end: what it wrote cannot commit with the completion."""
    migrate.upgrade(bare_database.engine())
    elsewhere = bare_database.engine("jf_one")
    with pytest.raises(ConfigurationError, match="another database than the one that jobs are claimed from"):
        Worker(database.engine("jf_one"), forge, session_engine=elsewhere).start()


def test_sessions_from_an_engine_that_cannot_hold_them_are_told_at_the_start(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Else every job would use up its attempts."""
    engine = database.engine("jf_one")
    with pytest.raises(ConfigurationError, match="async_session_engine"):
        Worker(engine, forge, session_engine=create_async_engine(engine.url)).start()  # type: ignore[arg-type]
    with Worker(engine, forge, session_engine=engine.execution_options(isolation_level="AUTOCOMMIT")):
        assert "handlers' sessions are in AUTOCOMMIT" in caplog.text


def test_sessions_with_the_workers_login_are_told_at_the_start(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with Worker(database.engine("jf_worker"), forge):
        pass
    assert "handlers' sessions log in as jf_worker, which is no member of jobforge_app" in caplog.text
    caplog.clear()
    with Worker(database.engine("jf_worker"), forge, session_engine=database.engine("jf_app")):
        pass
    assert "no member" not in caplog.text
