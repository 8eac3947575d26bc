"""Sessions as Flask-SQLAlchemy, SQLModel and advanced-alchemy make them: jobs work in them as in SQLAlchemy's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import flask
import pytest
import sqlalchemy as sa
from advanced_alchemy.base import BigIntAuditBase
from advanced_alchemy.config import AsyncSessionConfig, SQLAlchemyAsyncConfig, SQLAlchemySyncConfig
from advanced_alchemy.config.routing import RoutingConfig
from advanced_alchemy.repository import SQLAlchemyAsyncRepository, SQLAlchemySyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService, SQLAlchemySyncRepositoryService
from flask_sqlalchemy import SQLAlchemy
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, selectinload, sessionmaker
from sqlmodel import Field, SQLModel
from sqlmodel import Session as ModelSession
from sqlmodel.ext.asyncio.session import AsyncSession as AsyncModelSession

from jobforge_sa import AsyncJobs, Context, HasJobs, JobForge, Jobs, Row, Task, Worker, bind_tenant
from jobforge_sa.errors import JobsDroppedWarning, TenantRequired
from jobforge_sa.models import Job
from tests.support import Sql, one_database

# advanced-alchemy's own before 1.12, which wants a newer SQLAlchemy than the oldest that we admit
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated function 'set_async_context':DeprecationWarning")

forge = JobForge()


# --- the models of three applications ----------------------------------------------------------------------


class FlaskBase(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=FlaskBase, session_options={"expire_on_commit": False})


class FlaskOrder(HasJobs, db.Model):  # type: ignore[name-defined,misc]
    __tablename__ = "flask_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Elsewhere(db.Model):  # type: ignore[name-defined,misc]
    """In another database than the jobs."""

    __bind_key__ = "other"

    id: Mapped[int] = mapped_column(primary_key=True)


class ModelOrder(HasJobs, SQLModel, table=True):
    __tablename__ = "model_orders"

    id: int | None = Field(default=None, primary_key=True)
    name: str


class AlchemyOrder(HasJobs, BigIntAuditBase):
    __tablename__ = "alchemy_orders"

    name: Mapped[str]


class ShipFlask(BaseModel):
    order: Row[FlaskOrder]


class ShipModel(SQLModel):
    order: Row[ModelOrder]


class ShipAlchemy(BaseModel):
    order: Row[AlchemyOrder]


def shipped(ctx: Context, order: Row[Any]) -> str:
    row = order.load(ctx.session)
    row.name += " shipped"
    return str(row.name)


@forge.task()
def ship_flask(ctx: Context, payload: ShipFlask) -> str:
    return shipped(ctx, payload.order)


@forge.task()
def ship_model(ctx: Context, payload: ShipModel) -> str:
    return shipped(ctx, payload.order)


@forge.task()
def ship_alchemy(ctx: Context, payload: ShipAlchemy) -> str:
    return shipped(ctx, payload.order)


class Orders(SQLAlchemySyncRepository[AlchemyOrder]):
    model_type = AlchemyOrder


class AsyncOrders(SQLAlchemyAsyncRepository[AlchemyOrder]):
    model_type = AlchemyOrder


class OrderService(SQLAlchemySyncRepositoryService[AlchemyOrder, Orders]):
    repository_type = Orders


class AsyncOrderService(SQLAlchemyAsyncRepositoryService[AlchemyOrder, AsyncOrders]):
    repository_type = AsyncOrders


AnySession = Session | scoped_session[Any]


@dataclass
class Host:
    """An application: its row, the task and payload of it, and how it opens a session."""

    order: Any
    task: Task[Any, Any]
    payload: Any
    session: Callable[[], AbstractContextManager[AnySession]]

    def ship(self, order: Any) -> Callable[[], Any]:
        """A payload that knows its row's key once it has one."""
        return lambda: self.payload(order=Row.of(order))


@dataclass
class AsyncHost:
    order: Any
    task: Task[Any, Any]
    payload: Any
    engine: Any
    session: Callable[[], AbstractAsyncContextManager[AsyncSession]]

    def ship(self, order: Any) -> Callable[[], Any]:
        return lambda: self.payload(order=Row.of(order))


