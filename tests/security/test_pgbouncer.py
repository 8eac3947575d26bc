"""Through pgbouncer in transaction mode, as the real logins: one server connection, and no tenant stays on it."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.sql import Composable
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from jobforge_sa import AsyncContext, AsyncJobs, AsyncResults, Context, JobForge, Jobs, Results, Worker, bind_tenant
from jobforge_sa.errors import PreparedBehindPoolerWarning, ResultTimeout, TenantRequired
from jobforge_sa.models import Job
from jobforge_sa.ops import database
from jobforge_sa.ops.doctor import report as doctor
from tests.security.pgbouncer import Pgbouncer, pgbouncer
from tests.support import Sql, one_database, refused, wait_for

WHO = "select pg_backend_pid(), jobforge.current_tenant()"
STORE = sa.text("insert into effects values (:n, jobforge.current_tenant()) returning pg_backend_pid(), tenant_id")
STORED = "select tenant_id, array_agg(n order by n) as ns from effects group by tenant_id"

# what each driver needs behind any pooler in transaction mode; psycopg2 never prepares anything
TOLD: dict[str, dict[str, Any]] = {
    "psycopg": {"prepare_threshold": None},
    "psycopg2": {},
    "asyncpg": {"statement_cache_size": 0, "prepared_statement_name_func": lambda: f"_{uuid.uuid4().hex}"},
}


class Number(BaseModel):
    n: int


forge = JobForge()


@forge.task("ship")
def ship(ctx: Context, payload: Number) -> None: ...


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Sql]:
    with one_database(admin_url, template) as database, Sql(database) as sql:
        admin = sql.session("postgres")
        admin.execute("create table effects (n int, tenant_id text)")
        admin.execute("alter table effects enable row level security")
        admin.execute(
            "create policy mine on effects using (tenant_id = (select jobforge.current_tenant())) "
            "with check (tenant_id = (select jobforge.current_tenant()))"
        )
        admin.execute("grant all on effects to public")
        yield sql


@pytest.fixture(scope="module")
def bouncer(shared: Sql) -> Iterator[Pgbouncer]:
    with pgbouncer(shared.database) as bouncer:
        yield bouncer


@pytest.fixture
def sql(shared: Sql) -> Iterator[Sql]:
    """All jobs are the test's own."""
    shared.clean()
    yield shared
    shared.session("postgres").execute("truncate effects")
    shared.clean()


def through(bouncer: Pgbouncer, user: str, driver: str = "psycopg", **more: Any) -> sa.Engine:
    return sa.create_engine(bouncer.url(user, driver), connect_args=TOLD[driver] | more)


@pytest.fixture(params=["psycopg", "psycopg2"])
def engine(request: pytest.FixtureRequest, sql: Sql, bouncer: Pgbouncer) -> Iterator[sa.Engine]:
    engine = through(bouncer, "jf_app", request.param)
    yield engine
    engine.dispose()


@pytest.fixture
def other(sql: Sql, bouncer: Pgbouncer) -> Iterator[psycopg.Connection[Any]]:
    """Another client of the same login: it gets the same server connection, whenever that is free."""
    with bouncer.connect("jf_app") as connection:
        yield connection


def who(client: psycopg.Connection[Any]) -> Any:
    """The server connection of a client and the tenant that it finds there."""
    return client.execute(WHO).fetchone()


def tenants(sql: Sql) -> list[str]:
    return [row["tenant_id"] for row in sql.look("select tenant_id from jobforge.jobs order by id")]


# --- enqueueing --------------------------------------------------------------------------------------------


def test_a_bound_session_leaves_no_tenant_to_the_next_client(
    sql: Sql, engine: sa.Engine, other: psycopg.Connection[Any]
) -> None:
    for tenant in ("a", "b"):
        with Session(engine) as session:
            bind_tenant(session, tenant)
            for end in (session.commit, session.rollback, session.commit):
                mine = session.execute(sa.text(WHO)).one()
                Jobs(session).enqueue(ship, Number(n=1))
                assert set(session.scalars(sa.select(Job.tenant_id))) == {tenant}
                end()
                assert tuple(mine) == (who(other)[0], tenant)
                assert who(other)[1] is None

    assert tenants(sql) == ["a", "a", "b", "b"]


