"""Connections that no policy binds: what still keeps tenants apart, what does not, and that it is said."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from jobforge_sa import AsyncJobs, Context, JobForge, Jobs, TenantKey, Worker, bind_tenant
from jobforge_sa.errors import (
    ConfigurationError,
    JobNotFound,
    RowSecurityOff,
    RowSecurityOffWarning,
    TenantRequired,
    TokensUncheckedWarning,
)
from jobforge_sa.models import Attempt, Job
from tests.fix_postgres import Database
from tests.support import Sql

forge, strict = JobForge(), JobForge(strict_rls=True)


@forge.task()
def ship(ctx: Context, payload: dict[str, int]) -> None: ...


@strict.task()
def send(ctx: Context, payload: dict[str, int]) -> None: ...


@pytest.fixture
def sql(database: Database) -> Iterator[Sql]:
    with Sql(database) as sql:
        sql.session("postgres").execute("create role jf_bypass login bypassrls in role jobforge_app, jobforge_worker")
        yield sql
        sql.session("postgres").execute("drop role jf_bypass")


@pytest.fixture(params=["postgres", "jf_bypass"])
def unbound(sql: Sql, request: pytest.FixtureRequest) -> sa.Engine:
    """An engine whose login is bound by no policy; it was said already."""
    engine = sql.database.engine(request.param)
    with engine.connect() as connection, pytest.warns(RowSecurityOffWarning):
        Jobs(connection, tenant="a").list()
    return engine


def test_case_032_functions_and_mapped_classes_keep_to_the_tenant_all_the_same(sql: Sql, unbound: sa.Engine) -> None:
    jobs = {tenant: sql.enqueue(tenant) for tenant in "ab"}
    for run in sql.claim():
        sql.complete(run)

    with Session(unbound) as session:
        assert session.scalars(sa.select(Job)).all() == []
        assert session.scalars(sa.select(Attempt)).all() == []
        assert session.scalar(sa.select(sa.func.count()).select_from(Job)) == 0
        with pytest.raises(TenantRequired):
            Jobs(session).enqueue(ship, {"n": 1})
    for tenant, other in ("ab", "ba"):
        with Session(unbound) as session:
            bind_tenant(session, tenant)
            assert set(session.scalars(sa.select(Job.id))) == {jobs[tenant]}
            assert session.get(Job, jobs[other]) is None
            assert set(session.scalars(sa.select(Attempt.job_id))) == {jobs[tenant]}
            assert [job.id for job in Jobs(session).list().jobs] == [jobs[tenant]]
            for call in (Jobs(session).get, Jobs(session).cancel, Jobs(session).retry, Jobs(session).reschedule):
                with pytest.raises(JobNotFound):
                    call(jobs[other])


def test_what_it_reads_from_the_tables_themselves_is_everybodys(sql: Sql, unbound: sa.Engine) -> None:
    """The limit, as the warning and the doctor say it."""
    for tenant in "ab":
        sql.enqueue(tenant)
    with Session(unbound) as session:
        bind_tenant(session, "a")
        assert set(session.scalars(sa.text("select tenant_id from jobforge.jobs"))) == {"a", "b"}


def test_who_may_act_as_the_administrator_sees_all_by_saying_so(sql: Sql) -> None:
    for tenant in "ab":
        sql.enqueue(tenant)
    with Session(sql.database.engine()) as session:
        session.execute(sa.text("set local role jobforge_admin"))
        assert set(session.scalars(sa.select(Job.tenant_id))) == {"a", "b"}


@pytest.mark.parametrize("user", ["postgres", "jf_bypass"])
def test_it_is_said_once_for_each_engine_with_the_cure(sql: Sql, user: str) -> None:
    engine = sql.database.engine(user)
    with warnings.catch_warnings(record=True) as heard, engine.connect() as connection:
        warnings.simplefilter("always")
        for _ in range(3):
            Jobs(connection, tenant="a").enqueue(ship, {"n": 1})
            Jobs(connection, tenant="a").list()
    (said,) = heard
    assert said.category is RowSecurityOffWarning
    assert user in str(said.message)
    assert "grant jobforge_app" in str(said.message)
    assert said.filename == __file__, "it points at the line of who called"


@pytest.mark.parametrize("user", ["jf_app", "jf_one"])
def test_a_login_that_policies_bind_hears_nothing_and_may_be_strict(sql: Sql, user: str) -> None:
    with sql.database.engine(user).begin() as connection:
        Jobs(connection, tenant="a", strict_rls=True).list()
        Jobs(connection, tenant="a").enqueue(send, {"n": 1})


def test_a_superuser_that_acts_as_a_role_of_ours_is_bound(sql: Sql) -> None:
    engine = sql.database.engine(connect_args={"options": "-c role=jobforge_app"})
    with engine.begin() as connection:
        Jobs(connection, tenant="a", strict_rls=True).enqueue(ship, {"n": 1})


def test_strict_refuses_every_time(sql: Sql) -> None:
    engine = sql.database.engine()
    for _ in range(2):
        with engine.connect() as connection:
            jobs, lax = Jobs(connection, tenant="a", strict_rls=True), Jobs(connection, tenant="a")
            with pytest.raises(RowSecurityOff, match="grant jobforge_app"):
                jobs.enqueue(ship, {"n": 1})
            with pytest.raises(RowSecurityOff):
                jobs.enqueue_many([ship.new({"n": 1})])
            with pytest.raises(RowSecurityOff):
                jobs.list()
            with pytest.raises(RowSecurityOff):
                lax.enqueue(send, {"n": 1})
            with pytest.raises(RowSecurityOff):
                lax.enqueue_many([send.new({"n": 1})])


def test_a_worker_says_it_of_its_handlers_sessions_and_may_be_strict(sql: Sql) -> None:
    with pytest.warns(RowSecurityOffWarning), Worker(sql.database.engine(), forge):
        pass
    with pytest.raises(RowSecurityOff):
        Worker(sql.database.engine(), strict).start()
    with Worker(sql.database.engine(), strict, session_engine=sql.database.engine("jf_one")):
        pass


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_async_sessions_are_strict_as_well(sql: Sql, driver: str) -> None:
    async def attempt() -> None:
        engine = create_async_engine(sql.database.url().set(drivername=f"postgresql+{driver}"))
        async with AsyncSession(engine) as session:
            with pytest.raises(RowSecurityOff):
                await AsyncJobs(session, tenant="a", strict_rls=True).list()
        await engine.dispose()

    asyncio.run(attempt())


# --- a database that does not look at tokens ---------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::jobforge_sa.errors.PoolNotSealedWarning")
def test_an_application_that_signs_is_told_where_nobody_looks(sql: Sql) -> None:
    key = TenantKey.generate("k1")
    with sql.database.engine("jf_app").begin() as connection, pytest.warns(TokensUncheckedWarning, match="tenancy"):
        Jobs(connection, tenant=key.tenant("a")).enqueue(ship, {"n": 1})
    owner = sql.session("postgres")
    with owner.transaction():
        owner.execute("set local role jobforge_owner")
        owner.execute("select jobforge.add_tenant_key(%s, %s), jobforge.use_tenancy('signed')", [key.id, key.secret])
    with sql.database.engine("jf_app").begin() as connection:
        Jobs(connection, tenant=key.tenant("a")).enqueue(ship, {"n": 1})


# --- AUTOCOMMIT --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_tenant_cannot_be_bound_where_each_statement_commits(sql: Sql, driver: str) -> None:
    url = sql.database.url("jf_app").set(drivername=f"postgresql+{driver}")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    factory = sessionmaker(engine)
    bind_tenant(factory, "a")
    own = Session(engine)
    bind_tenant(own, "a")
    for session in (factory(), own):
        with session, pytest.raises(ConfigurationError, match=r"AUTOCOMMIT(?s:.)*cure:"):
            session.execute(sa.text("select 1"))
        with session, pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            Jobs(session).enqueue(ship, {"n": 1})
    with engine.connect() as connection:  # each call is one statement, which names the tenant itself
        job = Jobs(connection, tenant="a").enqueue(ship, {"n": 1})
        assert Jobs(connection, tenant="a").get(job.id).tenant_id == "a"
        with pytest.raises(TenantRequired):
            Jobs(connection).enqueue(ship, {"n": 1})
    engine.dispose()


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_nor_by_an_async_session(sql: Sql, driver: str) -> None:
    async def attempt() -> None:
        url = sql.database.url("jf_app").set(drivername=f"postgresql+{driver}")
        engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
        async with AsyncSession(engine) as session:
            bind_tenant(session, "a")
            with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
                await session.execute(sa.text("select 1"))
        await engine.dispose()

    asyncio.run(attempt())


def test_an_outer_transaction_in_autocommit_is_found_too(sql: Sql) -> None:
    engine: Any = sql.database.engine("jf_app")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection, Session(connection) as session:
        bind_tenant(session, "a")
        with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            session.execute(sa.text("select 1"))
