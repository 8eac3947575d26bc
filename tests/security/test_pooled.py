"""What SQL leaves on a pooled connection: for the next request if sealed, and for the next handler, nothing."""

from __future__ import annotations

import asyncio
import datetime as dt
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from jobforge_sa import AsyncContext, Context, JobForge, Jobs, TenantKey, Worker, bind_tenant, seal
from jobforge_sa.db.seal import is_sealed
from jobforge_sa.errors import PoolNotSealedWarning
from tests.fix_postgres import Database
from tests.security.guard import Attack

KEY = TenantKey.generate("k1")

# What an injection runs in mallory's request, and commits. Each of them caught bob's token before there was seal().
SETTING = "select set_config('x.left', 'here', false)"
TABLE = "create temp table t_orders (n int)"
LOCK = "select pg_advisory_lock(4711)"
ROLE = "set session characteristics as transaction read only"
LEAVINGS = [SETTING, TABLE, LOCK, ROLE]
LEFT = sa.text(
    """
    select coalesce(current_setting('x.left', true), ''), to_regclass('t_orders')::text,
           (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
           current_setting('transaction_read_only')"""
)
CLEAN = ("", None, 0, "off")

# psycopg prepares what came five times, under names that it counts up; inside DO it does not see what happens to them
SWAP = """
do $d$
declare v_name text;
begin
    for v_name in select name from pg_prepared_statements
                   where statement ~ 'tenant_token' and statement !~ 'enqueue' loop
        execute 'deallocate ' || quote_ident(v_name);
        execute 'prepare ' || quote_ident(v_name) || $p$ (varchar, varchar) as
            select set_config('jobforge.tenant_id', $1, true) || set_config('jobforge.tenant_token', $2, true)
                || set_config('x.loot', $2, false)$p$;
    end loop;
end $d$"""

forge = JobForge()


@forge.task()
def ship(ctx: Context, payload: dict[str, int]) -> None: ...


@pytest.fixture
def signed(attack: Attack) -> Attack:
    attack.sign(KEY)
    return attack


def pool_of_one(attack: Attack, driver: str = "psycopg") -> sa.Engine:
    url = attack.url("jf_app").set(drivername=f"postgresql+{driver}")
    return sa.create_engine(url, pool_size=1, max_overflow=0)


def request(engine: sa.Engine, tenant: str, *injected: str) -> None:
    """One request of a tenant, with what was injected into it."""
    with Session(engine) as session, session.begin():
        bind_tenant(session, KEY.tenant(tenant))
        Jobs(session).enqueue(ship, {"n": 1})
        for statement in injected:
            session.connection().exec_driver_sql(statement)


@pytest.mark.filterwarnings("ignore::jobforge_sa.errors.TokensVisibleWarning")
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_sealed_engine_hands_on_nothing_of_what_a_request_leaves(signed: Attack, driver: str) -> None:
    engine = pool_of_one(signed, driver)
    seal(engine)
    seal(engine)
    with Session(engine) as session:
        first = session.scalar(sa.text("select pg_backend_pid()"))
    request(engine, "mallory", *LEAVINGS)
    with Session(engine) as session:
        assert session.scalar(sa.text("select pg_backend_pid()")) == first
        assert tuple(session.execute(LEFT).one()) == CLEAN
    request(engine, "bob")
    engine.dispose()


def _open(connection: Any, _record: object) -> None:
    for statement in ("set role jf_hat", "set statement_timeout = '7s'", 'set search_path = one, "Two\'s"'):
        connection.execute(statement)
    connection.commit()