def test_jobs_with_a_tenant_leave_none_to_the_next_client(
    sql: Sql, engine: sa.Engine, other: psycopg.Connection[Any]
) -> None:
    with engine.connect() as connection:
        for tenant in ("a", "b"):
            Jobs(connection, tenant=tenant).enqueue_many([ship.new(Number(n=n)) for n in range(3)])
            mine = connection.execute(sa.text(WHO)).one()
            connection.commit()
            assert tuple(mine) == (who(other)[0], tenant)
            assert who(other)[1] is None
        with pytest.raises(TenantRequired):
            Jobs(connection).enqueue(ship, Number(n=1))

    assert tenants(sql) == ["a"] * 3 + ["b"] * 3


def test_a_rollback_leaves_nothing_and_a_savepoint_restores_the_tenant(sql: Sql, engine: sa.Engine) -> None:
    with Session(engine) as session:
        Jobs(session, tenant="a").enqueue(ship, Number(n=1))
        session.rollback()

        Jobs(session, tenant="a").enqueue(ship, Number(n=2))
        with session.begin_nested() as savepoint:
            Jobs(session, tenant="b").enqueue(ship, Number(n=3))
            assert session.execute(sa.text(WHO)).one()[1] == "b"
            savepoint.rollback()
        assert session.execute(sa.text(WHO)).one()[1] == "a"
        session.commit()

    assert tenants(sql) == ["a"]


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_an_async_session_leaves_no_tenant_to_the_next_client(
    sql: Sql, bouncer: Pgbouncer, other: psycopg.Connection[Any], driver: str
) -> None:
    async def run() -> None:
        engine = create_async_engine(bouncer.url("jf_app", driver), connect_args=TOLD[driver])
        for tenant in "ab" * 4:  # often enough for a driver that would begin to prepare
            async with AsyncSession(engine) as session:
                bind_tenant(session, tenant)
                await AsyncJobs(session).enqueue(ship, Number(n=1))
                mine = (await session.execute(sa.text(WHO))).one()
                async with session.begin_nested():
                    await AsyncJobs(session).enqueue(ship, Number(n=2))
                await (session.commit() if tenant == "a" else session.rollback())
                assert tuple(mine) == (who(other)[0], tenant)
                assert who(other)[1] is None
        await engine.dispose()

    asyncio.run(run())
    assert tenants(sql) == ["a"] * 8


# --- a worker ----------------------------------------------------------------------------------------------


def test_a_worker_does_its_jobs_and_no_tenant_of_theirs_reaches_another_client(sql: Sql, bouncer: Pgbouncer) -> None:
    """All of the worker's threads and a stranger to them share one server connection; so none may keep it."""
    engine, forge = through(bouncer, "jf_one"), JobForge()
    seen: list[tuple[int, str, int, str | None]] = []

    @forge.task(max_attempts=1)
    def store(ctx: Context, payload: Number) -> None:
        pid, tenant = ctx.session.execute(STORE, {"n": payload.n}).one()
        ctx.session.commit()  # a step: the server connection goes to whoever waits for it
        seen.append((pid, tenant, *who(stranger)))
        ctx.session.execute(STORE, {"n": payload.n + 100})
        if payload.n < 0:
            raise ValueError(payload.n)

    for tenant in ("a", "b"):
        with Session(engine) as session, session.begin():
            Jobs(session, tenant=tenant).enqueue_many([store.new(Number(n=n)) for n in range(-1, 10)])
    with bouncer.connect("jf_one") as stranger:
        worker = Worker(engine, forge, listen=False, concurrency=2, poll=dt.timedelta(milliseconds=50))
        with worker:
            assert worker.drain(timeout=20)
        assert stranger.execute("select * from effects").fetchall() == []
    engine.dispose()

    done = [-1, *range(10), *range(100, 110)]  # the step of the job that failed stays, the rest of it does not
    assert worker.outcomes == {"succeeded": 20, "failed": 2}
    assert sql.look(STORED + " order by 1") == [{"tenant_id": "a", "ns": done}, {"tenant_id": "b", "ns": done}]
    assert sorted(tenant for _, tenant, _, _ in seen) == ["a"] * 11 + ["b"] * 11
    assert len({pid for mine, _, theirs, _ in seen for pid in (mine, theirs)}) == 1
    assert {found for *_, found in seen} == {None}


