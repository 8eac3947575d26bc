"""Jobs on a Session, a Connection, a scoped_session: they are part of the caller's transaction, and of its tenant."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import inspect
import math
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from jobforge_sa import AsyncJobs, Context, Delays, Exponential, JobForge, Jobs, JobState, Task, bind_tenant
from jobforge_sa.db import migrate
from jobforge_sa.enqueue.tenant import TENANT
from jobforge_sa.errors import (
    AccessDenied,
    ConfigurationError,
    InvalidJob,
    InvalidPayload,
    JobForgeError,
    JobNotFound,
    SchemaMismatch,
    TenantConflict,
    TenantRequired,
    WrongState,
)
from jobforge_sa.testing.server import EmbeddedServer, ServerError
from tests.fix_postgres import Database, make_logins
from tests.support import Sql, one_database, wait_for

UTC = dt.UTC
HOUR = dt.timedelta(hours=1)
DRIVERS = ["psycopg", "psycopg2"]


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Ship(BaseModel):
    order_id: int
    note: str = ""


forge = JobForge()
single = JobForge(tenant="main")


@forge.task("ship")
def ship(ctx: Context, payload: Ship) -> None: ...


@forge.task("free", queue="bulk", priority=5, max_attempts=7, retry=Delays(HOUR), timeout=HOUR)
def free(ctx: Context, payload: dict[str, Any]) -> None: ...


@forge.task("anything")
def anything(ctx: Context, payload: Any) -> None: ...


@single.task("ship")
def ship_single(ctx: Context, payload: Ship) -> None: ...


def through(driver: str, url: sa.URL) -> sa.Engine:
    return sa.create_engine(url.set(drivername=f"postgresql+{driver}"), poolclass=sa.NullPool)


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Sql]:
    with one_database(admin_url, template) as database, Sql(database) as sql:
        Base.metadata.create_all(database.engine())
        sql.session("postgres").execute("grant all on orders, orders_id_seq to jf_app")
        yield sql


@pytest.fixture(scope="module")
def engine(shared: Sql) -> sa.Engine:
    return shared.database.engine("jf_app")


@pytest.fixture(scope="module", params=DRIVERS)
def any_engine(request: pytest.FixtureRequest, shared: Sql) -> Iterator[sa.Engine]:
    engine = through(request.param, shared.database.url("jf_app"))
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: sa.Engine, sql: Sql) -> Iterator[Session]:
    """A session of the tenant "a"."""
    with Session(engine) as session:
        bind_tenant(session, "a")
        yield session


@pytest.fixture
def any_session(any_engine: sa.Engine, sql: Sql) -> Iterator[Session]:
    """The same, through each driver: where JSON, times or intervals pass it."""
    with Session(any_engine) as session:
        bind_tenant(session, "a")
        yield session


def jobs_of(sql: Sql, tenant: str = "a") -> list[dict[str, Any]]:
    return sql.look("select * from jobforge.all_jobs where tenant_id = %s order by id", tenant, user="jf_admin")


# --- the caller's transaction ------------------------------------------------------------------------------


def test_a_job_exists_if_and_only_if_the_session_commits(any_engine: sa.Engine, sql: Sql) -> None:
    with Session(any_engine) as session:
        session.add(Order(id=1, name="kept"))
        kept = Jobs(session, tenant="a").enqueue(ship, Ship(order_id=1))
        assert jobs_of(sql) == []
        session.commit()
        session.add(Order(id=2, name="gone"))
        Jobs(session, tenant="a").enqueue(ship, Ship(order_id=2))
        Jobs(session, tenant="a").enqueue_many([ship.new(Ship(order_id=2))] * 3)
        session.rollback()
        session.delete(session.get_one(Order, 1))
        session.commit()

    assert (kept.created, kept.payload_differs) == (True, False)
    (job,) = jobs_of(sql)
    assert (job["id"], job["type"], job["payload"]) == (kept.id, "ship", {"order_id": 1, "note": ""})


def test_fault_021_a_savepoint_takes_its_jobs_back_and_keeps_the_others(any_engine: sa.Engine, sql: Sql) -> None:
    with Session(any_engine) as session, session.begin():
        bind_tenant(session, "a")
        jobs = Jobs(session)
        outer = jobs.enqueue(ship, Ship(order_id=1))
        with session.begin_nested() as savepoint:
            jobs.enqueue(ship, Ship(order_id=2), idempotency_key="k")
            savepoint.rollback()
        with session.begin_nested():
            inner = jobs.enqueue(ship, Ship(order_id=3), idempotency_key="k")

    assert inner.created
    assert [job["id"] for job in jobs_of(sql)] == [outer.id, inner.id]


def test_a_bare_connection_works_the_same(any_engine: sa.Engine, sql: Sql) -> None:
    with any_engine.connect() as connection:
        jobs = Jobs(connection, tenant="a")
        with connection.begin():
            first = jobs.enqueue(ship, Ship(order_id=1))
        with connection.begin() as transaction:
            jobs.enqueue(ship, Ship(order_id=2))
            transaction.rollback()
        with connection.begin():
            many = jobs.enqueue_many(free.new({"n": n}, delay=HOUR, retry=Exponential()) for n in range(3))
            assert jobs.get(first.id).state is JobState.QUEUED

    assert [job["id"] for job in jobs_of(sql)] == [first.id, *(said.id for said in many)]


def test_a_scoped_session_works_the_same(engine: sa.Engine, sql: Sql) -> None:
    scope = scoped_session(sessionmaker(engine))
    bind_tenant(scope, "a")
    said = Jobs(scope).enqueue(ship, Ship(order_id=1))
    scope.commit()
    scope.remove()

    assert [job["id"] for job in jobs_of(sql)] == [said.id]


@pytest.mark.parametrize("what", [None, "x", sessionmaker()], ids=["None", "str", "sessionmaker"])
def test_what_is_no_session_is_refused(what: Any, engine: sa.Engine) -> None:
    with pytest.raises(ConfigurationError, match="Session"):
        Jobs(what)
    with pytest.raises(ConfigurationError, match="AsyncSession"):
        AsyncJobs(what)
    with pytest.raises(ConfigurationError, match=r"open one: with Session\(engine\)"):
        Jobs(engine)  # type: ignore[arg-type]


def test_pending_rows_are_flushed_first_so_that_a_payload_can_hold_their_key(session: Session, sql: Sql) -> None:
    order, other = Order(name="x"), Order(name="y")
    session.add(order)
    said = Jobs(session).enqueue(ship, lambda: Ship(order_id=order.id))
    session.add(other)
    payloads = (lambda: Ship(order_id=other.id), lambda: Ship(order_id=order.id))
    many = Jobs(session).enqueue_many(ship.new(payload) for payload in payloads)
    session.commit()

    stored = {job["id"]: job["payload"]["order_id"] for job in jobs_of(sql)}
    assert stored == {said.id: order.id, many[0].id: other.id, many[1].id: order.id}


def test_pending_rows_are_flushed_also_where_autoflush_is_off(engine: sa.Engine, sql: Sql) -> None:
    with Session(engine, autoflush=False) as session:
        order = Order(name="x")
        session.add(order)
        Jobs(session, tenant="a").enqueue(ship, lambda: Ship(order_id=order.id))
        session.rollback()


def test_an_error_in_the_function_that_makes_a_payload_is_the_callers_own(session: Session) -> None:
    def broken() -> Ship:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Jobs(session).enqueue(ship, broken)
    with pytest.raises(InvalidPayload):
        Jobs(session).enqueue(ship, lambda: None)  # type: ignore[arg-type, return-value]


def test_ten_thousand_jobs_are_enqueued_in_one_call_and_answered_in_their_order(any_session: Session, sql: Sql) -> None:
    said = Jobs(any_session).enqueue_many(free.new({"n": n}) for n in range(10_000))
    any_session.commit()

    assert len(said) == 10_000
    assert [one.id for one in said] == sorted(one.id for one in said)
    stored = sql.look("select id, (payload ->> 'n')::int as n from jobforge.jobs")
    assert {row["id"]: row["n"] for row in stored} == {one.id: n for n, one in enumerate(said)}


def test_many_jobs_of_several_tasks_keys_and_registries_answer_in_their_order(any_engine: sa.Engine, sql: Sql) -> None:
    with Session(any_engine) as session:
        jobs = [
            ship_single.new(Ship(order_id=1), idempotency_key="k"),
            ship_single.new(Ship(order_id=2)),
            ship_single.new(Ship(order_id=3), idempotency_key="k"),
        ]
        said = Jobs(session).enqueue_many(jobs)
        assert Jobs(session).enqueue_many([]) == []
        session.commit()

    assert [(one.created, one.payload_differs) for one in said] == [(True, False), (True, False), (False, True)]
    assert said[2].id == said[0].id
    assert len(jobs_of(sql, "main")) == 2


def test_a_bad_job_in_the_midst_refuses_the_call_before_anything_is_sent(session: Session, sql: Sql) -> None:
    jobs = [free.new({"n": 1}), free.new({"n": "\0"}), free.new({"n": 3})]
    with pytest.raises(InvalidPayload):
        Jobs(session).enqueue_many(jobs)
    session.commit()

    assert jobs_of(sql) == []


# --- the same key ------------------------------------------------------------------------------------------


def test_the_same_key_gives_the_original(any_engine: sa.Engine, sql: Sql) -> None:
    with Session(any_engine) as session:
        jobs = Jobs(session, tenant="a")
        first = jobs.enqueue(ship, Ship(order_id=1), idempotency_key="k")
        same = jobs.enqueue(ship, Ship(order_id=1), idempotency_key="k")
        other = jobs.enqueue(ship, Ship(order_id=2), idempotency_key="k")
        session.commit()

    assert (same.id, same.created, same.payload_differs) == (first.id, False, False)
    assert (other.id, other.created, other.payload_differs) == (first.id, False, True)
    assert len(jobs_of(sql)) == 1


def test_racing_sessions_with_one_key_make_one_job_and_all_commit_their_own_rows(engine: sa.Engine, sql: Sql) -> None:
    def race() -> uuid.UUID:
        with Session(engine) as session:
            session.add(Order(name="racer"))
            said = Jobs(session, tenant="a").enqueue(ship, Ship(order_id=1), idempotency_key="k")
            session.commit()
            return said.id

    ids = sql.together([race] * 10)
    assert len(set(ids)) == 1
    assert sql.look("select count(*) as n from orders where name = 'racer'") == [{"n": 10}]


# --- options -----------------------------------------------------------------------------------------------


def test_a_tasks_options_hold_unless_the_enqueue_says_otherwise(any_session: Session, sql: Sql) -> None:
    jobs = Jobs(any_session)
    plain = jobs.get(jobs.enqueue(free, {}).id)
    said = jobs.enqueue(
        free,
        {"x": 1},
        queue="other",
        priority=-1,
        max_attempts=1,
        retry=Exponential(base=HOUR, factor=3, max=2 * HOUR, jitter=0.5),
        timeout=dt.timedelta(milliseconds=1500),
        run_at=dt.datetime(2100, 1, 1, 12, tzinfo=dt.timezone(2 * HOUR)),
        idempotency_key="ü" * 200,
    )
    own = jobs.get(said.id)
    many = jobs.enqueue_many([free.new({}), free.new({}, queue="other", delay=HOUR, timeout=None)])

    assert (plain.queue, plain.priority, plain.max_attempts, plain.timeout) == ("bulk", 5, 7, HOUR)
    assert plain.retry == {"delays": [3600.0]}
    assert plain.state is JobState.QUEUED
    assert (own.queue, own.priority, own.max_attempts) == ("other", -1, 1)
    assert own.timeout == dt.timedelta(seconds=1.5)
    assert own.retry == {"base": 3600.0, "factor": 3, "max": 7200.0, "jitter": 0.5}
    assert own.run_at == own.due_at == dt.datetime(2100, 1, 1, 10, tzinfo=UTC)
    assert (own.state, own.idempotency_key, own.payload) == (JobState.SCHEDULED, "ü" * 200, {"x": 1})
    first, second = (jobs.get(one.id) for one in many)
    assert (first.queue, first.retry, first.timeout) == ("bulk", {"delays": [3600.0]}, HOUR)
    assert (second.queue, second.state, second.timeout) == ("other", JobState.SCHEDULED, None)
    assert abs(second.run_at - second.created_at - HOUR) < dt.timedelta(milliseconds=1)


NOW = dt.datetime(2100, 1, 1, tzinfo=UTC)
BAD_OPTIONS: list[dict[str, Any]] = [
    {"run_at": NOW.replace(tzinfo=None)},
    {"run_at": "2100-01-01"},
    {"run_at": dt.date(2100, 1, 1)},
    {"run_at": NOW.replace(year=3000)},
    {"run_at": NOW.replace(year=1969)},
    {"run_at": dt.datetime.max.replace(tzinfo=UTC)},
    {"run_at": dt.datetime.min.replace(tzinfo=dt.timezone(HOUR))},
    {"run_at": dt.datetime(2999, 12, 31, 23, 30, tzinfo=dt.timezone(-HOUR))},
    {"run_at": dt.datetime(1970, 1, 1, 0, 30, tzinfo=dt.timezone(HOUR))},
    {"delay": -HOUR},
    {"delay": dt.timedelta(microseconds=-1)},
    {"delay": dt.timedelta(days=3651)},
    {"delay": dt.timedelta.max},
    {"delay": 5},
    {"run_at": NOW, "delay": HOUR},
    {"queue": ""},
    {"queue": "a b"},
    {"queue": "x\n"},
    {"queue": "ü"},
    {"queue": "x" * 101},
    {"queue": b"x"},
    {"queue": "x\0"},
    {"idempotency_key": ""},
    {"idempotency_key": "x" * 201},
    {"idempotency_key": "x\0"},
    {"idempotency_key": "\ud800"},
    {"idempotency_key": 7},
    {"priority": 101},
    {"priority": -101},
    {"priority": True},
    {"priority": 1.0},
    {"priority": "1"},
    {"max_attempts": 0},
    {"max_attempts": 1001},
    {"max_attempts": False},
    {"max_attempts": math.inf},
    {"timeout": dt.timedelta(0)},
    {"timeout": dt.timedelta(days=31)},
    {"timeout": 30},
    {"retry": {"base": 1}},
    {"retry": Exponential(factor=math.nan)},
    {"retry": Exponential(factor=math.inf)},
    {"retry": Exponential(factor=0.5)},
    {"retry": Exponential(base=-HOUR)},
    {"retry": Exponential(jitter=2)},
    {"retry": Delays()},
    {"retry": Delays(-HOUR)},
    {"prioritty": 1},
    {"tenant": "b"},
]


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=str)
def test_an_option_that_cannot_work_is_refused_with_a_cure_and_nothing_is_enqueued(
    session: Session, sql: Sql, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidJob, match="cure: "):
        Jobs(session).enqueue(ship, Ship(order_id=1), **options)
    assert session.scalar(sa.text("select 1")) == 1  # nothing was sent: the transaction is as it was
    with pytest.raises(InvalidJob, match="cure: "):
        Jobs(session).enqueue_many([ship.new(Ship(order_id=1), **options)])
    session.commit()

    assert jobs_of(sql) == []


def test_the_first_bad_option_leaves_the_transaction_usable(session: Session, sql: Sql) -> None:
    jobs = Jobs(session)
    with pytest.raises(InvalidJob):
        jobs.enqueue(ship, Ship(order_id=1), priority=1000)
    with pytest.raises(InvalidPayload):
        jobs.enqueue(ship, "x")  # type: ignore[arg-type]
    jobs.enqueue(ship, Ship(order_id=1))
    session.commit()

    assert len(jobs_of(sql)) == 1


# --- payloads ----------------------------------------------------------------------------------------------

BAD_PAYLOADS: dict[str, Any] = {
    "a list": [1],
    "a text": "x",
    "None": None,
    "a number": 1,
    "too large": {"x": "y" * 262_144},
    "too large in bytes": {"x": "ü" * 131_072},
    "NUL": {"x": "a\0b"},
    "NUL in a key": {"\0": 1},
    "NUL in depth": {"x": [{"y": "\\\0"}]},
    "NaN": {"x": math.nan},
    "Infinity": {"x": [-math.inf]},
    "half a surrogate pair": {"x": "\ud800"},
    "half a surrogate pair in a key": {"\udfff": 1},
    "not JSON": {"x": object()},
    "bytes that are no text": {"x": b"\xff"},
    "a number too long": {"x": 10**5000},
}


@pytest.mark.parametrize("payload", BAD_PAYLOADS.values(), ids=BAD_PAYLOADS)
def test_a_payload_that_cannot_be_stored_is_refused_with_a_cure(session: Session, sql: Sql, payload: Any) -> None:
    with pytest.raises(InvalidPayload, match=r"payload of anything(.|\n)*cure: "):
        Jobs(session).enqueue(anything, payload)
    with pytest.raises(InvalidPayload, match="cure: "):
        Jobs(session).enqueue_many([anything.new({}), anything.new(payload)])
    session.commit()

    assert jobs_of(sql) == []


def test_a_payload_that_holds_itself_is_refused(session: Session) -> None:
    payload: dict[str, Any] = {}
    payload["x"] = payload
    with pytest.raises(InvalidPayload):
        Jobs(session).enqueue(anything, payload)


@pytest.mark.parametrize("payload", [{}, {"order_id": "x"}, {"order_id": 1, "note": 2}, None, 7], ids=str)
def test_a_payload_that_is_not_what_the_task_takes_is_refused(session: Session, payload: Any) -> None:
    with pytest.raises(InvalidPayload, match="payload of ship"):
        Jobs(session).enqueue(ship, payload)


@pytest.mark.parametrize(
    "payload",
    [
        {"x": r"\u0000", "y": "\\\\u0000"},
        {"😀": "\u202e\u200b", "__proto__": {"constructor": 1}},
        {"x": "y" * (262_144 - len('{"x":""}'))},
        {"x": [[[[1.5, -0.0, 10**30, True, None]]]]},
        {"": ""},
    ],
    ids=["backslashes", "strange", "just fits", "values", "empty"],
)
def test_a_payload_comes_back_as_it_was(any_engine: sa.Engine, sql: Sql, payload: dict[str, Any]) -> None:
    with Session(any_engine) as session:
        jobs = Jobs(session, tenant="a")
        ids = [jobs.enqueue(free, payload).id, jobs.enqueue_many([free.new(payload)])[0].id]
        assert [jobs.get(job).payload for job in ids] == [payload, payload]


# --- the tenant --------------------------------------------------------------------------------------------


def test_without_a_tenant_an_enqueue_says_how_to_name_one(engine: sa.Engine, sql: Sql) -> None:
    with Session(engine) as session:
        with pytest.raises(TenantRequired, match=r"cure: .*tenant=.*bind_tenant.*JobForge\(tenant="):
            Jobs(session).enqueue(ship, Ship(order_id=1))
        session.rollback()
        with pytest.raises(TenantRequired):
            Jobs(session).enqueue_many([ship.new(Ship(order_id=1))])
        session.rollback()
        with pytest.raises(TenantRequired):
            Jobs(session).cancel(uuid.uuid4())


def test_a_tenant_that_the_application_set_itself_is_used(engine: sa.Engine, sql: Sql) -> None:
    with Session(engine) as session:
        session.execute(sa.text("select set_config('jobforge.tenant_id', 'own', true)"))
        Jobs(session).enqueue(ship, Ship(order_id=1))
        session.commit()

    assert len(jobs_of(sql, "own")) == 1


def test_a_single_tenant_is_configured_once_for_enqueueing(engine: sa.Engine, sql: Sql) -> None:
    with Session(engine) as session:
        Jobs(session).enqueue(ship_single, Ship(order_id=1))
        Jobs(session).enqueue_many([ship_single.new(Ship(order_id=2))])
        session.commit()

    assert len(jobs_of(sql, "main")) == 2


def test_a_single_tenant_is_configured_once_for_reading_and_canceling_too(engine: sa.Engine, sql: Sql) -> None:
    factory = sessionmaker(engine)
    bind_tenant(factory, "main")
    with factory() as session:
        job = Jobs(session).enqueue(ship, Ship(order_id=1)).id
        session.commit()  # and now another transaction
        assert [one.id for one in Jobs(session).list(type=ship).jobs] == [job]
    with factory() as session:
        assert Jobs(session).get(job).id == job
        session.commit()
        assert Jobs(session).cancel(job).state is JobState.CANCELED


@pytest.mark.parametrize(
    ("tenant", "stored"),
    [(7, "7"), (uuid.UUID(int=5), str(uuid.UUID(int=5))), ("ü" * 200, "ü" * 200), (" ", " "), (-1, "-1")],
)
def test_a_tenant_is_a_text_a_number_or_a_uuid(engine: sa.Engine, sql: Sql, tenant: Any, stored: str) -> None:
    with Session(engine) as session:
        bind_tenant(session, tenant)
        said = Jobs(session, tenant=tenant).enqueue(ship, Ship(order_id=1))
        Jobs(session, tenant=stored).get(said.id)
        session.commit()

    assert len(jobs_of(sql, stored)) == 1


class Region(str, enum.Enum):  # noqa: UP042 - the older way is what many applications have
    NORTH = "north"


def test_a_tenant_that_is_a_member_of_a_text_enum_is_its_text(engine: sa.Engine, sql: Sql) -> None:
    with Session(engine) as session:
        Jobs(session, tenant=Region.NORTH).enqueue(ship, Ship(order_id=1))
        session.commit()

    assert len(jobs_of(sql, "north")) == 1


@pytest.mark.parametrize(
    "tenant",
    ["", "x" * 201, "a\0", "\ud800", True, 1.5, b"a", [], object()],
    ids=["empty", "long", "NUL", "surrogate", "bool", "float", "bytes", "list", "object"],
)
def test_what_is_no_tenant_is_refused(engine: sa.Engine, tenant: Any) -> None:
    with Session(engine) as session:
        with pytest.raises(ConfigurationError, match="tenant"):
            Jobs(session, tenant=tenant)
        with pytest.raises(ConfigurationError, match="tenant"):
            bind_tenant(session, tenant)


def tenant_in(session: Session) -> str | None:
    found: str | None = session.scalar(sa.text("select jobforge.current_tenant()"))
    return found


def test_a_bound_session_is_its_tenants_in_every_transaction_and_after_each_savepoint(engine: sa.Engine) -> None:
    with Session(engine) as session:
        bind_tenant(session, "a")
        for end in (session.commit, session.rollback, session.close):
            assert tenant_in(session) == "a"
            end()
        nested = session.begin_nested()  # the first thing that its transaction does
        assert tenant_in(session) == "a"
        nested.rollback()
        assert tenant_in(session) == "a"
        with session.begin_nested():
            session.execute(sa.text("select set_config('jobforge.tenant_id', 'b', true)"))
            session.get_nested_transaction().rollback()  # type: ignore[union-attr]
        assert tenant_in(session) == "a"


def test_a_session_has_one_tenant_for_its_life(engine: sa.Engine) -> None:
    with Session(engine) as session:
        bind_tenant(session, "a")
        bind_tenant(session, "a")
        with pytest.raises(TenantConflict, match="'a'"):
            bind_tenant(session, "b")
        with pytest.raises(TenantConflict, match=r"'a', not 'b'"):
            Jobs(session, tenant="b")
        session.execute(sa.text("select set_config('jobforge.tenant_id', 'a', true)"))
        bind_tenant(session, "a")
        session.commit()
        assert tenant_in(session) == "a"


def test_a_session_that_has_begun_cannot_be_bound_any_more(engine: sa.Engine) -> None:
    with Session(engine) as session:
        session.begin()
        bind_tenant(session, "a")  # nothing was sent yet
        assert tenant_in(session) == "a"
    with Session(engine) as session:
        session.execute(sa.text("select 1"))
        with pytest.raises(ConfigurationError, match="begun"):
            bind_tenant(session, "a")
        session.commit()
        bind_tenant(session, "a")
        assert tenant_in(session) == "a"


def test_a_tenant_given_in_the_sessions_info_counts(engine: sa.Engine, sql: Sql) -> None:
    with Session(engine, info={TENANT: "a"}) as session:
        job = Jobs(session).enqueue(ship, Ship(order_id=1)).id
        session.commit()
        assert Jobs(session).get(job).tenant_id == "a"
        with pytest.raises(TenantConflict):
            Jobs(session, tenant="b")


def test_one_unbound_session_may_enqueue_for_several_tenants_in_one_transaction(engine: sa.Engine, sql: Sql) -> None:
    with Session(engine) as session:
        for tenant in "abab":
            Jobs(session, tenant=tenant).enqueue(ship, Ship(order_id=1))
        session.commit()

    assert (len(jobs_of(sql, "a")), len(jobs_of(sql, "b"))) == (2, 2)


# --- one job again -----------------------------------------------------------------------------------------


def test_a_job_is_read_canceled_retried_and_moved(any_engine: sa.Engine, sql: Sql) -> None:
    with Session(any_engine) as session:
        bind_tenant(session, "a")
        jobs = Jobs(session)
        job = jobs.enqueue(ship, Ship(order_id=1)).id
        moved = jobs.reschedule(job, delay=HOUR)
        assert (moved.state, moved.attempt) == (JobState.SCHEDULED, 0)
        assert moved.due_at is not None
        assert moved.due_at > moved.created_at + dt.timedelta(minutes=59)
        assert jobs.reschedule(job, run_at=NOW).due_at == NOW
        assert jobs.reschedule(job).state is JobState.QUEUED
        assert jobs.cancel(job).state is JobState.CANCELED
        assert jobs.cancel(job).state is JobState.CANCELED
        assert jobs.retry(job).state is JobState.QUEUED
        session.commit()

        sql.complete(sql.claim_one(types=["ship"]), result={"n": [1, None]})
        done = jobs.get(job)
        assert (done.state, done.result, done.run) == (JobState.SUCCEEDED, {"n": [1, None]}, 1)
        assert done.finished_at is not None
        assert done.finished_at.tzinfo is not None


def test_what_a_jobs_state_forbids_is_refused(session: Session, sql: Sql) -> None:
    jobs = Jobs(session)
    job = jobs.enqueue(ship, Ship(order_id=1)).id
    session.commit()
    refusals: list[Callable[[], object]] = [lambda: jobs.retry(job)]
    sql.complete(sql.claim_one(types=["ship"]))
    refusals += [lambda: jobs.retry(job), lambda: jobs.reschedule(job)]
    for refusal in refusals:
        with pytest.raises(WrongState, match="cure: "):
            refusal()
        session.rollback()
    for options in ({"run_at": NOW.replace(tzinfo=None)}, {"delay": -HOUR}, {"run_at": NOW, "delay": HOUR}):
        with pytest.raises(InvalidJob):
            jobs.reschedule(job, **options)


def test_another_tenants_job_and_one_that_never_was_are_not_found_alike(session: Session, sql: Sql) -> None:
    theirs = sql.enqueue("b")
    jobs = Jobs(session)
    for job in (theirs, uuid.uuid4()):
        for method in (jobs.get, jobs.cancel, jobs.retry, jobs.reschedule):
            with pytest.raises(JobNotFound, match=f"no job {job}"):
                method(job)

    assert sql.state(theirs) == "queued"


def test_jobs_are_listed_in_pages_newest_first(any_session: Session, sql: Sql) -> None:
    jobs = Jobs(any_session)
    ids = [said.id for said in jobs.enqueue_many(free.new({"n": n}) for n in range(5))]
    ids.append(jobs.enqueue(ship, Ship(order_id=1), delay=HOUR).id)
    any_session.commit()
    sql.enqueue("b")

    page = jobs.list(limit=4)
    assert [job.id for job in page.jobs] == ids[::-1][:4]
    rest = jobs.list(limit=4, cursor=page.cursor)
    assert [job.id for job in rest.jobs] == ids[::-1][4:]
    assert rest.cursor is None
    exact = jobs.list(limit=6)
    assert exact.cursor is not None
    assert jobs.list(cursor=exact.cursor).jobs == []
    for filters in ({"state": "scheduled"}, {"state": JobState.SCHEDULED}, {"type": ship}, {"type": "ship"}):
        assert [job.id for job in jobs.list(**filters).jobs] == [ids[5]]
    assert len(jobs.list(queue="bulk", since=NOW.replace(year=2000), until=NOW).jobs) == 5
    assert jobs.list(since=NOW).jobs == []


@pytest.mark.parametrize(
    ("filters", "word"),
    [
        ({"state": "failed"}, "state"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"since": NOW.replace(tzinfo=None)}, "since"),
        ({"until": NOW.replace(tzinfo=None)}, "until"),
    ],
)
def test_a_list_that_cannot_be_is_refused_with_the_name_of_what_is_wrong(
    session: Session, filters: dict[str, Any], word: str
) -> None:
    with pytest.raises(InvalidJob, match=word):
        Jobs(session).list(**filters)


# --- a database that does not fit --------------------------------------------------------------------------


def every_call(jobs: Jobs) -> list[Callable[[], object]]:
    some = uuid.uuid4()
    return [
        lambda: jobs.enqueue(ship, Ship(order_id=1)),
        lambda: jobs.enqueue_many([ship.new(Ship(order_id=1))]),
        lambda: jobs.get(some),
        lambda: jobs.list(),
        lambda: jobs.cancel(some),
        lambda: jobs.retry(some),
        lambda: jobs.reschedule(some),
    ]


def refusals(engine: sa.Engine, expected: type[JobForgeError]) -> Iterator[str]:
    """What each call says, in a session of its own."""
    for n in range(7):
        with Session(engine) as session, pytest.raises(expected) as refusal:
            every_call(Jobs(session, tenant="a"))[n]()
        yield str(refusal.value)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_database_without_our_schema_is_refused_with_the_command(bare_database: Database, driver: str) -> None:
    for said in refusals(through(driver, bare_database.url()), SchemaMismatch):
        assert "jobforge migrate" in said
        assert "alembic upgrade head" in said


def test_an_older_schema_is_refused_with_the_command(bare_database: Database) -> None:
    admin = bare_database.engine()
    migrate.upgrade(admin, "0001")
    for said in refusals(bare_database.engine("jf_app"), SchemaMismatch):
        assert "jobforge migrate" in said


@pytest.mark.parametrize("stamp", ["0001", None])
def test_a_schema_stamped_as_older_or_not_at_all_is_refused_before_anything_is_sent(
    database: Database, stamp: str | None
) -> None:
    change = f"update jobforge.alembic_version set version_num = '{stamp}'"
    change = change if stamp else "delete from jobforge.alembic_version"
    with database.engine().begin() as connection:
        connection.exec_driver_sql(change)
    for said in refusals(database.engine("jf_app"), SchemaMismatch):
        assert "jobforge migrate" in said
        assert (stamp or "base") in said


def serve(database: Database, stamp: str, serves: str) -> None:
    """Make the schema one of a later release."""
    with database.engine().begin() as connection:
        connection.exec_driver_sql(f"update jobforge.alembic_version set version_num = '{stamp}'")
        connection.exec_driver_sql(
            "create or replace function jobforge.schema_version() "
            "returns table (revision text, serves text, tenancy text) "
            "language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$ begin return query "
            f"select v.version_num::text, '{serves}'::text, 'plain' from jobforge.alembic_version v; end $$"
        )


def test_a_newer_schema_that_no_longer_serves_this_code_is_refused_with_the_package(database: Database) -> None:
    serve(database, "9999", "9998")
    for said in refusals(database.engine("jf_app"), SchemaMismatch):
        assert "pip install -U jobforge_sa" in said


def test_a_newer_schema_that_serves_this_code_works(database: Database) -> None:
    serve(database, "9999", "0002")
    with Session(database.engine("jf_app")) as session:
        assert Jobs(session, tenant="a").enqueue(ship, Ship(order_id=1)).created


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("login", ["jf_worker", "jf_stranger"])
def test_a_login_without_the_right_hears_the_grant(shared: Sql, driver: str, login: str) -> None:
    for said in refusals(through(driver, shared.database.url(login)), AccessDenied):
        assert f'grant jobforge_app to "{login}";' in said


def test_the_databases_own_errors_stay_as_they_are(engine: sa.Engine, sql: Sql) -> None:
    with Session(engine) as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        session.execute(sa.text("select 1"))
        sql.enqueue("a", "ship", {"order_id": 1}, idempotency_key="k")
        with pytest.raises(sa.exc.OperationalError) as error:
            Jobs(session, tenant="a").enqueue(ship, Ship(order_id=1), idempotency_key="k")
    assert error.value.orig.sqlstate == "40001"  # type: ignore[union-attr]


# --- two phases --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def preparing() -> Iterator[sa.URL]:
    """A server that prepares transactions; most do not."""
    server = EmbeddedServer(settings={"max_prepared_transactions": "5"})
    try:
        server.start()
    except ServerError as error:
        pytest.skip(f"needs a server of its own: {error}")
    try:
        migrate.upgrade(superuser := sa.create_engine(server.url, poolclass=sa.NullPool))
        make_logins(superuser)
        yield sa.make_url(server.url_for("postgres", "jf_app"))
    finally:
        server.stop()


@pytest.fixture(params=DRIVERS)
def two_phase(request: pytest.FixtureRequest, preparing: sa.URL) -> Iterator[sa.Engine]:
    engine = through(request.param, preparing)
    yield engine
    with Session(engine) as session:
        for job in (jobs := Jobs(session, tenant="a")).list().jobs:
            jobs.cancel(job.id)
        session.commit()
    engine.dispose()


def test_fault_025_a_two_phase_session_enqueues_and_commits(two_phase: sa.Engine) -> None:
    with Session(two_phase, twophase=True) as session:
        jobs = Jobs(session, tenant="a")
        one = jobs.enqueue(ship, Ship(order_id=1)).id
        many = jobs.enqueue_many([ship.new(Ship(order_id=1))])[0].id
        added = jobs.add(ship, Ship(order_id=1))
        session.prepare()
        session.commit()
        assert {job.id for job in jobs.list(state="queued").jobs} == {one, many, added.id}
        session.rollback()


def test_a_two_phase_session_cancels_retries_and_reschedules(two_phase: sa.Engine) -> None:
    with Session(two_phase, twophase=True) as session:
        jobs = Jobs(session, tenant="b")
        job = jobs.enqueue(ship, Ship(order_id=1), delay=HOUR).id
        session.commit()
        jobs.cancel(job)
        session.commit()
        jobs.retry(job)
        session.commit()
        jobs.reschedule(job, delay=HOUR)
        session.commit()
        jobs.reschedule(job)
        session.commit()


def test_a_two_phase_connection_enqueues_and_commits(two_phase: sa.Engine) -> None:
    with two_phase.connect() as connection:
        transaction = connection.begin_twophase()
        said = Jobs(connection, tenant="c").enqueue(ship, Ship(order_id=1))
        transaction.prepare()
        transaction.commit()
        assert Jobs(connection, tenant="c").get(said.id).state is JobState.QUEUED


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_an_async_two_phase_session_enqueues_and_commits(preparing: sa.URL, driver: str) -> None:
    async def told() -> None:
        engine = create_async_engine(preparing.set(drivername=f"postgresql+{driver}"))
        async with AsyncSession(engine, twophase=True) as session:
            jobs = AsyncJobs(session, tenant=driver)
            one = await jobs.enqueue(ship, Ship(order_id=1))
            added = jobs.add(ship, Ship(order_id=1))
            await session.commit()
            assert {job.id for job in (await jobs.list()).jobs} == {one.id, added.id}
            await session.rollback()
        await engine.dispose()

    asyncio.run(told())


def test_a_registry_without_notify_sends_none(engine: sa.Engine, sql: Sql) -> None:
    quiet = JobForge(notify=False)
    task: Task[dict[str, Any], None] = quiet.task("quiet", queue="quiet")(free.handler)
    listener = sql.asleep("quiet", "loud")
    with Session(engine) as session:
        jobs = Jobs(session, tenant="a")
        jobs.enqueue(task, {})
        jobs.enqueue_many([task.new({})])
        jobs.enqueue(free, {}, queue="loud")
        session.commit()

    assert [note.payload for note in listener.notifies(timeout=5, stop_after=1)] == ["loud"]
    assert list(listener.notifies(timeout=0)) == []


def test_a_lost_connection_is_the_drivers_error_and_leaves_nothing(engine: sa.Engine, sql: Sql) -> None:
    with Session(engine) as session:
        jobs = Jobs(session, tenant="a")
        jobs.enqueue(ship, Ship(order_id=1))
        pid = session.scalar(sa.text("select pg_backend_pid()"))
        sql.look("select pg_terminate_backend(%s)", pid)
        wait_for(lambda: not sql.look("select 1 from pg_stat_activity where pid = %s", pid))
        with pytest.raises(sa.exc.OperationalError) as error:
            jobs.enqueue(ship, Ship(order_id=2))
        assert isinstance(error.value.orig, psycopg.OperationalError)
        session.rollback()
        jobs.enqueue(ship, Ship(order_id=3))
        session.commit()

    assert [job["payload"]["order_id"] for job in jobs_of(sql)] == [3]


# --- the two faces -----------------------------------------------------------------------------------------


def test_jobs_and_asyncjobs_have_the_same_methods_with_the_same_parameters() -> None:
    def public(cls: type) -> dict[str, list[tuple[str, Any, Any, Any]]]:
        methods = {name: member for name, member in vars(cls).items() if not name.startswith("_")}
        return {
            name: [(p.name, p.kind, p.default, p.annotation) for p in inspect.signature(method).parameters.values()]
            for name, method in methods.items()
        }

    assert public(Jobs) == public(AsyncJobs)
    for name in public(AsyncJobs):
        as_it_is = name in {"add", "matching"}  # as AsyncSession.add
        assert inspect.iscoroutinefunction(getattr(AsyncJobs, name)) != as_it_is, name
        gives, given = (inspect.signature(getattr(cls, name)).return_annotation for cls in (Jobs, AsyncJobs))
        assert given in {gives, f"Async{gives}"}
        assert inspect.getdoc(getattr(AsyncJobs, name))


def test_keys_over_several_statements_are_met_in_one_order_and_answered_in_the_callers(
    session: Session, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two calls with common keys in opposite order would deadlock, if each met them as they came."""
    monkeypatch.setattr("jobforge_sa.enqueue.bulk.CHUNK", 10)
    keys = [f"k{n:02}" for n in reversed(range(30))]
    said = Jobs(session).enqueue_many([anything.new({"k": key}, idempotency_key=key) for key in keys])
    session.commit()

    met = sql.look("select key, job_id from jobforge.idempotency_keys order by ctid")
    assert [row["key"] for row in met] == sorted(keys)
    by_key = {row["key"]: row["job_id"] for row in met}
    assert [one.id for one in said] == [by_key[key] for key in keys]
