"""Jobs added to a session's unit of work: what an ORM user expects of pending rows, jobs do too."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from jobforge_sa import AsyncJobs, Context, JobForge, Jobs, PendingJob, Worker, bind_tenant
from jobforge_sa.errors import (
    ConfigurationError,
    InvalidJob,
    InvalidPayload,
    JobsDroppedWarning,
    QuotaExceeded,
    TenantConflict,
)
from tests.support import Sql, one_database


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class Ship(BaseModel):
    order_id: int


forge = JobForge()


@forge.task("ship")
def ship(ctx: Context, payload: Ship) -> None: ...


@forge.task("bill")
def bill(ctx: Context, payload: Ship) -> None: ...


@forge.task("spread")
def spread(ctx: Context, payload: Ship) -> None:
    """A handler that adds its follow-up jobs."""
    for _ in range(payload.order_id):
        Jobs(ctx.session).add(ship, payload)


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Sql]:
    with one_database(admin_url, template) as database, Sql(database) as sql:
        Base.metadata.create_all(database.engine())
        sql.session("postgres").execute("grant all on orders, orders_id_seq to jf_app, jf_one")
        yield sql


@pytest.fixture
def sql(shared: Sql) -> Iterator[Sql]:
    yield shared
    shared.clean()
    with shared.database.engine().begin() as c:
        c.execute(sa.text("truncate orders"))


@pytest.fixture(scope="module", params=["psycopg", "psycopg2"])
def engine(request: pytest.FixtureRequest, shared: Sql) -> Iterator[sa.Engine]:
    engine = sa.create_engine(shared.database.url("jf_app").set(drivername=f"postgresql+{request.param}"))
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: sa.Engine, sql: Sql) -> Iterator[Session]:
    with Session(engine) as session:
        bind_tenant(session, "a")
        yield session


def of(order: Order) -> Callable[[], Ship]:
    """A payload that knows its row's key once it has one."""
    return lambda: Ship(order_id=order.id)


def jobs_of(sql: Sql, tenant: str = "a") -> list[tuple[str, int]]:
    rows = sql.look(
        "select type, payload from jobforge.all_jobs where tenant_id = %s order by id", tenant, user="jf_admin"
    )
    return [(row["type"], row["payload"]["order_id"]) for row in rows]