@pytest.mark.parametrize("sealed", [True, False])
def test_what_the_applications_own_events_set_stays(database: Database, sealed: bool) -> None:
    with database.engine(isolation_level="AUTOCOMMIT").connect() as dba:
        dba.exec_driver_sql("create role jf_hat; grant jobforge_app to jf_hat; grant jf_hat to jf_app")
    stands = sa.text("select current_user, current_setting('statement_timeout'), current_setting('search_path')")
    app = database.engine("jf_app", pool_size=1, max_overflow=0)
    sa.event.listen(app, "connect", _open)
    if sealed:
        seal(app)
    handlers, seen = JobForge(tenant="acme"), []

    @handlers.task()
    def spoil(ctx: Context, payload: dict[str, int]) -> None:
        seen.append(tuple(ctx.session.execute(stands).one()))
        for statement in ("reset role", "set statement_timeout = '1h'", "set search_path = public"):
            ctx.session.execute(sa.text(statement))

    try:
        with Worker(database.engine("jf_worker"), handlers, session_engine=app, concurrency=1) as worker:
            for _ in range(3):
                with Session(app) as session, session.begin():
                    Jobs(session).enqueue(spoil, {"n": 1})
            assert worker.drain(20)
        assert seen == [("jf_hat", "7s", 'one, "Two\'s"')] * 3
    finally:
        app.dispose()
        with database.engine(isolation_level="AUTOCOMMIT").connect() as dba:
            dba.exec_driver_sql("drop owned by jf_hat; drop role jf_hat")


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_nor_does_one_of_asyncio(signed: Attack, driver: str) -> None:
    url = signed.url("jf_app").set(drivername=f"postgresql+{driver}")

    async def requests() -> tuple[Any, ...]:
        engine = create_async_engine(url, pool_size=1, max_overflow=0)
        seal(engine)
        for _ in range(8):  # past what a driver waits for before it prepares
            async with AsyncSession(engine) as session, session.begin():
                bind_tenant(session, KEY.tenant("mallory"))
                for statement in LEAVINGS:
                    await session.execute(sa.text(statement))
            async with AsyncSession(engine) as session:
                left = tuple((await session.execute(LEFT)).one())
        await engine.dispose()
        return left

    assert asyncio.run(requests()) == CLEAN


@pytest.mark.parametrize("sealed", [False, True])
def test_a_statement_that_the_driver_prepared_is_replaced_only_where_nothing_is_sealed(
    signed: Attack, sealed: bool
) -> None:
    engine = pool_of_one(signed)
    if sealed:
        seal(engine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoolNotSealedWarning)
        for _ in range(8):
            request(engine, "mallory")
        request(engine, "mallory", SWAP)
        request(engine, "bob")
    with engine.connect() as connection:
        loot = connection.scalar(sa.text("select current_setting('x.loot', true)"))
    engine.dispose()
    if sealed:
        assert loot is None
    else:
        assert loot.endswith(".bob")  # if this fails the attack is dead, and the test above shows nothing


def test_whoever_signs_on_a_pool_that_is_not_sealed_is_told_once(signed: Attack) -> None:
    engine = pool_of_one(signed)
    with pytest.warns(PoolNotSealedWarning, match=r"(?s)next tenant.*cure: .*seal\(engine\)") as said:
        request(engine, "bob")
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", PoolNotSealedWarning)
        request(engine, "bob")
    engine.dispose()
    for told in (sa.create_engine(signed.url("jf_app"), poolclass=sa.NullPool), pool_of_one(signed)):
        seal(told)
        with warnings.catch_warnings():
            warnings.simplefilter("error", PoolNotSealedWarning)
            request(told, "bob")
        told.dispose()
    unpooled = sa.create_engine(signed.url("jf_app"), poolclass=sa.NullPool)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PoolNotSealedWarning)
        request(unpooled, "bob")


def test_a_connection_that_broke_is_replaced(signed: Attack) -> None:
    engine = pool_of_one(signed)
    seal(engine)
    with pytest.raises(sa.exc.DBAPIError), Session(engine) as session:
        session.execute(sa.text("select pg_terminate_backend(pg_backend_pid())"))
    request(engine, "bob")
    engine.dispose()


# --- handlers -------------------------------------------------------------------------------------------------


def _leave(session: Any) -> None:
    for statement in LEAVINGS:
        session.connection().exec_driver_sql(statement)


def _plain(handlers: JobForge, seen: list[Any]) -> None:
    @handlers.task("leave")
    def leave(ctx: Context, payload: dict[str, int]) -> None:
        _leave(ctx.session)

    @handlers.task("look")
    def look(ctx: Context, payload: dict[str, int]) -> None:
        seen.append(tuple(ctx.session.execute(LEFT).one()))