def test_async_handlers_work_too_where_the_workers_engine_was_told_not_to_prepare(sql: Sql, bouncer: Pgbouncer) -> None:
    engine, forge = through(bouncer, "jf_one"), JobForge(tenant="a")

    @forge.task(max_attempts=1)
    async def store(ctx: AsyncContext, payload: Number) -> None:
        for _ in range(6):
            await ctx.session.execute(STORE, {"n": payload.n})

    with Session(engine) as session, session.begin():
        Jobs(session).enqueue(store, Number(n=1))
    with bouncer.connect("jf_one") as elsewhere:  # as the second of two async handlers' connections would
        elsewhere.prepare_threshold = 1
        for _ in range(2):
            elsewhere.execute("select 1")
        with Worker(engine, forge, listen=False) as worker:
            worker.drain(timeout=10)
    engine.dispose()
    assert worker.outcomes == {"succeeded": 1}


@pytest.mark.parametrize("way", ["url", "async engine"])
def test_a_worker_that_makes_its_own_engine_finds_the_pooler_and_prepares_nothing(
    sql: Sql, bouncer: Pgbouncer, way: str
) -> None:
    forge, url = JobForge(tenant="a"), through(bouncer, "jf_one").url

    @forge.task(max_attempts=1)
    def store(ctx: Context, payload: Number) -> None:
        for _ in range(6):
            ctx.session.execute(STORE, {"n": payload.n})

    @forge.task(max_attempts=1)
    async def store_too(ctx: AsyncContext, payload: Number) -> None:
        for _ in range(6):
            await ctx.session.execute(STORE, {"n": payload.n})

    engine = through(bouncer, "jf_one")
    with Session(engine) as session, session.begin():
        for n in range(20):
            Jobs(session).enqueue(store, Number(n=n))
            Jobs(session).enqueue(store_too, Number(n=n))
    engine.dispose()
    given = url.render_as_string(hide_password=False) if way == "url" else create_async_engine(url)
    with Worker(given, forge, listen=False) as worker:
        assert worker.drain(timeout=20)
    assert worker.outcomes == {"succeeded": 40}


@pytest.mark.parametrize("threshold", [5, None])
def test_an_application_that_prepares_through_a_pooler_is_warned_once(
    sql: Sql, bouncer: Pgbouncer, threshold: int | None
) -> None:
    engine = sa.create_engine(through(bouncer, "jf_app").url, connect_args={"prepare_threshold": threshold})
    told = warnings.catch_warnings(record=True)
    with told as heard, engine.connect() as connection:
        warnings.simplefilter("always")
        for _ in range(3):
            Jobs(connection, tenant="a").list()
    engine.dispose()
    assert [type(one.message) for one in heard] == [PreparedBehindPoolerWarning] * (threshold is not None)
    with warnings.catch_warnings(record=True) as heard, sql.database.engine("jf_app").connect() as direct:
        Jobs(direct, tenant="a").list()
    assert heard == []


# --- waiting for results -----------------------------------------------------------------------------------


@forge.task("double")
def double(ctx: Context, payload: Number) -> int:
    return 2 * payload.n