def statements(engine: sa.Engine) -> list[str]:
    """What is sent from now on."""
    seen: list[str] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def see(c: object, cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    return seen


# --- one call, with the keys of new rows -------------------------------------------------------------------


def test_many_jobs_of_new_rows_are_one_call_behind_their_inserts(session: Session, engine: sa.Engine, sql: Sql) -> None:
    jobs, seen = Jobs(session), statements(engine)
    orders = [Order(name=f"n{n}") for n in range(30)]
    handles = []
    for order in orders:  # the job first: the order of adding says nothing
        handles.append(jobs.add(ship, of(order)))
        session.add(order)
    assert [handle.id for handle in handles] == [None] * 30
    session.commit()
    assert len([one for one in seen if "jobforge.enqueue_" in one]) == 1
    assert jobs_of(sql) == [("ship", order.id) for order in orders]
    stored = [row["id"] for row in sql.look("select id from jobforge.jobs order by id", user="jf_admin")]
    assert [handle.id for handle in handles] == stored  # readable behind the commit, from no table
    assert repr(handles[0]) == f"<PendingJob ship: {stored[0]}>"


def test_a_session_with_nothing_else_to_do_flushes_its_jobs(session: Session, sql: Sql) -> None:
    handle = Jobs(session).add(ship, Ship(order_id=1))
    session.flush()
    assert handle.enqueued is not None
    assert (handle.enqueued.created, handle.enqueued.payload_differs) == (True, False)
    session.flush()
    session.commit()
    assert jobs_of(sql) == [("ship", 1)]


def test_a_query_flushes_them_like_rows(session: Session) -> None:
    handle = Jobs(session).add(ship, Ship(order_id=1))
    session.scalars(sa.select(Order)).all()
    assert handle.id is not None
    session.rollback()


def test_options_keys_and_a_second_task_go_along(session: Session, sql: Sql) -> None:
    jobs = Jobs(session)
    one = jobs.add(ship, Ship(order_id=1), idempotency_key="k", queue="bulk", delay=dt.timedelta(hours=1))
    two = jobs.add(ship, Ship(order_id=2), idempotency_key="k")
    jobs.add(bill, Ship(order_id=3))
    session.commit()
    assert one.id == two.id
    assert two.enqueued is not None
    assert (two.enqueued.created, two.enqueued.payload_differs) == (False, True)
    assert jobs_of(sql) == [("ship", 1), ("bill", 3)]
    (row,) = sql.look("select queue from jobforge.scheduled", user="jf_admin")
    assert row["queue"] == "bulk"


# --- rollbacks, savepoints, errors -------------------------------------------------------------------------


def test_a_rollback_takes_back_what_was_flushed_and_what_was_not(session: Session, sql: Sql) -> None:
    jobs = Jobs(session)
    jobs.add(ship, Ship(order_id=1))
    session.flush()
    jobs.add(ship, Ship(order_id=2))
    session.rollback()
    jobs.add(ship, Ship(order_id=3))
    session.commit()
    assert jobs_of(sql) == [("ship", 3)]


@pytest.mark.parametrize("flushed", [True, False])
def test_a_savepoint_takes_back_its_own_and_nothing_else(session: Session, sql: Sql, flushed: bool) -> None:
    jobs = Jobs(session)
    jobs.add(ship, Ship(order_id=1))
    savepoint = session.begin_nested()
    jobs.add(ship, Ship(order_id=2))
    if flushed:
        session.flush()
    savepoint.rollback()
    with session.begin_nested():
        jobs.add(ship, Ship(order_id=3))
    session.commit()
    assert jobs_of(sql) == [("ship", 1), ("ship", 3)]


def test_a_flush_that_fails_stores_none_and_the_session_goes_on(session: Session, sql: Sql) -> None:
    jobs = Jobs(session)
    session.add_all([Order(name="twice"), Order(name="twice")])
    jobs.add(ship, Ship(order_id=1))
    with pytest.raises(IntegrityError):
        session.commit()
    session.rollback()
    jobs.add(ship, Ship(order_id=2))
    session.commit()
    assert jobs_of(sql) == [("ship", 2)]


def test_what_is_wrong_is_said_at_the_line_where_it_is(session: Session, sql: Sql) -> None:
    jobs = Jobs(session)
    with pytest.raises(InvalidPayload):
        jobs.add(ship, {"order_id": "x"})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidJob, match="priority"):
        jobs.add(ship, Ship(order_id=1), priority=1_000_000)
    with pytest.raises(InvalidJob, match="is no task"):
        jobs.add("ship", Ship(order_id=1))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    jobs.add(ship, Ship(order_id=1))
    session.commit()
    assert jobs_of(sql) == [("ship", 1)]


def test_a_payload_that_turns_out_wrong_fails_the_flush_and_all_of_it(session: Session, sql: Sql) -> None:
    order = Order(name="x")
    session.add(order)
    Jobs(session).add(ship, lambda: Ship.model_construct(order_id="none"))
    with pytest.raises(InvalidPayload):
        session.commit()
    session.rollback()
    assert jobs_of(sql) == []
    assert session.scalars(sa.select(Order)).all() == []


def test_a_quota_is_an_error_of_the_flush(session: Session, sql: Sql) -> None:
    sql("limit_tenant", user="jf_admin", tenant_id="a", change={"max_waiting": 1})
    Jobs(session).add(ship, Ship(order_id=1))
    session.flush()
    Jobs(session).add(ship, Ship(order_id=2))
    with pytest.raises(QuotaExceeded):
        session.flush()
    session.rollback()


# --- what else an ORM user does ----------------------------------------------------------------------------


def test_expiring_everything_forgets_no_job(session: Session, sql: Sql) -> None:
    Jobs(session).add(ship, Ship(order_id=1))
    session.expire_all()
    session.commit()
    assert jobs_of(sql) == [("ship", 1)]


def test_one_that_is_expunged_is_taken_out(session: Session, sql: Sql) -> None:
    handle = Jobs(session).add(ship, Ship(order_id=1))
    Jobs(session).add(ship, Ship(order_id=2))
    session.expunge(handle)
    session.commit()
    assert jobs_of(sql) == [("ship", 2)]


def test_one_that_is_deleted_is_told_how_a_job_is_canceled(session: Session) -> None:
    handle = Jobs(session).add(ship, Ship(order_id=1))
    session.flush()
    session.delete(handle)
    with pytest.raises(ConfigurationError, match=r"cancel\(job\.id\)"):
        session.flush()
    session.rollback()


