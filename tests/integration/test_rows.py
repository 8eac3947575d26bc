"""Rows of the application and their jobs: the mixin, deleted rows, and rows as arguments."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    configure_mappers,
    joinedload,
    mapped_column,
    selectinload,
    subqueryload,
)
from sqlalchemy.types import TypeDecorator

from jobforge_sa import AsyncJobs, Context, HasJobs, JobForge, Jobs, Row, bind_tenant
from jobforge_sa.enqueue.subject import name_of
from jobforge_sa.errors import ConfigurationError, InvalidJob, InvalidPayload, RowHasJobs, TenantRequired
from jobforge_sa.models import Job
from jobforge_sa.testing.drain import drain
from jobforge_sa.testing.enqueued import assert_enqueued
from tests.support import Sql, one_database


class Base(DeclarativeBase):
    pass


class Name(TypeDecorator[str]):
    impl = sa.String
    cache_ok = True


class Guid(TypeDecorator[uuid.UUID]):
    impl = sa.Uuid
    cache_ok = True

    def process_bind_param(self, value: uuid.UUID | None, _dialect: sa.Dialect) -> uuid.UUID | None:
        return value


class Order(HasJobs, Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(default="")
    kind: Mapped[str] = mapped_column(default="plain")
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {  # noqa: RUF012
        "version_id_col": version,
        "polymorphic_on": kind,
        "polymorphic_identity": "plain",
    }


class Express(Order):
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_identity": "express"
    }


class Line(HasJobs, Base):
    """A key of two parts, in a schema of its own."""

    __tablename__ = "lines"
    __table_args__ = ({"schema": "shop"},)
    jobs_on_delete = "refuse"

    owner: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class Note(HasJobs, Base):
    __tablename__ = "notes"
    jobs_on_delete = "keep"

    id: Mapped[int] = mapped_column(primary_key=True)


class Ticket(HasJobs, Base):
    """Keys and versions by way of types of the application's own, as SQLModel and advanced-alchemy have them."""

    __tablename__ = "tickets"
    jobs_on_delete = "refuse"

    id: Mapped[str] = mapped_column(Name, primary_key=True)
    part: Mapped[str] = mapped_column(primary_key=True, default="")
    number: Mapped[uuid.UUID] = mapped_column(Guid, primary_key=True, default=uuid.uuid4)
    version: Mapped[uuid.UUID] = mapped_column()
    __mapper_args__ = {  # noqa: RUF012
        "version_id_col": version,
        "version_id_generator": lambda _: uuid.uuid4(),
    }


class Touch(BaseModel):
    n: int = 0


class Ship(BaseModel):
    order: Row[Order]
    missing: Any = "discard"
    stale: Any = "run"


class Pack(BaseModel):
    line: Row[Line]


class Book(BaseModel):
    ticket: Row[Ticket]


forge = JobForge()


@forge.task("touch")
def touch(ctx: Context, payload: Touch) -> None: ...


@forge.task("ship", max_attempts=1)
def ship(ctx: Context, payload: Ship) -> None:
    payload.order.load(ctx.session, missing=payload.missing, stale=payload.stale).name = "shipped"


@forge.task("pack", max_attempts=1)
def pack(ctx: Context, payload: Pack) -> str:
    return payload.line.load(ctx.session).owner


@forge.task("book")
def book(ctx: Context, payload: Book) -> None: ...


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Sql]:
    with one_database(admin_url, template) as database, Sql(database) as sql:
        with database.engine().begin() as c:
            c.execute(sa.text("create schema shop; grant usage on schema shop to jf_app, jf_one"))
        Base.metadata.create_all(database.engine())
        sql.session("postgres").execute(
            "grant all on orders, orders_id_seq, notes, notes_id_seq, shop.lines, tickets to jf_app, jf_one"
        )
        yield sql


@pytest.fixture
def sql(shared: Sql) -> Iterator[Sql]:
    yield shared
    shared.clean()
    with shared.database.engine().begin() as c:
        c.execute(sa.text("truncate orders, notes, shop.lines, tickets"))


