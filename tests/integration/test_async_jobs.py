"""AsyncJobs on AsyncSession and AsyncConnection, through psycopg and through asyncpg; plain asyncio, no plugin."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from jobforge_sa import AsyncJobs, Context, Delays, JobForge, JobState, bind_tenant
from jobforge_sa.errors import (
    AccessDenied,
    ConfigurationError,
    InvalidJob,
    InvalidPayload,
    JobNotFound,
    SchemaMismatch,
    TenantConflict,
    TenantRequired,
    WrongState,
)
from tests.fix_postgres import Database
from tests.support import Sql, one_database

HOUR = dt.timedelta(hours=1)
DRIVERS = ["psycopg", "asyncpg"]


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Ship(BaseModel):
    order_id: int


forge = JobForge()


@forge.task("ship", retry=Delays(HOUR), timeout=HOUR)
def ship(ctx: Context, payload: Ship) -> None: ...


@forge.task("free")
def free(ctx: Context, payload: dict[str, Any]) -> None: ...


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Sql]:
    with one_database(admin_url, template) as database, Sql(database) as sql:
        Base.metadata.create_all(database.engine())
        sql.session("postgres").execute("grant all on orders, orders_id_seq to jf_app")
        yield sql


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def engine_of(database: Database, driver: str, user: str = "jf_app") -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database.url(user).set(drivername=f"postgresql+{driver}"))
    try:
        yield engine
    finally:
        await engine.dispose()


def run(sql: Sql, driver: str, work: Callable[[AsyncEngine], Awaitable[None]]) -> None:
    async def main() -> None:
        async with engine_of(sql.database, driver) as engine:
            await work(engine)

    asyncio.run(main())


def ids(sql: Sql, tenant: str = "a") -> list[uuid.UUID]:
    return [row["id"] for row in sql.look("select id from jobforge.jobs where tenant_id = %s order by id", tenant)]


def test_a_job_exists_if_and_only_if_the_async_session_commits(sql: Sql, driver: str) -> None:
    kept: list[uuid.UUID] = []

    async def work(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session:
            bind_tenant(session, "a")
            jobs = AsyncJobs(session)
            order = Order(name="x")
            session.add(order)
            kept.append((await jobs.enqueue(ship, lambda: Ship(order_id=order.id))).id)
            assert order.id is not None
            async with session.begin_nested() as savepoint:
                await jobs.enqueue(ship, Ship(order_id=2), idempotency_key="k")
                await savepoint.rollback()
            kept.append((await jobs.enqueue(ship, Ship(order_id=2), idempotency_key="k")).id)
            assert ids(sql) == []
            await session.commit()
            await jobs.enqueue(ship, Ship(order_id=3))
            await session.rollback()

    run(sql, driver, work)
    assert ids(sql) == kept


def test_an_async_connection_works_the_same(sql: Sql, driver: str) -> None:
    kept: list[uuid.UUID] = []

    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            jobs = AsyncJobs(connection, tenant="a")
            async with connection.begin():
                kept.append((await jobs.enqueue(ship, Ship(order_id=1))).id)
            transaction = await connection.begin()
            await jobs.enqueue_many([ship.new(Ship(order_id=2))])
            await transaction.rollback()

    run(sql, driver, work)
    assert ids(sql) == kept


def test_an_async_scoped_session_works_the_same(sql: Sql, driver: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        scope = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
        bind_tenant(scope, "a")
        await AsyncJobs(scope).enqueue(ship, Ship(order_id=1))
        await scope.commit()
        await scope.remove()
        kept = AsyncJobs(scope, tenant="a")  # one for the whole application

        async def request() -> None:
            await kept.enqueue(ship, Ship(order_id=2))
            kept.add(ship, Ship(order_id=2))
            await scope.commit()
            await scope.remove()

        await asyncio.create_task(request())

    run(sql, driver, work)
    assert len(ids(sql)) == 3


def test_ten_thousand_jobs_go_in_one_call_in_their_order(sql: Sql, driver: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session:
            said = await AsyncJobs(session, tenant="a").enqueue_many(free.new({"n": n}) for n in range(10_000))
            await session.commit()
            assert [one.id for one in said] == ids(sql)

    run(sql, driver, work)
    stored = sql.look("select (payload ->> 'n')::int as n from jobforge.jobs order by id")
    assert [row["n"] for row in stored] == list(range(10_000))


def test_the_same_key_gives_the_original_also_in_a_race(sql: Sql, driver: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        async def race(n: int) -> uuid.UUID:
            async with AsyncSession(engine) as session:
                said = await AsyncJobs(session, tenant="a").enqueue(free, {"n": n % 2}, idempotency_key="k")
                await session.commit()
                return said.id

        assert len(set(await asyncio.gather(*map(race, range(10))))) == 1

    run(sql, driver, work)
    assert len(ids(sql)) == 1


def test_all_options_and_values_come_back(sql: Sql, driver: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        at = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
        payload = {"ü": [1.5, None, True, 10**30], "x": r"\u0000"}
        async with AsyncSession(engine) as session:
            jobs = AsyncJobs(session, tenant=7)
            options: dict[str, Any] = {"queue": "q", "priority": -3, "max_attempts": 2, "run_at": at, "timeout": HOUR}
            said = await jobs.enqueue(free, payload, retry=Delays(HOUR), idempotency_key="k", **options)
            many = await jobs.enqueue_many([free.new(payload, retry=Delays(HOUR), **options)])
            for job in (await jobs.get(said.id), await jobs.get(many[0].id)):
                assert job.payload == payload
                assert (job.queue, job.priority, job.max_attempts, job.timeout) == ("q", -3, 2, HOUR)
                assert (job.run_at, job.due_at, job.tenant_id) == (at, at, "7")
                assert (job.state, job.retry) == (JobState.SCHEDULED, {"delays": [3600.0]})

    run(sql, driver, work)


def test_a_job_is_listed_canceled_retried_and_moved(sql: Sql, driver: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session:
            bind_tenant(session, "a")
            jobs = AsyncJobs(session)
            job = (await jobs.enqueue(ship, Ship(order_id=1), delay=HOUR)).id
            assert (await jobs.reschedule(job)).state is JobState.QUEUED
            assert (await jobs.cancel(job)).state is JobState.CANCELED
            assert (await jobs.retry(job)).state is JobState.QUEUED
            await session.commit()
            sql.complete(sql.claim_one(types=["ship"]), result=[{"a": 1}])
            page = await jobs.list(state=JobState.SUCCEEDED, type=ship, limit=1)
            assert [(one.id, one.result) for one in page.jobs] == [(job, [{"a": 1}])]
            assert (await jobs.list(cursor=page.cursor)).jobs == []
            with pytest.raises(WrongState, match="cure: "):
                await jobs.retry(job)
            await session.rollback()
            with pytest.raises(JobNotFound):
                await jobs.get(uuid.uuid4())

    run(sql, driver, work)


def test_refusals_are_the_librarys_own_with_a_cure(sql: Sql, driver: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session:
            jobs = AsyncJobs(session, tenant="a")
            with pytest.raises(InvalidJob, match="cure: "):
                await jobs.enqueue(ship, Ship(order_id=1), run_at=dt.datetime(2100, 1, 1))
            with pytest.raises(InvalidPayload, match="cure: "):
                await jobs.enqueue(free, {"x": "\0"})
            with pytest.raises(InvalidJob, match="state"):
                await jobs.list(state="failed")
            await session.rollback()
            with pytest.raises(TenantRequired, match="bind_tenant"):
                await AsyncJobs(session).enqueue(ship, Ship(order_id=1))
            await session.rollback()
            bind_tenant(session, "a")
            with pytest.raises(TenantConflict):
                await AsyncJobs(session, tenant="b").enqueue(ship, Ship(order_id=1))

    run(sql, driver, work)
    assert ids(sql) == []


def test_a_bound_async_session_is_its_tenants_in_every_transaction_and_leaks_nothing(sql: Sql, driver: str) -> None:
    asked = sa.text("select jobforge.current_tenant()")

    async def main() -> None:
        url = sql.database.url("jf_app").set(drivername=f"postgresql+{driver}")
        engine = create_async_engine(url, pool_size=1, max_overflow=0)
        async with AsyncSession(engine) as session:
            bind_tenant(session, uuid.UUID(int=3))
            for end in (session.commit, session.rollback, session.close):
                assert await session.scalar(asked) == str(uuid.UUID(int=3))
                await end()
            async with session.begin_nested() as savepoint:
                await session.execute(sa.text("select set_config('jobforge.tenant_id', 'b', true)"))
                await savepoint.rollback()
            assert await session.scalar(asked) == str(uuid.UUID(int=3))
        async with AsyncSession(engine) as session:
            assert await session.scalar(asked) is None
        await engine.dispose()

    asyncio.run(main())


def test_a_database_without_our_schema_and_a_login_without_the_right_are_refused(
    bare_database: Database, sql: Sql, driver: str
) -> None:
    async def main() -> None:
        async with engine_of(bare_database, driver, "postgres") as engine, AsyncSession(engine) as session:
            with pytest.raises(SchemaMismatch, match="jobforge migrate"):
                await AsyncJobs(session, tenant="a").enqueue(ship, Ship(order_id=1))
        for login in ("jf_stranger", "jf_worker"):
            async with engine_of(sql.database, driver, login) as engine, AsyncSession(engine) as session:
                with pytest.raises(AccessDenied, match=f'grant jobforge_app to "{login}";'):
                    await AsyncJobs(session, tenant="a").enqueue(ship, Ship(order_id=1))

    # the admin's name is whatever the URL of this run says
    if bare_database.url().username != "postgres":
        pytest.skip("the admin of this server has another name")
    asyncio.run(main())


def test_what_is_no_async_session_is_refused(sql: Sql) -> None:
    with Session(sql.database.engine("jf_app")) as session, pytest.raises(ConfigurationError, match="use Jobs"):
        AsyncJobs(session)  # type: ignore[arg-type]


def test_fault_019_above_read_committed_a_newer_twin_is_the_databases_own_40001(sql: Sql, driver: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with AsyncSession(engine) as session:
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            await session.execute(sa.text("select 1"))
            sql.enqueue("a", "free", idempotency_key="k")
            with pytest.raises(sa.exc.DBAPIError) as error:
                await AsyncJobs(session, tenant="a").enqueue(free, {}, idempotency_key="k")
            assert getattr(error.value.orig, "sqlstate", None) == "40001"

    run(sql, driver, work)