@pytest.mark.parametrize("moment", ["before_flush", "after_flush"])
@pytest.mark.parametrize("first", [True, False], ids=["before ours", "behind ours"])
def test_a_listener_may_add_jobs_while_the_session_flushes(
    engine: sa.Engine, sql: Sql, moment: str, first: bool
) -> None:
    """For each new row, say."""
    made: list[PendingJob] = []

    def enqueue(session: Session, *_: object) -> None:
        new = [one for one in session.new if isinstance(one, Order)]
        made.extend(Jobs(session).add(ship, of(order)) for order in new)

    with Session(engine) as session:
        bind_tenant(session, "a")
        if not first:
            Jobs(session).add(bill, Ship(order_id=0))
        sa.event.listen(session, moment, enqueue, insert=first)
        session.add(order := Order(name=moment))
        session.commit()
        assert [job.id is None for job in made] == [False]
        assert jobs_of(sql)[-1] == ("ship", order.id)


def test_an_outer_transaction_that_commits_takes_along_what_was_flushed(engine: sa.Engine, sql: Sql) -> None:
    for mode in ("conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"):
        with engine.connect() as c, c.begin() as outer:
            with Session(c, join_transaction_mode=mode) as session:
                bind_tenant(session, "a")
                Jobs(session).add(ship, Ship(order_id=1))
                session.commit()
            if outer.is_active and mode != "control_fully":
                outer.commit()
        assert jobs_of(sql) == [("ship", 1)], mode
        sql.clean()
        with engine.connect() as c:
            outer = c.begin()
            with Session(c, join_transaction_mode="create_savepoint") as session:
                bind_tenant(session, "a")
                Jobs(session).add(ship, Ship(order_id=1))
                session.commit()
            outer.rollback()
        assert jobs_of(sql) == []


def test_a_session_that_is_closed_without_a_flush_says_that_jobs_are_gone(engine: sa.Engine, sql: Sql) -> None:
    session = Session(engine)
    bind_tenant(session, "a")
    Jobs(session).add(ship, Ship(order_id=1))
    Jobs(session).add(bill, Ship(order_id=1))
    with pytest.warns(JobsDroppedWarning, match=r"they are gone: 2 \(bill, ship\)"):
        session.close()
    assert jobs_of(sql) == []


def test_who_rolls_back_or_fails_is_not_told_what_is_plain(engine: sa.Engine, sql: Sql) -> None:
    """Warnings are errors here."""
    with Session(engine) as session:
        bind_tenant(session, "a")
        Jobs(session).add(ship, Ship(order_id=1))
        session.rollback()

    def fail(begin: bool) -> None:
        with Session(engine) as session, session.begin() if begin else contextlib.nullcontext():
            bind_tenant(session, "a")
            Jobs(session).add(ship, Ship(order_id=1))
            raise ZeroDivisionError

    for begin in (True, False):
        with pytest.raises(ZeroDivisionError):
            fail(begin)
    assert jobs_of(sql) == []


def test_who_drops_a_session_or_forgets_it_while_he_handles_an_error_is_told(engine: sa.Engine, sql: Sql) -> None:
    def drop() -> None:
        session = Session(engine)
        Jobs(session, tenant="a").add(ship, Ship(order_id=1))
        del session
        gc.collect()

    with pytest.warns(JobsDroppedWarning, match=r"1 \(ship\)"):
        drop()
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        with pytest.warns(JobsDroppedWarning), Session(engine) as session:
            Jobs(session, tenant="a").add(ship, Ship(order_id=1))
    assert jobs_of(sql) == []


def test_a_flush_that_a_listener_stops_loses_no_job_without_a_word(engine: sa.Engine, sql: Sql) -> None:
    def stop(*_: object) -> None:
        raise ZeroDivisionError

    with Session(engine) as session:
        bind_tenant(session, "a")
        jobs = Jobs(session)
        jobs.add(ship, Ship(order_id=1))
        sa.event.listen(session, "before_flush", stop)
        with pytest.raises(ZeroDivisionError):
            session.flush()
        sa.event.remove(session, "before_flush", stop)
        jobs.add(ship, Ship(order_id=2))
        session.commit()
        jobs.add(ship, Ship(order_id=3))
        sa.event.listen(session, "before_flush", stop)
        with pytest.raises(ZeroDivisionError):
            session.flush()
        with pytest.warns(JobsDroppedWarning, match=r"1 \(ship\)"):
            session.close()
    assert jobs_of(sql) == [("ship", 1), ("ship", 2)]


def test_jobs_that_were_made_one_by_one_are_one_call_as_well(session: Session, engine: sa.Engine, sql: Sql) -> None:
    seen = statements(engine)
    for n in range(9):
        Jobs(session).add(ship, Ship(order_id=n))
    session.commit()
    assert len([one for one in seen if "jobforge.enqueue_" in one]) == 1
    assert jobs_of(sql) == [("ship", n) for n in range(9)]


