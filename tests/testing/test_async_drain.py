"""`async_drain`: an `AsyncSession`'s jobs, on its own connection and loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from jobforge_sa import AsyncContext, AsyncJobs, JobForge, Jobs, bind_tenant
from jobforge_sa.context import current_job
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.testing.database import TESTER, Database
from jobforge_sa.testing.drain import async_drain, drain
from jobforge_sa.testing.enqueued import assert_enqueued
from jobforge_sa.testing.jobs import JobsUnderTest
from tests.testing import shop
from tests.testing.shop import Order, Ship

Story = Callable[[AsyncSession], Awaitable[None]]


def play(database: Database, story: Story, driver: str = "psycopg") -> None:
    """Tell a story in a transaction of the tenant "a", and roll it back."""

    async def main() -> None:
        url = database.url(TESTER).set(drivername=f"postgresql+{driver}")
        if driver == "asyncpg":  # it wants the socket's folder elsewhere
            url = url.set(query={}, host=None)
        places = places_of(database) if driver == "asyncpg" else {}
        engine = create_async_engine(url, connect_args=places, poolclass=sa.NullPool)
        async with engine.connect() as connection, AsyncSession(connection) as session:
            bind_tenant(session, "a")
            await story(session)
            await connection.rollback()

    asyncio.run(main())


def places_of(database: Database) -> dict[str, Any]:
    url = database.url(TESTER)
    given = {name: url.query[name] for name in ("host", "port") if name in url.query}
    return {"host": given.get("host", url.host), "port": int(str(given.get("port", url.port or 5432)))}


async def ordered(session: AsyncSession, task: Any) -> Order:
    order = Order(tenant_id="a")
    session.add(order)
    await AsyncJobs(session).enqueue(task, lambda: Ship(order_id=order.id))
    return order


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_plain_and_async_handlers_run_on_its_connection(jobforge_shared: Database, driver: str) -> None:
    async def story(session: AsyncSession) -> None:
        order = await ordered(session, shop.ship)
        drained = await async_drain(session, shop.forge)

        assert [one.result for one in drained] == ["shipped", {"state": "shipped", "orders": 1}]
        await session.refresh(order)
        assert order.state == "shipped"
        assert len(await session.run_sync(assert_enqueued, shop.ship, {"order_id": order.id})) == 1
        assert current_job.get() is None

    play(jobforge_shared, story, driver)


@pytest.mark.parametrize("task", [shop.fail, shop.fail_async], ids=lambda task: task.name)
def test_errors_are_raised_and_their_work_undone(jobforge_shared: Database, task: Any) -> None:
    async def story(session: AsyncSession) -> None:
        order = await ordered(session, task)
        with pytest.raises(RuntimeError, match="no such carrier"):
            await async_drain(session, shop.forge)
        await session.refresh(order)
        assert order.state == "new"

    play(jobforge_shared, story)


def test_a_connection_will_do(jobforge_shared: Database) -> None:
    async def story(session: AsyncSession) -> None:
        await AsyncJobs(session).enqueue(shop.note, {"n": 1})
        assert [one.result for one in await async_drain(await session.connection(), shop.forge)] == [1]

    play(jobforge_shared, story)


# -- async handlers in a plain test ----------------------------------------------------

streaming = JobForge(tenant="a")
where: contextvars.ContextVar[str] = contextvars.ContextVar("where", default="the test")


@streaming.task("stream")
async def stream(ctx: AsyncContext, payload: dict[str, Any]) -> None:
    await ctx.session.stream(sa.text("select 1"))


@streaming.task("many")
async def many(ctx: AsyncContext, payload: dict[str, Any]) -> list[int]:
    where.set("the handler")
    one = await ctx.session.scalar(sa.text("select 1"))
    two = (await ctx.session.scalars(sa.text("select 2 union all select 3"))).all()
    await ctx.session.commit()
    await ctx.complete([one, *two])
    return []


def test_an_async_handler_has_its_session_on_a_connection_that_blocks(jobs: JobsUnderTest) -> None:
    Jobs(jobs.session).enqueue(many, {})
    assert drain(jobs.session, streaming).ran[0].result == [1, 2, 3]
    assert where.get() == "the test"


def test_one_that_streams_reads_what_to_do(jobs: JobsUnderTest) -> None:
    Jobs(jobs.session).enqueue(stream, {})
    with pytest.raises(ConfigurationError, match="await async_drain"):
        drain(jobs.session, streaming)


def test_in_a_running_loop_a_plain_drain_says_what_to_await(jobs: JobsUnderTest) -> None:
    Jobs(jobs.session).enqueue(many, {})

    async def main() -> None:
        drain(jobs.session, streaming)

    with pytest.raises(ConfigurationError, match="await async_drain"):
        asyncio.run(main())