@pytest.fixture(params=["psycopg", "psycopg2"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(sql: Sql, driver: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(sql.database.url("jf_one").set(drivername=f"postgresql+{driver}"))
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: sa.Engine) -> Iterator[Session]:
    with Session(engine) as session:
        bind_tenant(session, "a")
        yield session


def states(sql: Sql, tenant: str = "a") -> list[tuple[str | None, str]]:
    rows = sql.look(
        "select subject, state from jobforge.all_jobs where tenant_id = %s order by id", tenant, user="jf_admin"
    )
    return [(row["subject"], row["state"]) for row in rows]


# --- a row's jobs ------------------------------------------------------------------------------------------


def test_a_new_row_and_its_jobs_are_one_flush_and_it_finds_them(session: Session, sql: Sql) -> None:
    order, other = Order(), Order()
    session.add_all([order, other])
    first = order.add_job(touch, Touch(n=1))
    order.add_job(touch, lambda: Touch(n=order.id))
    session.commit()
    assert order.jobs[0].id == first.id
    assert [job.payload["n"] for job in order.jobs] == [1, order.id]
    assert other.jobs == []
    assert states(sql) == [(f"orders:{order.id}", "queued")] * 2


def test_loader_options_and_conditions_work_as_on_any_relationship(session: Session) -> None:
    orders = [Order(name=f"n{n}") for n in range(4)]
    session.add_all(orders)
    for order in orders[:3]:
        for _ in range(2):
            order.add_job(touch, Touch())
    session.commit()
    for option in (selectinload, joinedload, subqueryload):
        session.expire_all()
        found = session.scalars(sa.select(Order).options(option(Order.jobs)).order_by(Order.id)).unique().all()
        assert [len(order.__dict__["jobs"]) for order in found] == [2, 2, 2, 0], option
    waiting = Order.jobs.any(Job.state == "queued")
    assert session.scalars(sa.select(Order.name).where(~waiting)).all() == ["n3"]
    joined = sa.select(Order.name, sa.func.count()).join(Order.jobs).group_by(Order.name).order_by(Order.name)
    assert session.execute(joined).all() == [("n0", 2), ("n1", 2), ("n2", 2)]
    ids = [job.id for job in orders[0].jobs]
    Jobs(session).cancel(ids[0])
    session.commit()
    assert [job.state for job in orders[0].jobs] == ["canceled", "queued"]


def test_keys_of_two_parts_schemas_and_subclasses_have_one_subject_each(session: Session, sql: Sql) -> None:
    number = uuid.uuid4()
    line, express = Line(owner="ann", number=number), Express()
    session.add_all([line, express])
    line.add_job(touch, Touch())
    express.add_job(touch, Touch())
    session.commit()
    assert states(sql) == [(f"shop.lines:ann,{number}", "queued"), (f"orders:{express.id}", "queued")]
    assert len(line.jobs) == len(express.jobs) == 1
    plain = session.get(Order, express.id)
    assert plain is express


def test_keys_of_types_of_ones_own_and_with_commas_are_told_apart(session: Session, sql: Sql) -> None:
    number = uuid.uuid4()
    one, other = (Ticket(id=id_, part=part, number=number) for id_, part in (("a,b", "c\\"), ("a", "b,c\\")))
    session.add_all([one, other])
    one.add_job(touch, Touch())
    session.commit()
    assert [len(one.jobs), len(other.jobs)] == [1, 0]
    assert session.scalars(sa.select(Ticket.id).where(Ticket.jobs.any())).all() == ["a,b"]
    assert states(sql) == [(f"tickets:a\\,b,c\\\\,{number}", "queued")]


@pytest.mark.parametrize("kind", [sa.CHAR(5), sa.Enum("x", name="x"), sa.Uuid(native_uuid=False), sa.Date()], ids=repr)
def test_a_key_whose_text_postgres_writes_in_another_way_is_refused(kind: sa.types.TypeEngine[Any]) -> None:
    """Its rows would never find their jobs."""

    class Other(DeclarativeBase):
        pass

    class Odd(HasJobs, Other):
        __tablename__ = "odd"

        id: Mapped[Any] = mapped_column(kind, primary_key=True)

    try:
        with pytest.raises(ConfigurationError, match="the key of Odd"):
            configure_mappers()
    finally:
        Other.registry.dispose()


def test_a_class_with_a_table_of_its_own_has_its_keys_for_itself() -> None:
    class Other(DeclarativeBase):
        pass

    class Staff(Other):
        __tablename__ = "staff"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Boss(Staff):
        __tablename__ = "bosses"
        __mapper_args__ = {"concrete": True}  # noqa: RUF012
        id: Mapped[int] = mapped_column(primary_key=True)

    assert [name_of(one) for one in (Staff(id=1), Boss(id=1), Express(id=1))] == ["staff:1", "bosses:1", "orders:1"]


def test_another_tenant_finds_none_of_them(session: Session, sql: Sql) -> None:
    session.add(order := Order())
    order.add_job(touch, Touch())
    session.commit()
    with Session(sql.database.engine("jf_app")) as other:
        bind_tenant(other, "b")
        assert other.get_one(Order, order.id).jobs == []
        assert Jobs(other).cancel_jobs_of(order) == 0
        other.commit()
    assert states(sql) == [(f"orders:{order.id}", "queued")]


def test_a_subject_goes_along_with_every_way_of_enqueueing(session: Session, sql: Sql) -> None:
    session.add(order := Order())
    jobs = Jobs(session)
    jobs.enqueue(touch, Touch(), subject=order)  # flushes first, so that it has a key
    jobs.enqueue_many([touch.new(Touch(), subject=order), touch.new(Touch(), subject="report:2026-11")])
    jobs.add(touch, Touch(), subject=order)
    session.commit()
    name = f"orders:{order.id}"
    assert [subject for subject, _ in states(sql)] == [name, name, "report:2026-11", name]
    assert jobs.get(order.jobs[0].id).subject == name
    assert len(order.jobs) == 3


@pytest.mark.parametrize("subject", ["", "x" * 301, "a\x00", 7, "\ud800"])
def test_a_subject_that_cannot_be_one_is_refused(session: Session, subject: object) -> None:
    with pytest.raises(InvalidJob):
        Jobs(session).enqueue(touch, Touch(), subject=subject)


def test_a_row_without_a_session_or_a_key_says_what_to_do(session: Session) -> None:
    with pytest.raises(ConfigurationError, match=r"session\.add"):
        Order().add_job(touch, Touch())
    with pytest.raises(InvalidJob, match="has no key yet"):
        Jobs(session).enqueue(touch, Touch(), subject=Order())


@pytest.mark.parametrize("through", ["psycopg", "asyncpg"])
def test_an_async_session_does_the_same(sql: Sql, through: str) -> None:
    async def story() -> int:
        engine = create_async_engine(sql.database.url("jf_app").set(drivername=f"postgresql+{through}"))
        async with AsyncSession(engine, expire_on_commit=False) as session:
            bind_tenant(session, "a")
            session.add(order := Order())
            order.add_job(touch, Touch())
            await session.commit()
            jobs = (await session.scalars(sa.select(Order).options(selectinload(Order.jobs)))).one().jobs
            assert len(jobs) == 1
            assert await AsyncJobs(session).cancel_jobs_of(order) == 1
            await session.commit()
        await engine.dispose()
        return order.id

    order_id = asyncio.run(story())
    assert states(sql) == [(f"orders:{order_id}", "canceled")]


# --- a row that is deleted ---------------------------------------------------------------------------------


def test_a_deleted_rows_waiting_jobs_are_canceled_and_running_ones_told(session: Session, sql: Sql) -> None:
    session.add_all([order := Order(), other := Order()])
    order.add_job(touch, Touch())
    session.commit()
    running = sql.claim_one(types=["touch"])
    for row in (order, other):
        row.add_job(touch, Touch())
    session.commit()
    session.delete(order)
    session.rollback()
    assert {state for _, state in states(sql)} == {"running", "queued"}
    session.delete(order)
    session.commit()
    assert [state for _, state in states(sql)] == ["running", "canceled", "queued"]
    assert sql.look("select job_id from jobforge.cancel_requests", user="jf_admin")[0]["job_id"] == running["job_id"]


def test_a_row_that_refuses_can_be_deleted_once_its_jobs_have_ended(session: Session, sql: Sql) -> None:
    session.add(line := Line(owner="ann", number=uuid.uuid4()))
    line.add_job(touch, Touch())
    session.commit()
    session.delete(line)
    with pytest.raises(RowHasJobs, match=r"shop\.lines:ann,.* has jobs that have not ended"):
        session.commit()
    session.rollback()
    Jobs(session).cancel_jobs_of(line)
    session.delete(line)
    session.commit()
    assert session.scalars(sa.select(Line)).all() == []


def test_a_row_is_not_deleted_where_nobody_can_see_its_jobs(session: Session, engine: sa.Engine, sql: Sql) -> None:
    session.add_all([line := Line(owner="ann", number=uuid.uuid4()), order := Order(), note := Note()])
    for row in (line, order, note):
        row.add_job(touch, Touch())
    session.commit()
    for row in (line, order):
        with Session(engine) as unbound:
            unbound.delete(unbound.merge(row))
            with pytest.raises(TenantRequired, match="bind_tenant"):
                unbound.flush()
    with Session(engine) as unbound, unbound.begin():
        unbound.delete(unbound.merge(note))
    with Session(engine) as unbound, unbound.begin():  # a tenant of the transaction will do
        Jobs(unbound, tenant="a").enqueue(touch, Touch())
        unbound.delete(unbound.merge(order))
    assert [state for _, state in states(sql)] == ["queued", "canceled", "queued", "queued"]


def test_a_job_that_was_added_before_its_row_is_deleted_falls_under_the_rule(session: Session, sql: Sql) -> None:
    order, line, note = Order(), Line(owner="ann", number=uuid.uuid4()), Note()
    session.add_all([order, line, note])
    session.commit()
    for row in (order, line, note):
        session.refresh(row)
    order.add_job(touch, Touch())
    note.add_job(touch, Touch())
    session.delete(order)
    session.delete(note)
    session.commit()
    assert [subject for subject, _ in states(sql)] == [f"notes:{note.id}"]
    line.add_job(touch, Touch())
    session.delete(line)
    with pytest.raises(RowHasJobs):
        session.commit()


def test_a_row_may_leave_its_jobs_behind(session: Session, sql: Sql) -> None:
    session.add(note := Note())
    note.add_job(touch, Touch())
    session.commit()
    session.delete(note)
    session.commit()
    assert [state for _, state in states(sql)] == ["queued"]


# --- a row as an argument ----------------------------------------------------------------------------------


def run(sql: Sql, *given: Ship | Pack) -> list[tuple[str | None, Any]]:
    """How jobs with these payloads end, with what error or result."""
    with Session(sql.database.engine("jf_one")) as session, session.begin():
        new = [ship.new(payload) if isinstance(payload, Ship) else pack.new(payload) for payload in given]
        Jobs(session, tenant="a").enqueue_many(new)
        drained = drain(session, forge, raise_errors=False)
    return [(one.state, one.result if one.error is None else one.error["type"]) for one in drained]


def test_a_row_is_stored_as_its_key_and_version_and_loaded_again(session: Session, sql: Sql) -> None:
    session.add(order := Order())
    session.add(line := Line(owner="ann", number=uuid.uuid4()))
    session.commit()
    assert run(sql, Ship(order=Row.of(order)), Pack(line=Row.of(line))) == [
        ("succeeded", None),
        ("succeeded", "ann"),
    ]
    session.refresh(order)
    assert order.name == "shipped"
    assert_enqueued(session, ship, {"order": {"table": "orders", "key": [order.id], "version": 1}}, count=1)
    assert_enqueued(session, pack, {"line": {"table": "shop.lines", "key": ["ann", line.number]}}, count=1)


def test_a_row_of_a_subclass_is_one_of_its_class(session: Session, sql: Sql) -> None:
    session.add(express := Express())
    session.commit()
    assert Ship(order=Row.of(express)) == Ship.model_validate({"order": express})
    assert run(sql, Ship(order=Row.of(express))) == [("succeeded", None)]


def test_versions_that_json_has_no_type_for_are_stored_and_compared(session: Session) -> None:
    session.add(ticket := Ticket(id="a"))
    session.flush()
    Jobs(session).enqueue(book, Book(ticket=Row.of(ticket)))
    stored = book.load(book.dump(Book(ticket=Row.of(ticket))))
    assert stored.ticket.load(session, stale="fail") is ticket


def test_missing_and_stale_rows_end_as_the_handler_says(session: Session, sql: Sql) -> None:
    session.add_all([order := Order(), gone := Order()])
    session.commit()
    old, away = Row.of(order), Row.of(gone)
    session.delete(gone)
    order.name = "changed"
    session.commit()
    ended = run(
        sql,
        Ship(order=away), Ship(order=away, missing="fail"),
        Ship(order=old, stale="discard"), Ship(order=old, stale="fail"), Ship(order=old),
    )  # fmt: skip
    assert [state for state, _ in ended] == ["dead", "dead", "dead", "dead", "succeeded"]
    assert [why for _, why in ended][:4] == ["Discard", "RowMissing", "Discard", "RowStale"]


def test_a_row_is_not_loaded_through_an_async_session_itself() -> None:
    """`await row.load(...)` would give None for a row that is gone, whatever the policy."""
    with pytest.raises(ConfigurationError, match="run_sync"):
        Row(Order, (1,)).load(AsyncSession())  # type: ignore[arg-type]


def test_what_is_no_such_row_is_refused_when_it_is_enqueued(session: Session) -> None:
    session.add(line := Line(owner="ann", number=uuid.uuid4()))
    with pytest.raises(ValueError, match="has no key yet"):
        Row.of(Order())
    for value in (line, {"table": "orders", "key": []}, {"table": "orders", "key": ["x"]}, {"key": [1]}, 7, None):
        with pytest.raises(InvalidPayload):
            Jobs(session).enqueue(ship, {"order": value})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    session.rollback()
    assert Ship(order=Row(Order, (1,))) == Ship.model_validate({"order": {"table": "orders", "key": [1]}})
    assert Ship.model_json_schema()["properties"]["order"]["required"] == ["table", "key"]