# --- a database with all of their tables -------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Sql]:
    with one_database(admin_url, template) as database, Sql(database) as sql:
        engine = database.engine()
        for table in (FlaskOrder.__table__, SQLModel.metadata.tables["model_orders"], AlchemyOrder.__table__):
            cast(sa.Table, table).create(engine)
        sql.session("postgres").execute("grant all on all tables in schema public to jf_one")
        sql.session("postgres").execute("grant all on all sequences in schema public to jf_one")
        yield sql


@pytest.fixture
def sql(shared: Sql) -> Iterator[Sql]:
    yield shared
    shared.clean()
    with shared.database.engine().begin() as c:
        c.execute(sa.text("truncate flask_orders, model_orders, alchemy_orders"))


def url_of(sql: Sql, driver: str = "psycopg") -> str:
    return sql.database.url("jf_one").set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)


@pytest.fixture
def app(shared: Sql) -> Iterator[flask.Flask]:
    made = flask.Flask("shop")
    made.config["SQLALCHEMY_DATABASE_URI"] = url_of(shared)
    made.config["SQLALCHEMY_BINDS"] = {"other": "sqlite://"}
    made.extensions.pop("sqlalchemy", None)
    db.init_app(made)
    yield made
    with made.app_context():
        for engine in db.engines.values():
            engine.dispose()


@pytest.fixture
def config(shared: Sql) -> Iterator[SQLAlchemySyncConfig]:
    made = SQLAlchemySyncConfig(connection_string=url_of(shared))
    yield made
    made.get_engine().dispose()


@pytest.fixture(params=["flask", "sqlmodel", "alchemy"])
def host(request: pytest.FixtureRequest, sql: Sql) -> Host:
    if request.param == "flask":
        app: flask.Flask = request.getfixturevalue("app")

        @contextmanager
        def scope() -> Iterator[AnySession]:
            with app.app_context():
                yield db.session

        return Host(FlaskOrder, ship_flask, ShipFlask, scope)
    if request.param == "sqlmodel":
        engine = sql.database.engine("jf_one")
        return Host(ModelOrder, ship_model, ShipModel, lambda: ModelSession(engine))
    config: SQLAlchemySyncConfig = request.getfixturevalue("config")
    return Host(AlchemyOrder, ship_alchemy, ShipAlchemy, config.get_session)


def jobs_of(sql: Sql, tenant: str = "a") -> list[tuple[str, str]]:
    rows = sql.look(
        "select subject, state from jobforge.all_jobs where tenant_id = %s order by id", tenant, user="jf_admin"
    )
    return [(row["subject"], row["state"]) for row in rows]


# --- what an application does, in each of them -------------------------------------------------------------


def test_jobs_commit_and_roll_back_with_the_frameworks_session(host: Host, sql: Sql) -> None:
    with host.session() as session:
        bind_tenant(session, "a")
        jobs = Jobs(session)
        order = host.order(name="kept")
        session.add(order)
        kept = jobs.enqueue(host.task, host.ship(order), subject=order)
        assert jobs_of(sql) == []
        session.commit()
        name = f"{host.order.__tablename__}:{order.id}"
        jobs.enqueue(host.task, host.ship(order))
        jobs.add(host.task, host.ship(order))
        session.rollback()
        added = jobs.add(host.task, host.ship(order), subject=order)
        with session.begin_nested() as savepoint:
            jobs.add(host.task, host.ship(order))
            jobs.enqueue(host.task, host.ship(order))
            savepoint.rollback()
        session.commit()
        assert [job.id for job in jobs.list().jobs] == [added.id, kept.id]
    assert jobs_of(sql) == [(name, "queued")] * 2


def test_many_new_rows_and_their_jobs_are_one_flush(host: Host, sql: Sql) -> None:
    with host.session() as session:
        bind_tenant(session, "a")
        orders = [host.order(name=f"n{n}") for n in range(5)]
        session.add_all(orders)
        handles = [order.add_job(host.task, host.ship(order)) for order in orders]
        session.flush()
        assert None not in [handle.id for handle in handles]
        session.commit()
        names = [f"{host.order.__tablename__}:{order.id}" for order in orders]
    assert [subject for subject, _ in jobs_of(sql)] == names


