"""The upkeep of a worker: what it deletes, and that nothing which it cannot delete keeps it from rescuing."""

from __future__ import annotations

import datetime as dt
import logging
import uuid

import pytest
import sqlalchemy as sa

from jobforge_sa import Context
from tests.fix_postgres import Database
from tests.integration.test_worker import Number, Shop
from tests.support import wait_for

DEAD = """
select job_id from jobforge.claim_jobs(cast(:worker as uuid), '{default}', '{good}', p_alive => interval '1 second')"""


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


def outcomes(shop: Shop, type_: str) -> int:
    query = "select count(*) from jobforge.outcomes o join jobforge.jobs j on j.id = o.job_id where j.type = :type"
    with shop.admin.connect() as c:
        return int(c.scalar(sa.text(query), {"type": type_}) or 0)


def test_what_cannot_be_deleted_keeps_no_dead_workers_job_from_being_rescued(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """A table of the application's refers to a job: each delete of it raises, in each upkeep of each worker."""

    @shop.task()
    def good(ctx: Context, payload: Number) -> None: ...

    first = shop.enqueue(good)
    with shop.working():
        shop.ended(first, "succeeded")
    second = shop.enqueue(good)
    with shop.admin.begin() as c:
        c.execute(sa.text("create table mine (job_id uuid references jobforge.jobs)"))
        c.execute(sa.text("insert into mine values (:id)"), {"id": first})
        c.execute(sa.text("select jobforge.set_retention('succeeded', '0')"))
        c.execute(sa.text("update jobforge.pruning set began_at = '-infinity'"))
        assert c.scalar(sa.text(DEAD), {"worker": uuid.uuid4()}) == second

    with caplog.at_level(logging.WARNING, "jobforge_sa.worker"), shop.working(lease=dt.timedelta(seconds=1)):
        shop.ended(second, "succeeded", 20)
        wait_for(lambda: "mine" in caplog.text, what="the log to say what cannot be deleted")
    with shop.admin.begin() as c:
        c.execute(sa.text("drop table mine"))


def test_a_walk_that_finds_something_goes_on_at_once(shop: Shop) -> None:
    """Among jobs that are kept for longer each step finds few: at one step in ten seconds it would never catch up."""
    made = """
        with made as materialized (
            select jobforge.new_job_id(a.at) as id, a.at, case when n % 2000 = 0 then 'gone' else 'kept' end as type
              from generate_series(1, 30000) n
             cross join lateral (select clock_timestamp() - interval '8 days' + n * interval '1 second' as at) a
        ), jobs as (
            insert into jobforge.jobs (id, tenant_id, queue, type, priority, payload, run_at, max_attempts, created_at)
            select id, 'acme', 'default', type, 0, '{}', at, 5, at from made
        )
        insert into jobforge.outcomes (job_id, tenant_id, state, run, attempt, crashes, finished_at)
        select id, 'acme', 'canceled', 0, 0, 0, at from made"""

    @shop.task()
    def good(ctx: Context, payload: Number) -> None: ...

    with shop.admin.begin() as c:
        c.execute(sa.text("select jobforge.set_retention('canceled', null, 'kept')"))
        c.execute(sa.text(made))
    assert outcomes(shop, "gone") == 15
    with shop.working() as worker:  # its next upkeep comes after ten seconds
        assert worker.drain(10)
        wait_for(lambda: outcomes(shop, "gone") == 0, 7, "all of it to be gone")
    assert outcomes(shop, "kept") == 29_985
