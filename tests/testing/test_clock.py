"""The clock of a test: what the database takes for now, in one transaction of a database made for tests."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Jobs, bind_tenant
from jobforge_sa.db import migrate
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.models import Job
from jobforge_sa.ops.doctor import drift
from jobforge_sa.testing.clock import Clock, make_settable
from jobforge_sa.testing.database import Database
from jobforge_sa.testing.jobs import JobsUnderTest
from tests.testing import shop
from tests.testing.shop import HOUR

MONDAY = dt.datetime(2031, 3, 3, 9, tzinfo=dt.UTC)
NOW = sa.text("select jobforge.now()")


@pytest.fixture
def session(jobforge_session: Session) -> Session:
    bind_tenant(jobforge_session, "a")
    return jobforge_session


def real() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def test_it_goes_on_by_itself_until_it_is_moved(jobs: JobsUnderTest) -> None:
    assert abs(jobs.clock.now() - real()) < dt.timedelta(seconds=30)
    assert not jobs.clock.frozen
    moved = jobs.clock.move(HOUR)
    assert abs(moved - real() - HOUR) < dt.timedelta(seconds=30)
    assert jobs.clock.now() > moved
    assert jobs.clock.move(-2 * HOUR) < real()


def test_it_stands_still_where_it_is_frozen(session: Session, jobs: JobsUnderTest) -> None:
    assert jobs.clock.freeze(MONDAY) == jobs.clock.now() == jobs.clock.now() == MONDAY
    Jobs(session).enqueue(shop.note, {}, delay=HOUR)
    job = session.scalars(sa.select(Job)).one()

    assert (job.created_at, job.run_at) == (MONDAY, MONDAY + HOUR)
    assert not jobs.drain()
    assert jobs.clock.move(HOUR) == MONDAY + HOUR
    assert len(jobs.drain()) == 1
    assert jobs.clock.set(MONDAY) == MONDAY
    assert jobs.clock.frozen
    assert jobs.clock.resume() >= MONDAY
    assert jobs.clock.now() < jobs.clock.now()


def test_a_drain_moves_it_to_each_moment_in_its_turn(session: Session, jobs: JobsUnderTest) -> None:
    jobs.clock.freeze(MONDAY)
    for hours in (5, 1, 3):
        Jobs(session).enqueue(shop.note, {"n": hours}, delay=hours * HOUR)
    drained = jobs.drain(scheduled=True)

    assert [one.result for one in drained] == [1, 3, 5]
    assert [one.job.finished_at for one in drained if one.job] == [MONDAY + hours * HOUR for hours in (1, 3, 5)]
    assert jobs.clock.now() == MONDAY + 5 * HOUR


def test_a_rollback_does_not_turn_it_back(session: Session, jobs: JobsUnderTest) -> None:
    session.execute(NOW)
    with session.begin_nested() as savepoint:
        jobs.clock.freeze(MONDAY)
        savepoint.rollback()
    assert jobs.clock.now() == MONDAY
    jobs.clock.move(HOUR)
    session.rollback()
    assert session.scalar(NOW) == MONDAY + HOUR


def test_nobody_else_sees_it(jobs: JobsUnderTest, jobforge_engine: sa.Engine) -> None:
    jobs.clock.freeze(MONDAY)
    with jobforge_engine.connect() as other:
        assert abs(other.scalar(NOW) - real()) < dt.timedelta(seconds=30)
    jobs.clock._connection.rollback()
    assert abs(jobs.clock.now() - real()) < dt.timedelta(seconds=30), "it ends with the transaction"


def test_in_a_frozen_clock_first_in_is_first_out_also_in_bulk(session: Session, jobs: JobsUnderTest) -> None:
    jobs.clock.freeze(MONDAY)
    many = Jobs(session).enqueue_many([shop.note.new({"n": n}) for n in range(50)])
    single = [Jobs(session).enqueue(shop.note, {"n": n}) for n in range(20)]

    for answers in (many, single):
        ids = [answer.id for answer in answers]
        assert ids == sorted(set(ids))
        assert {found.version for found in ids} == {7}


def test_a_moment_needs_a_zone(jobs: JobsUnderTest) -> None:
    with pytest.raises(ConfigurationError, match="no time zone"):
        jobs.clock.set(dt.datetime(2031, 3, 3))


def test_a_database_that_was_not_made_for_tests_keeps_its_time(database: Database) -> None:
    with database.engine("jf_one").connect() as connection:
        with pytest.raises(ConfigurationError, match=r"make_settable\(engine\)"):
            Clock(connection).move(HOUR)
        with pytest.raises(ConfigurationError, match=r"make_settable\(engine\)"):
            Clock(connection).freeze()
        assert abs(connection.scalar(NOW) - real()) < dt.timedelta(seconds=30)


def test_the_doctor_finds_it_where_it_has_no_place(database: Database) -> None:
    engine = database.engine()
    make_settable(engine)
    with engine.connect() as connection:
        found = drift.find(connection, migrate.head() or "") or []
    assert sorted(name for one in found for name in one.objects) == [
        "function jobforge.new_job_id",
        "function jobforge.now",
    ]
    assert {one.level for one in found} == {"error"}