def test_a_bound_session_is_its_tenants_in_every_transaction_and_the_next_one_is_nobodys(host: Host, sql: Sql) -> None:
    with host.session() as session:
        bind_tenant(session, "a")
        for end in (session.commit, session.rollback):
            assert session.scalar(sa.select(sa.func.jobforge.current_tenant())) == "a"
            end()
        session.add(order := host.order(name="x"))
        order.add_job(host.task, host.ship(order))
        session.commit()
        assert len(session.scalars(sa.select(Job)).all()) == 1
    with host.session() as session:
        assert session.scalars(sa.select(Job)).all() == []
        with pytest.raises(TenantRequired):
            Jobs(session).enqueue(host.task, host.ship(session.scalars(sa.select(host.order)).one()))
        session.rollback()
    with host.session() as session:
        bind_tenant(session, "b")
        assert session.scalars(sa.select(host.order)).one().jobs == []


def test_a_row_has_its_jobs_and_takes_them_along(host: Host, sql: Sql) -> None:
    with host.session() as session:
        bind_tenant(session, "a")
        session.add_all([order := host.order(name="x"), other := host.order(name="y")])
        job = order.add_job(host.task, host.ship(order))
        session.commit()
        assert [one.id for one in order.jobs] == [job.id]
        assert session.scalars(sa.select(host.order).where(host.order.jobs.any(Job.state == "queued"))).all() == [order]
        found = session.scalars(sa.select(host.order).options(selectinload(host.order.jobs))).all()
        assert {one.id: len(one.__dict__["jobs"]) for one in found} == {order.id: 1, other.id: 0}
        session.delete(order)
        session.commit()
    assert [state for _, state in jobs_of(sql)] == ["canceled"]


def test_a_row_in_a_payload_is_loaded_by_the_handler(host: Host, sql: Sql) -> None:
    with host.session() as session:
        bind_tenant(session, "a")
        session.add(order := host.order(name="x"))
        Jobs(session).add(host.task, host.ship(order))
        session.commit()
        order_id = order.id
    with Worker(sql.database.engine("jf_one"), forge) as worker:
        assert worker.drain(timeout=20)
    with host.session() as session:
        assert session.get_one(host.order, order_id).name == "x shipped"
        session.rollback()
    (job,) = sql.look("select payload, result from jobforge.all_jobs", user="jf_admin")
    assert job["payload"] == {"order": {"table": host.order.__tablename__, "key": [order_id]}}
    assert job["result"] == "x shipped"


def test_a_factory_is_bound_once_for_a_single_tenant(host: Host, app: flask.Flask, sql: Sql) -> None:
    with host.session() as session:
        made = session.session_factory if isinstance(session, scoped_session) else None
    factory = made or sessionmaker(sql.database.engine("jf_one"), class_=type(session))  # of AnySession
    if host.order is AlchemyOrder:
        factory = cast(sessionmaker[Any], SQLAlchemySyncConfig(connection_string=url_of(sql)).create_session_maker())
    bind_tenant(factory, "a")
    try:
        with host.session() if made else factory() as session:
            session.add(order := host.order(name="x"))
            order.add_job(host.task, host.ship(order))
            session.commit()
    finally:
        if host.order is AlchemyOrder:
            factory.kw["bind"].dispose()
        factory.kw["info"].clear()  # Flask-SQLAlchemy's is the module's
    assert len(jobs_of(sql)) == 1


# --- each one's own ways -----------------------------------------------------------------------------------


def test_a_flask_request_that_fails_leaves_no_job_and_the_next_one_works(app: flask.Flask, sql: Sql) -> None:
    @app.before_request
    def tenant() -> None:
        bind_tenant(db.session, flask.request.headers["X-Tenant"])

    @app.post("/<int:broken>")
    def order(broken: int) -> str:
        db.session.add(order := FlaskOrder(name="x"))
        order.add_job(ship_flask, lambda: ShipFlask(order=Row.of(order)))
        Jobs(db.session).enqueue(ship_flask, lambda: ShipFlask(order=Row.of(order)))
        if broken:
            raise ZeroDivisionError
        db.session.commit()
        return str(order.id)

    client = app.test_client()
    assert client.post("/1", headers={"X-Tenant": "a"}).status_code == 500
    order_id = client.post("/0", headers={"X-Tenant": "a"}).text
    client.post("/0", headers={"X-Tenant": "b"})
    assert jobs_of(sql) == [(f"flask_orders:{order_id}", "queued"), (None, "queued")]
    assert len(jobs_of(sql, "b")) == 2