def test_a_mapper_event_may_enqueue_while_the_session_flushes(session: Session, sql: Sql) -> None:
    def enqueue(_mapper: object, _connection: object, order: Order) -> None:
        Jobs(session).enqueue(ship, Ship(order_id=order.id))

    sa.event.listen(Order, "after_insert", enqueue)
    try:
        session.add(order := Order(name="event"))
        session.commit()
    finally:
        sa.event.remove(Order, "after_insert", enqueue)
    assert jobs_of(sql) == [("ship", order.id)]


def test_jobs_of_a_scope_are_those_of_its_session_of_the_moment(engine: sa.Engine, sql: Sql) -> None:
    """One `Jobs(db.session)` for the whole application."""
    scope = scoped_session(sessionmaker(engine))
    jobs = Jobs(scope, tenant="a")

    def request(n: int) -> None:
        jobs.enqueue(ship, Ship(order_id=n))
        jobs.add(bill, Ship(order_id=n))
        scope.commit()
        scope.remove()

    request(1)
    request(2)
    thread = threading.Thread(target=request, args=[3])
    thread.start()
    thread.join()
    assert jobs_of(sql) == [(kind, n) for n in (1, 2, 3) for kind in ("ship", "bill")]


def test_a_session_that_is_bound_behind_its_jobs_keeps_to_its_tenant(engine: sa.Engine, sql: Sql) -> None:
    single = JobForge(tenant="b")
    single.include(forge)
    task = single.task("single")(ship.handler)
    with Session(engine) as session:
        jobs, other = Jobs(session), Jobs(session, tenant="c")
        bind_tenant(session, "a")
        jobs.enqueue(task, Ship(order_id=1))
        with pytest.raises(TenantConflict):
            other.enqueue(ship, Ship(order_id=2))
        session.commit()
    assert (jobs_of(sql), jobs_of(sql, "b"), jobs_of(sql, "c")) == ([("single", 1)], [], [])


def test_factories_scopes_and_tenants_of_a_call_work_as_for_enqueue(engine: sa.Engine, sql: Sql) -> None:
    factory = sessionmaker(engine)
    bind_tenant(factory, "a")
    with factory.begin() as session:
        Jobs(session).add(ship, Ship(order_id=1))
    with Session(engine) as session, session.begin():
        Jobs(session, tenant="b").add(ship, Ship(order_id=2))
    assert (jobs_of(sql), jobs_of(sql, "b")) == ([("ship", 1)], [("ship", 2)])
    with factory() as session, pytest.raises(TenantConflict):
        Jobs(session, tenant="b").add(ship, Ship(order_id=3))
    with engine.connect() as c, pytest.raises(ConfigurationError, match="has no flush"):
        Jobs(c, tenant="a").add(ship, Ship(order_id=3))


def test_a_handlers_additions_are_children_of_its_job_and_commit_with_it(sql: Sql) -> None:
    engine = sql.database.engine("jf_one")
    with Session(engine) as session, session.begin():
        parent = Jobs(session, tenant="a").enqueue(spread, Ship(order_id=3))
    with Worker(engine, forge) as worker:
        assert worker.drain(timeout=20)
    children = sql.look("select parent_id, type from jobforge.jobs where type = 'ship'", user="jf_admin")
    assert [child["parent_id"] for child in children] == [parent.id] * 3


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_async_sessions_add_without_await(sql: Sql, driver: str) -> None:
    import asyncio

    async def story() -> tuple[uuid.UUID | None, list[Any]]:
        engine = create_async_engine(sql.database.url("jf_app").set(drivername=f"postgresql+{driver}"))
        try:
            async with AsyncSession(engine) as session, session.begin():
                bind_tenant(session, "a")
                jobs = AsyncJobs(session)
                session.add(order := Order(name="async"))
                handle = jobs.add(ship, lambda: Ship(order_id=order.id))
                savepoint = await session.begin_nested()
                jobs.add(bill, Ship(order_id=1))
                await savepoint.rollback()
                order_id = order.id
            async with AsyncConnection(engine) as c:
                with pytest.raises(ConfigurationError, match="has no flush"):
                    AsyncJobs(c, tenant="a").add(ship, Ship(order_id=1))
            return handle.id, [order_id]
        finally:
            await engine.dispose()

    made, (order_id,) = asyncio.run(story())
    assert made is not None
    assert jobs_of(sql) == [("ship", order_id)]