def wait_for_result(bouncer: Pgbouncer, driver: str, job: uuid.UUID) -> int:
    if driver in ("psycopg", "psycopg2"):
        engine = through(bouncer, "jf_app", driver)
        try:
            return Results(engine, tenant="a").wait(double, job, timeout=20)
        finally:
            engine.dispose()

    async def run() -> int:
        name = driver.split()[-1]
        engine = create_async_engine(bouncer.url("jf_app", name), connect_args=TOLD[name])
        try:
            return await AsyncResults(engine, tenant="a").wait(double, job, timeout=20)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def test_the_doctor_says_that_its_connection_leads_through_a_pooler(sql: Sql, bouncer: Pgbouncer) -> None:
    url = bouncer.url("jf_admin").render_as_string(hide_password=False)
    through_it = doctor.examine(database.engine(url)).findings
    (fault,) = (one for one in through_it if one.name == "pooler")
    assert "without LISTEN" in fault.detail
    assert "--url postgresql://SERVER/DATABASE  # the server's own address" in fault.remedy
    assert "pooler" not in {one.name for one in doctor.examine(sql.database.engine("jf_admin")).findings}


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "async psycopg", "asyncpg"])
def test_a_wait_looks_and_leaves_nothing_to_the_next_client(
    sql: Sql, bouncer: Pgbouncer, other: psycopg.Connection[Any], driver: str
) -> None:
    """No tenant, no limit of its own, no LISTEN; and between two looks the one server connection is free."""
    job = sql.enqueue("a", "double", {"n": 4})
    with ThreadPoolExecutor() as pool:
        wait = pool.submit(wait_for_result, bouncer, driver, job)
        wait_for(lambda: sql.look("select from jobforge.waits"), what="the wait")
        for _ in range(200):  # many a moment between the looks
            assert who(other)[1] is None
            assert other.execute("show statement_timeout").fetchone() == ("0",)
        assert sql.complete(sql.claim_one(types=["double"]), result=8) == "done"
        assert wait.result(20) == 8
    assert sql.look("select from pg_stat_activity where query = 'listen jobforge_done'") == []


def test_a_wait_that_gets_no_server_connection_ends_with_its_timeout(
    sql: Sql, engine: sa.Engine, other: psycopg.Connection[Any]
) -> None:
    """pgbouncer would keep it for 20 s."""
    job, began = sql.enqueue("a", "double", {"n": 4}), time.monotonic()
    with other.transaction():
        other.execute("select 1")
        with pytest.raises(ResultTimeout, match="did not answer"):
            Results(engine, tenant="a").wait(double, job, timeout=0.5)
    assert time.monotonic() - began < 4
    left = [thread for thread in threading.enumerate() if thread.name == "jobforge-look"]
    wait_for(lambda: not any(thread.is_alive() for thread in left), what="the look that was left behind to end")


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_an_async_wait_that_gets_no_server_connection_ends_with_its_timeout(
    sql: Sql, bouncer: Pgbouncer, other: psycopg.Connection[Any], driver: str
) -> None:
    """The driver itself would first ask for a cancel, and wait for five seconds."""
    job = sql.enqueue("a", "double", {"n": 4})

    async def run() -> float:
        engine = create_async_engine(bouncer.url("jf_app", driver), connect_args=TOLD[driver])
        began = time.monotonic()
        with other.transaction():
            other.execute("select 1")
            with pytest.raises(ResultTimeout, match="did not answer"):
                await AsyncResults(engine, tenant="a").wait(double, job, timeout=0.5)
            took = time.monotonic() - began
        await engine.dispose()
        return took

    assert asyncio.run(run()) < 4


# --- the dangers, shown ------------------------------------------------------------------------------------


def test_statements_that_psycopg_prepares_collide_unless_it_is_told_not_to(sql: Sql, bouncer: Pgbouncer) -> None:
    """It prepares what it has seen five times, under names that its other connections use as well."""

    def six_times(**options: Any) -> None:
        engine = sa.create_engine(bouncer.url("jf_app"), poolclass=sa.NullPool, connect_args=options)
        with engine.connect() as first, engine.connect() as second:
            for connection in (first, second):
                for _ in range(6):
                    connection.execute(sa.text("select 1"))
                connection.commit()

    six_times(**TOLD["psycopg"])
    with pytest.raises(sa.exc.ProgrammingError, match="already exists"):
        six_times()


def test_a_prepared_statement_may_run_in_place_of_another_and_set_a_tenant(sql: Sql) -> None:
    """Why it is worse than an error: both are called _pg3_0, each on its own server connection, and then one moves."""
    setting, reading = "select set_config('jobforge.tenant_id', %s, true)", "select %s::text || ' is what I asked for'"
    with pgbouncer(sql.database, size=2) as bouncer, ExitStack() as clients:
        first, second, third, fourth = (clients.enter_context(bouncer.connect("jf_app")) for _ in range(4))
        first.prepare_threshold = second.prepare_threshold = 5  # psycopg's default
        with first.transaction(), second.transaction():
            for _ in range(6):
                first.execute(setting, ["a"])
                second.execute(reading, ["b"])
            home = who(first)[0]
        for connection in (third, fourth):  # both server connections are taken, then one is let go
            connection.execute("begin")
        (third if who(third)[0] == home else fourth).rollback()

        with second.transaction():
            assert second.execute(reading, ["b"]).fetchone() == ("b",)
            assert second.execute(WHO, prepare=False).fetchone() == (home, "b")
        for connection in (third, fourth):
            connection.rollback()


