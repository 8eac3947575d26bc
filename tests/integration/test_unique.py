"""Unique keys from Python: per task and per call, debounced and merged, one by one, in bulk, in the unit of work."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from jobforge_sa import AsyncJobs, Context, JobForge, Jobs
from jobforge_sa.errors import ConfigurationError, InvalidJob, InvalidPayload, WrongState
from jobforge_sa.testing.enqueued import assert_enqueued
from tests.support import Sql


class Index(BaseModel):
    user: int
    fields: set[str] = set()


def both(waiting: Index, new: Index) -> Index:
    return Index(user=new.user, fields=waiting.fields | new.fields)


forge = JobForge(tenant="a")


@forge.task()
def plain(ctx: Context, payload: Index) -> None: ...


@forge.task(unique_key=lambda payload: f"user:{payload.user}")
def once(ctx: Context, payload: Index) -> None: ...


@forge.task(unique_key=lambda payload: f"user:{payload.user}", debounce=dt.timedelta(seconds=5))
def later(ctx: Context, payload: Index) -> None: ...


@forge.task(unique_key=lambda payload: f"user:{payload.user}", merge=both, queue="index")
def merging(ctx: Context, payload: Index) -> None: ...


@forge.task(unique_key="one", on_duplicate="replace")
def replacing(ctx: Context, payload: Index) -> None: ...


@pytest.fixture(scope="module", params=["psycopg", "psycopg2"])
def engine(request: pytest.FixtureRequest, shared: Sql) -> Iterator[sa.Engine]:
    engine = sa.create_engine(shared.database.url("jf_app").set(drivername=f"postgresql+{request.param}"))
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: sa.Engine, sql: Sql) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


def test_a_key_of_the_task_or_of_the_call_keeps_a_second_job_away(session: Session) -> None:
    jobs = Jobs(session)
    first = jobs.enqueue(once, Index(user=1))
    assert jobs.enqueue(once, Index(user=1)).id == first.id
    assert jobs.enqueue(once, Index(user=2)).created
    assert jobs.enqueue(once, Index(user=1), unique_key="x").created
    assert jobs.enqueue(once, Index(user=1), unique_key=None).created
    assert jobs.enqueue(plain, Index(user=1), unique_key="x").created
    assert not jobs.enqueue(plain, Index(user=1), unique_key=lambda _: "x").created
    assert jobs.get(first.id).unique_key == "user:1"


def test_debounce_runs_once_when_the_window_ends_with_the_last_payload(session: Session, sql: Sql) -> None:
    jobs, clock = Jobs(session, tenant="a"), sql.clock()
    due = clock.now() + dt.timedelta(seconds=5)
    first = jobs.enqueue(later, Index(user=1, fields={"a"}))
    session.commit()
    clock.advance(seconds=4)
    second = jobs.enqueue(later, Index(user=1, fields={"b"}))
    session.commit()
    assert (second.id, second.created, second.payload_differs) == (first.id, False, True)
    found = jobs.get(first.id)
    assert (found.payload["fields"], found.due_at) == (["b"], due)
    clock.advance(seconds=1)
    (run,) = sql.claim(types=["later"])
    assert jobs.enqueue(later, Index(user=1)).created, "a running one has read its payload"
    assert run["payload"] == '{"user":1,"fields":["b"]}'


def test_payloads_of_waiting_jobs_are_merged_by_the_tasks_own_function(session: Session, sql: Sql) -> None:
    jobs = Jobs(session)
    first = jobs.enqueue(merging, Index(user=1, fields={"a"}))
    second = jobs.enqueue(merging, Index(user=1, fields={"b"}))
    assert (second.id, second.created) == (first.id, False)
    assert_enqueued(session, merging, lambda payload: sorted(payload["fields"]) == ["a", "b"], count=1)
    session.commit()
    sql.claim(types=["merging"], queues=["index"])
    assert jobs.enqueue(merging, Index(user=1, fields={"c"})).created


def test_sixteen_that_merge_at_once_lose_none_of_their_payloads(engine: sa.Engine, sql: Sql) -> None:
    def one(name: str) -> None:
        with Session(engine) as session:
            Jobs(session).enqueue(merging, Index(user=1, fields={name}))
            session.commit()

    names = [f"f{n:02}" for n in range(16)]
    sql.together([lambda name=name: one(name) for name in names])  # type: ignore[misc]
    with Session(engine) as session:
        assert_enqueued(session, merging, lambda payload: sorted(payload["fields"]) == names, count=1)


def test_in_bulk_and_in_the_unit_of_work_keys_count_as_one_by_one(session: Session) -> None:
    jobs = Jobs(session)
    rows = jobs.enqueue_many(
        [
            merging.new(Index(user=1, fields={"a"})),
            once.new(Index(user=1)),
            merging.new(Index(user=1, fields={"b"})),
            once.new(Index(user=1)),
            plain.new(Index(user=1)),
        ]
    )
    assert [row.created for row in rows] == [True, True, False, False, True]
    added = [jobs.add(merging, Index(user=1, fields={"c"})), jobs.add(once, lambda: Index(user=1))]
    session.flush()
    assert [job.id for job in added] == [rows[0].id, rows[1].id]
    assert sorted(jobs.get(rows[0].id).payload["fields"]) == ["a", "b", "c"]


def test_a_waiting_payload_that_no_longer_fits_is_said_and_nothing_is_lost(session: Session, sql: Sql) -> None:
    job = sql.enqueue("a", "merging", {"old": 1}, unique_key="user:1")
    with pytest.raises(InvalidPayload, match="waiting job's payload") as caught:
        Jobs(session).enqueue(merging, Index(user=1))
    assert "cure: cancel that job" in str(caught.value)
    session.rollback()
    assert sql.job(job)["payload"] == {"old": 1}


@pytest.mark.parametrize(
    ("task", "options", "word"),
    [
        (once, {"idempotency_key": "i"}, "unique_key=None"),
        (plain, {"on_duplicate": "keep"}, "without a unique_key"),
        (plain, {"unique_key": "k", "on_duplicate": "drop"}, "keep, replace or merge"),
        (plain, {"unique_key": "k", "on_duplicate": "merge"}, "cannot merge"),
        (plain, {"unique_key": ""}, "1 to 200"),
        (plain, {"unique_key": lambda _: 5}, "1 to 200"),
        (plain, {"debounce": dt.timedelta(seconds=1)}, "without a unique_key"),
        (later, {"delay": dt.timedelta(seconds=1)}, "beside delay"),
        (later, {"debounce": dt.timedelta(0)}, "timedelta from"),
    ],
)
def test_what_cannot_be_is_refused_at_the_line_that_asks_for_it(
    session: Session, task: Any, options: dict[str, Any], word: str
) -> None:
    for way in (Jobs(session).enqueue, Jobs(session).add):
        with pytest.raises(InvalidJob, match=word):
            way(task, Index(user=1), **options)
    with pytest.raises(InvalidJob, match=word):
        Jobs(session).enqueue_many([task.new(Index(user=1), **options)])


def test_a_retry_is_refused_while_another_job_has_the_key(session: Session, sql: Sql) -> None:
    jobs = Jobs(session)
    first = jobs.enqueue(once, Index(user=1))
    jobs.cancel(first.id)
    jobs.enqueue(once, Index(user=1))
    with pytest.raises(WrongState, match="unique key"):
        jobs.retry(first.id)


async def merged_async(sql: Sql, driver: str) -> list[str]:
    engine = create_async_engine(sql.database.url("jf_app").set(drivername=f"postgresql+{driver}"))
    async with AsyncSession(engine) as session:
        jobs = AsyncJobs(session)
        first = await jobs.enqueue(merging, Index(user=1, fields={"a"}))
        await jobs.enqueue(merging, Index(user=1, fields={"b"}))
        found = await jobs.get(first.id)
        await session.commit()
    await engine.dispose()
    return sorted(found.payload["fields"])


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_async_sessions_merge_as_well(sql: Sql, driver: str) -> None:
    assert asyncio.run(merged_async(sql, driver)) == ["a", "b"]


def test_a_merge_is_refused_in_autocommit_where_no_lock_outlives_its_statement(engine: sa.Engine, sql: Sql) -> None:
    job = sql.enqueue("a", "merging", {"user": 1, "fields": ["a"]}, unique_key="user:1")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        jobs = Jobs(connection, tenant="a")
        with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            jobs.enqueue(merging, Index(user=1, fields={"b"}))
        assert jobs.enqueue(merging, Index(user=1, fields={"c"}), on_duplicate="replace").id == job
    assert sql.job(job)["payload"]["fields"] == ["c"]


def test_what_was_merged_in_a_savepoint_goes_with_it(session: Session, sql: Sql) -> None:
    jobs = Jobs(session)
    first = jobs.enqueue(merging, Index(user=1, fields={"a"}))
    with session.begin_nested() as savepoint:
        jobs.add(merging, Index(user=1, fields={"b"}))
        jobs.add(merging, Index(user=2))
        session.flush()
        savepoint.rollback()
    assert not jobs.enqueue(merging, Index(user=1, fields={"c"})).created
    assert jobs.enqueue(merging, Index(user=2)).created
    session.commit()
    assert sorted(sql.job(first.id)["payload"]["fields"]) == ["a", "c"]


def test_a_key_that_is_switched_off_takes_with_it_what_the_task_says_of_duplicates(session: Session) -> None:
    jobs = Jobs(session)
    tasks: list[Any] = [later, replacing]
    for task in tasks:
        first = jobs.enqueue(task, Index(user=1))
        second = jobs.enqueue(task, Index(user=1), unique_key=None)
        assert (second.created, second.id != first.id) == (True, True)
        assert jobs.get(second.id).state == "queued"