def test_a_flask_request_that_forgets_to_commit_is_told_of_its_jobs(app: flask.Flask, sql: Sql) -> None:
    def forget() -> None:
        with app.app_context():
            bind_tenant(db.session, "a")
            Jobs(db.session).add(ship_flask, ShipFlask(order=Row(FlaskOrder, (1,))))

    with pytest.warns(JobsDroppedWarning, match="ship_flask"):
        forget()
    assert jobs_of(sql) == []


def test_jobs_of_flask_go_to_the_default_database_also_beside_rows_of_another(app: flask.Flask, sql: Sql) -> None:
    with app.app_context():
        Elsewhere.__table__.create(db.engines["other"])
        Jobs(db.session, tenant="a").add(ship_flask, ShipFlask(order=Row(FlaskOrder, (1,))))
        db.session.add(Elsewhere())
        db.session.commit()
        assert len(db.session.scalars(sa.select(Elsewhere)).all()) == 1
    assert len(jobs_of(sql)) == 1


def test_services_and_repositories_flush_the_jobs_and_keep_their_own_ways(
    config: SQLAlchemySyncConfig, sql: Sql
) -> None:
    with config.get_session() as session:
        bind_tenant(session, "a")
        jobs, service = Jobs(session), OrderService(session=session)
        order = AlchemyOrder(name="x")
        first = jobs.add(ship_alchemy, lambda: ShipAlchemy(order=Row.of(order)))
        service.create(order)
        assert first.id is not None  # the repository has flushed
        many = service.create_many([{"name": "y"}, {"name": "z"}])
        for one in many:
            one.add_job(ship_alchemy, ShipAlchemy(order=Row.of(one)))
        session.commit()
        created = order.updated_at
        last = order.add_job(ship_alchemy, ShipAlchemy(order=Row.of(order)))
        service.update({"name": "new"}, item_id=order.id, auto_commit=True)
        assert last.id is not None
        assert order.updated_at > created
        service.delete(order.id, auto_commit=True)
    assert len(jobs_of(sql)) == 4
    assert jobs_of(sql)[-1] == (f"alchemy_orders:{order.id}", "canceled")


class Recipe(Session):
    """Writes go to one engine and reads to another, as SQLAlchemy's documentation does it."""

    engines: dict[str, sa.Engine]

    def get_bind(self, *_: Any, clause: Any = None, **__: Any) -> sa.Engine:
        writes = self._flushing or isinstance(clause, sa.Update | sa.Delete)
        return self.engines["writer" if writes else "reader"]


@pytest.mark.parametrize("kind", ["recipe", "alchemy"])
def test_jobs_go_where_the_session_writes(kind: str, sql: Sql) -> None:
    url = sa.make_url(url_of(sql))
    urls = {"writer": url, "reader": url.update_query_dict({"options": "-c default_transaction_read_only=on"})}
    texts = {name: one.render_as_string(hide_password=False) for name, one in urls.items()}
    routing = RoutingConfig(primary_connection_string=texts["writer"], read_replicas=[texts["reader"]])
    config = SQLAlchemySyncConfig(routing_config=routing)
    Recipe.engines = {name: sa.create_engine(one, poolclass=sa.NullPool) for name, one in urls.items()}
    with config.create_session_maker()() if kind == "alchemy" else Recipe() as session:
        bind_tenant(session, "a")
        assert session.scalar(sa.text("show transaction_read_only")) == "on"
        Jobs(session).enqueue(ship_alchemy, ShipAlchemy(order=Row(AlchemyOrder, (1,))))
        session.commit()
        session.add(order := AlchemyOrder(name="x"))
        order.add_job(ship_alchemy, ShipAlchemy(order=Row(AlchemyOrder, (1,))))
        session.commit()
        assert len(session.scalars(sa.select(Job)).all()) == 2
        session.commit()
    if kind == "alchemy":
        cast(Any, config.session_maker).close_all()
    assert len(jobs_of(sql)) == 2


# --- the same, asynchronously ------------------------------------------------------------------------------