def _async(handlers: JobForge, seen: list[Any]) -> None:
    @handlers.task("leave")
    async def leave(ctx: AsyncContext, payload: dict[str, int]) -> None:
        await ctx.session.run_sync(_leave)

    @handlers.task("look")
    async def look(ctx: AsyncContext, payload: dict[str, int]) -> None:
        seen.append(tuple((await ctx.session.execute(LEFT)).one()))


@pytest.mark.parametrize("make", [_plain, _async])
def test_what_one_tenants_handler_leaves_does_not_reach_anothers(
    database: Database, make: Callable[[JobForge, list[Any]], None]
) -> None:
    handlers, seen = JobForge(), []  # type: tuple[JobForge, list[Any]]
    make(handlers, seen)
    app = database.engine("jf_app", pool_size=1, max_overflow=0)
    async_app = create_async_engine(database.url("jf_app"), pool_size=1, max_overflow=0)
    options: dict[str, Any] = {"session_engine": app, "async_session_engine": async_app, "concurrency": 1}
    with Worker(database.engine("jf_worker"), handlers, poll=dt.timedelta(milliseconds=50), **options) as worker:
        for tenant, name in [("mallory", "leave"), ("bob", "look")] * 4:
            with Session(app) as session, session.begin():
                Jobs(session, tenant=tenant).enqueue(handlers.tasks[name], {"n": 1})
            assert worker.drain(20)
    assert worker.outcomes == {"succeeded": 8}
    assert seen == [CLEAN] * 4


def dirty(engine: sa.Engine) -> None:
    """What an injection leaves on the only connection of a pool."""
    with Session(engine) as session, session.begin():
        for statement in LEAVINGS:
            session.execute(sa.text(statement))


def test_a_seal_that_comes_late_takes_over_no_connection(signed: Attack) -> None:
    engine = pool_of_one(signed)
    dirty(engine)
    seal(engine)
    with Session(engine) as session:
        assert tuple(session.execute(LEFT).one()) == CLEAN
    with engine.connect() as held:  # one that is in use while the seal comes
        held.rollback()
    engine.dispose()


@pytest.mark.parametrize("make", [_plain, _async])
def test_a_worker_that_runs_while_tenancy_becomes_signed_seals_its_sessions(
    database: Database, make: Callable[[JobForge, list[Any]], None]
) -> None:
    """The switch is made while everything runs: what waited on a connection from before is not there any more."""
    handlers, seen = JobForge(), []  # type: tuple[JobForge, list[Any]]
    make(handlers, seen)
    app = database.engine("jf_app", pool_size=1, max_overflow=0)
    async_app = create_async_engine(database.url("jf_app"), pool_size=1, max_overflow=0)
    options: dict[str, Any] = {"session_engine": app, "async_session_engine": async_app, "concurrency": 1}
    with Worker(database.engine("jf_worker"), handlers, poll=dt.timedelta(milliseconds=50), **options) as worker:
        with Session(app) as session, session.begin():
            Jobs(session, tenant="mallory").enqueue(handlers.tasks["leave"], {"n": 1})
        assert worker.drain(20)
        assert not is_sealed(app)
        dirty(app)
        with database.engine().begin() as owner:
            owner.exec_driver_sql("set local role jobforge_owner")
            owner.execute(
                sa.text("select jobforge.add_tenant_key(:id, :secret), jobforge.use_tenancy('signed')"),
                {"id": KEY.id, "secret": KEY.secret},
            )
        sender = sa.create_engine(database.url("jf_app"), poolclass=sa.NullPool)
        with Session(sender) as session, session.begin():
            jobs = Jobs(session, tenant=KEY.tenant("bob"))
            jobs.enqueue_many([handlers.tasks["look"].new({"n": 1}) for _ in range(3)])
        assert worker.drain(20)
        assert worker.outcomes["succeeded"] == 4
        assert is_sealed(app) == is_sealed(async_app.sync_engine) == True  # noqa: E712
    assert seen == [CLEAN] * 3
