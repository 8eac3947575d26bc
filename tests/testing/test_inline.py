"""`inline`: each job runs where it is enqueued."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from jobforge_sa import AsyncJobs, Jobs, bind_tenant
from jobforge_sa.models import Job
from jobforge_sa.testing.database import TESTER, Database
from jobforge_sa.testing.inline import inline
from jobforge_sa.testing.jobs import JobsUnderTest
from tests.testing import shop
from tests.testing.shop import HOUR, Order, Ship


@pytest.fixture
def session(jobforge_session: Session) -> Session:
    bind_tenant(jobforge_session, "a")
    return jobforge_session


@pytest.fixture
def order(session: Session) -> Order:
    order = Order(tenant_id="a")
    session.add(order)
    session.flush()
    return order


def test_the_enqueue_returns_when_its_job_has_run(session: Session, order: Order, jobs: JobsUnderTest) -> None:
    with jobs.inline() as ran:
        answer = Jobs(session).enqueue(shop.ship, lambda: Ship(order_id=order.id))
        assert order.state == "shipped"
        assert [one.type for one in ran] == ["ship", "mail"]
        assert ran[0].id == answer.id
        Jobs(session).enqueue_many([shop.note.new({"n": n}) for n in (1, 2)])
        assert [one.result for one in ran[2:]] == [1, 2]
    Jobs(session).enqueue(shop.note, {"n": 3})
    assert len(ran) == 4, "behind the block jobs wait again"


def test_a_unit_of_works_jobs_run_at_the_end_of_its_flush(session: Session, jobs: JobsUnderTest) -> None:
    with jobs.inline() as ran:
        order = Order(tenant_id="a")
        session.add(order)
        job = Jobs(session).add(shop.ship, lambda: Ship(order_id=order.id))
        assert ran == []
        session.flush()
        assert (ran[0].id, order.state) == (job.id, "shipped")


def test_what_a_handler_raises_is_raised_at_the_enqueue(session: Session, order: Order, jobs: JobsUnderTest) -> None:
    with jobs.inline():
        with pytest.raises(RuntimeError, match="no such carrier") as caught:
            Jobs(session).enqueue(shop.fail, Ship(order_id=order.id))
        assert "test_inline.py" in str(caught.traceback[0].path)
    assert [job.state for job in session.scalars(sa.select(Job))] == ["scheduled"]


def test_what_it_raises_in_a_flush_fails_the_flush(session: Session, order: Order, jobs: JobsUnderTest) -> None:
    session.commit()
    with jobs.inline():
        Jobs(session).add(shop.fail, Ship(order_id=order.id))
        with pytest.raises(RuntimeError, match="no such carrier"):
            session.flush()
    session.rollback()
    assert session.scalars(sa.select(Job)).all() == []


def test_errors_can_be_left_on_record(session: Session, order: Order, jobs: JobsUnderTest) -> None:
    with jobs.inline(raise_errors=False) as ran:
        Jobs(session).enqueue(shop.fail, Ship(order_id=order.id))
        assert [one.outcome for one in ran] == ["failed"]
        assert order.state == "new"


def test_what_is_due_later_waits(session: Session, jobs: JobsUnderTest) -> None:
    with jobs.inline() as ran:
        Jobs(session).enqueue(shop.note, {}, delay=HOUR)
    assert ran == []


def test_a_commit_and_a_rollback_of_the_applications_change_nothing(session: Session, jobs: JobsUnderTest) -> None:
    with jobs.inline() as ran:
        Jobs(session).enqueue(shop.note, {"n": 1})
        session.commit()
        with session.begin_nested() as savepoint:
            Jobs(session).enqueue(shop.note, {"n": 2})
            savepoint.rollback()
        session.rollback()
        Jobs(session).enqueue(shop.note, {"n": 3})
    assert [one.result for one in ran] == [1, 2, 3]
    assert [job.payload["n"] for job in session.scalars(sa.select(Job).order_by(Job.id))] == [1, 3]


def test_a_session_that_begins_anew_is_watched_too(jobforge_database: Database) -> None:
    with Session(jobforge_database.engine(TESTER)) as session, inline(session, shop.forge) as ran:
        for n in (1, 2):
            Jobs(session, tenant="a").enqueue(shop.note, {"n": n})
            session.commit()
    assert [one.result for one in ran] == [1, 2]


def test_a_connection_will_do(jobforge_connection: sa.Connection) -> None:
    with inline(jobforge_connection, shop.forge) as ran:
        Jobs(jobforge_connection, tenant="a").enqueue(shop.note, {"n": 1})
    assert [one.result for one in ran] == [1]


def test_an_async_sessions_jobs_run_at_their_enqueue(jobforge_shared: Database) -> None:
    async def main() -> None:
        engine = create_async_engine(jobforge_shared.url(TESTER), poolclass=sa.NullPool)
        async with engine.connect() as connection, AsyncSession(connection) as session:
            bind_tenant(session, "a")
            await session.connection()
            with inline(session.sync_session, shop.forge) as ran:
                await AsyncJobs(session).enqueue(shop.note, {"n": 1})
            assert [one.result for one in ran] == [1]

    asyncio.run(main())
