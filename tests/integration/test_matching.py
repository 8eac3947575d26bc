"""Jobs.matching: the jobs that fit, changed batch by batch in the caller's transactions; its async twin."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Callable

import pytest
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from jobforge_sa import AsyncJobs, Context, JobForge, Jobs
from jobforge_sa.enqueue.matching import Matching
from jobforge_sa.errors import AccessDenied, InvalidJob, TenantRequired
from jobforge_sa.types import Batch
from tests.fix_postgres import Database

forge = JobForge()


class Number(BaseModel):
    n: int


@forge.task()
def one(ctx: Context, payload: Number) -> None: ...


@forge.task()
def other(ctx: Context, payload: Number) -> None: ...


def fill(database: Database, count: int, tenant: str = "a") -> None:
    with Session(database.engine("jf_app")) as session, session.begin():
        Jobs(session, tenant=tenant).enqueue_many(
            [task.new(Number(n=n)) for n in range(count) for task in (one, other)]
        )


def all_of(database: Database, call: Callable[[Matching, uuid.UUID | None], Batch]) -> list[Batch]:
    done, cursor = [], None
    while True:
        with Session(database.engine("jf_app")) as session, session.begin():
            done.append(call(Jobs(session, tenant="a").matching(type=one, queue="default"), cursor))
        if (cursor := done[-1].cursor) is None:
            return done


def count(database: Database, state: str, tenant: str = "a") -> int:
    with Session(database.engine("jf_app")) as session:
        return len(Jobs(session, tenant=tenant).list(state=state, limit=100).jobs)


def test_a_misspelt_filter_changes_nothing_and_is_named(database: Database) -> None:
    fill(database, 2)
    with Session(database.engine("jf_app")) as session, session.begin():
        with pytest.raises(InvalidJob, match="no filter 'typ'") as caught:
            Jobs(session, tenant="a").matching(typ=one).cancel()  # type: ignore[call-arg]
        assert caught.value.cure
        assert "type" in caught.value.cure
    assert count(database, "queued") == 4


def test_they_are_canceled_brought_back_and_moved_and_the_others_stay(database: Database) -> None:
    fill(database, 5)
    fill(database, 2, "b")
    done = all_of(database, lambda jobs, cursor: jobs.cancel(cursor=cursor, limit=2))
    assert [batch.changed for batch in done if batch.changed] == [2, 2, 1]
    assert (count(database, "canceled"), count(database, "queued"), count(database, "queued", "b")) == (5, 5, 4)
    assert sum(batch.changed for batch in all_of(database, lambda jobs, cursor: jobs.retry(cursor=cursor))) == 5
    hour = dt.timedelta(hours=1)
    all_of(database, lambda jobs, cursor: jobs.reschedule(delay=hour, cursor=cursor))
    assert (count(database, "scheduled"), count(database, "queued")) == (5, 5)


def test_a_batch_is_part_of_its_transaction_and_a_dry_run_changes_nothing(database: Database) -> None:
    fill(database, 2)
    with Session(database.engine("jf_app")) as session:
        assert Jobs(session, tenant="a").matching(type="one").cancel() == Batch(2, 0, None)
        session.rollback()
        assert Jobs(session, tenant="a").matching().cancel(dry_run=True) == Batch(4, 0, None)
        session.commit()
    assert count(database, "queued") == 4


def test_what_cannot_be_is_refused(database: Database) -> None:
    with Session(database.engine("jf_app")) as session:
        jobs = Jobs(session, tenant="a")
        with pytest.raises(InvalidJob, match="no job with the state"):
            jobs.matching(state="dead").cancel()
        session.rollback()
        with pytest.raises(InvalidJob, match="limit must be between") as caught:
            jobs.matching().cancel(limit=0)
        assert "next_cursor" not in str(caught.value)
        with pytest.raises(InvalidJob, match="since"):
            jobs.matching(since=dt.datetime(2026, 1, 1))
        session.rollback()
        with pytest.raises(AccessDenied, match="all tenants"):
            Jobs(session).matching(all_tenants=True).cancel()
        session.rollback()
        with pytest.raises(TenantRequired) as needed:
            Jobs(session).matching().cancel()
        assert "for enqueues alone: JobForge(tenant=...)" in needed.value.cure
        session.rollback()
        for name in ("bad name!", "x" * 101):
            with pytest.raises(InvalidJob, match="no name for a"):
                jobs.matching(type=name)
            with pytest.raises(InvalidJob, match="no name for a"):
                jobs.list(queue=name)


def test_an_async_session_does_the_same(database: Database) -> None:
    fill(database, 2)

    async def change() -> list[int]:
        engine = create_async_engine(database.url("jf_app"))
        async with AsyncSession(engine) as session, session.begin():
            these = AsyncJobs(session, tenant="a").matching(type=one)
            canceled = await these.cancel(limit=1)
            rest = await these.cancel(cursor=canceled.cursor)
            back = await these.retry(error=None)
            moved = await these.reschedule(delay=dt.timedelta(hours=1))
        await engine.dispose()
        return [batch.changed for batch in (canceled, rest, back, moved)]

    assert asyncio.run(change()) == [1, 1, 2, 2]