def hosted(kind: str, url: str) -> AsyncHost:
    if kind == "sqlmodel":
        engine = create_async_engine(url)
        return AsyncHost(ModelOrder, ship_model, ShipModel, engine, lambda: AsyncModelSession(engine))
    config = SQLAlchemyAsyncConfig(connection_string=url, session_config=AsyncSessionConfig(expire_on_commit=False))
    return AsyncHost(AlchemyOrder, ship_alchemy, ShipAlchemy, config.get_engine(), config.get_session)


async def read(session: AsyncSession, query: sa.Select[Any]) -> list[Any]:
    return await session.run_sync(lambda sync: [*sync.scalars(query)])  # SQLModel deprecates its execute and scalars


ASYNC = pytest.mark.parametrize("kind", ["sqlmodel", "alchemy"])


def story(kind: str, url: str, told: Callable[[AsyncHost], Awaitable[None]]) -> None:
    async def main() -> None:
        host = hosted(kind, url)
        try:
            await told(host)
        finally:
            await host.engine.dispose()

    asyncio.run(main())


@ASYNC
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_async_sessions_do_the_same(kind: str, driver: str, sql: Sql) -> None:
    async def told(host: AsyncHost) -> None:
        async with host.session() as session:
            bind_tenant(session, "a")
            jobs = AsyncJobs(session)
            session.add(order := host.order(name="x"))
            await jobs.enqueue(host.task, host.ship(order), subject=order)
            jobs.add(host.task, host.ship(order))
            await session.rollback()
            session.add(order := host.order(name="y"))
            order.add_job(host.task, host.ship(order))
            jobs.add(host.task, host.ship(order), subject=order)
            savepoint = await session.begin_nested()
            await jobs.enqueue(host.task, host.ship(order))
            await savepoint.rollback()
            await session.commit()
            await session.refresh(order, ["id", "jobs"])
            assert [job.subject for job in order.jobs] == [f"{host.order.__tablename__}:{order.id}"] * 2
            loaded = sa.select(host.order).options(selectinload(host.order.jobs))
            assert len((await read(session, loaded))[0].jobs) == 2
            await session.delete(order)
            await session.commit()
        async with host.session() as session:
            assert await read(session, sa.select(Job)) == []

    story(kind, url_of(sql, driver), told)
    assert [state for _, state in jobs_of(sql)] == ["canceled"] * 2


def test_an_async_service_and_repository_too(sql: Sql) -> None:
    async def told(host: AsyncHost) -> None:
        async with host.session() as session:
            bind_tenant(session, "a")
            service = AsyncOrderService(session=session)
            order = AlchemyOrder(name="x")
            first = AsyncJobs(session).add(ship_alchemy, lambda: ShipAlchemy(order=Row.of(order)))
            await service.create(order)
            assert first.id is not None
            last = order.add_job(ship_alchemy, ShipAlchemy(order=Row.of(order)))
            await service.update({"name": "new"}, item_id=order.id, auto_commit=True)
            assert last.id is not None
            await AsyncOrders(session=session).delete(order.id, auto_commit=True)

    story("alchemy", url_of(sql, "asyncpg"), told)
    assert [state for _, state in jobs_of(sql)] == ["queued", "canceled"]


@ASYNC
def test_an_async_factory_is_bound_once_for_a_single_tenant(kind: str, sql: Sql) -> None:
    async def main() -> None:
        factory: Any = async_sessionmaker(create_async_engine(url_of(sql, "asyncpg")), class_=AsyncModelSession)
        if kind == "alchemy":
            factory = SQLAlchemyAsyncConfig(connection_string=url_of(sql, "asyncpg")).create_session_maker()
        bind_tenant(factory, "a")
        bind_tenant(factory, "a")
        host = hosted(kind, url_of(sql, "asyncpg"))
        async with factory() as session:
            for _ in range(2):
                assert await session.scalar(sa.select(sa.func.jobforge.current_tenant())) == "a"
                session.add(order := host.order(name="x"))
                order.add_job(host.task, host.ship(order))
                await session.commit()
        await factory.kw["bind"].dispose()
        await host.engine.dispose()

    asyncio.run(main())
    assert len(jobs_of(sql)) == 2