def test_a_setting_of_the_session_would_reach_the_next_client_and_the_next_user_of_a_pool(
    sql: Sql, bouncer: Pgbouncer, other: psycopg.Connection[Any]
) -> None:
    """Why it is a setting of the transaction, and of nothing else."""
    theirs = sql.enqueue("b")
    with bouncer.connect("jf_app") as careless:
        careless.execute("set jobforge.tenant_id = 'b'")
    assert who(other)[1] == "b"
    assert other.execute("select id from jobforge.jobs").fetchall() == [(theirs,)]
    other.execute("reset jobforge.tenant_id")

    pool = sql.database.engine("jf_app", pool_size=1, max_overflow=0)
    with pool.connect() as connection:
        connection.execute(sa.text("set jobforge.tenant_id = 'b'"))
        connection.commit()
    with pool.connect() as connection:
        assert connection.scalars(sa.select(Job.id)).all() == [theirs]


class _Recorder:
    """What was sent, by every cursor of the connections that are made with one of these."""

    sent: list[str]

    def execute(self, query: Any, *rest: Any, **options: Any) -> Any:
        raw = query.as_string() if isinstance(query, Composable) else query
        self.sent.append(raw.decode() if isinstance(raw, bytes) else raw)
        return super().execute(query, *rest, **options)  # type: ignore[misc]


def session_level(statement: str) -> bool:
    """Whether a statement sets a tenant for longer than its transaction."""
    text = re.sub(r"%\(\w+\)s", "?", statement.lower())
    local = re.findall(r"set_config\s*\([^()]*,\s*true\s*\)", text)
    return text.count("set_config") != len(local) or bool(re.search(r"\bset\s+(session\s+)?\W?jobforge", text))


def test_the_library_never_sets_a_tenant_for_the_session(sql: Sql, bouncer: Pgbouncer) -> None:
    """Every statement of sessions, async sessions and a worker is read, and what they left is looked at."""
    assert session_level("set jobforge.tenant_id = 'a'")
    assert session_level("select set_config('jobforge.tenant_id', %s, false)")
    sent: list[str] = []
    plain = type("Plain", (_Recorder, psycopg.Cursor), {"sent": sent})
    waiting = type("Waiting", (_Recorder, psycopg.AsyncCursor), {"sent": sent})
    engine, forge = through(bouncer, "jf_one", cursor_factory=plain), JobForge(tenant="a")

    @forge.task()
    def store(ctx: Context, payload: Number) -> None:
        ctx.session.execute(STORE, {"n": payload.n})
        Jobs(ctx.session).enqueue(last, payload)

    @forge.task()
    def last(ctx: Context, payload: Number) -> None: ...

    factory = sessionmaker(engine)
    bind_tenant(factory, "a")
    with factory.begin() as session:
        Jobs(session).enqueue(store, Number(n=1))
    with Session(engine) as session, session.begin():
        Jobs(session, tenant="b").cancel(Jobs(session, tenant="b").enqueue(last, Number(n=2)).id)

    async def run() -> None:
        options = TOLD["psycopg"] | {"cursor_factory": waiting}
        async_engine = create_async_engine(bouncer.url("jf_one"), connect_args=options)
        async_factory = async_sessionmaker(async_engine)
        bind_tenant(async_factory, "a")
        async with async_factory.begin() as session:
            await AsyncJobs(session).enqueue(store, Number(n=3))
        await async_engine.dispose()

    asyncio.run(run())
    with Worker(engine, forge, listen=False) as worker:
        assert worker.drain(timeout=10)
    engine.dispose()

    assert worker.outcomes == {"succeeded": 4}
    assert len([statement for statement in sent if "jobforge.tenant_id" in statement]) >= 5
    assert [statement for statement in sent if session_level(statement)] == []
    with bouncer.connect("jf_one") as next_client, refused("JF001"):
        assert who(next_client)[1] is None
        next_client.execute("select jobforge.enqueue_job('t')")
