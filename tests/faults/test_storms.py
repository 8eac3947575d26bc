"""Thousands of leases that expire at once."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections import Counter

import sqlalchemy as sa

from jobforge_sa import Context, JobForge, Worker
from tests.fix_postgres import Database
from tests.support import Sql, wait_for

MANY = 10_000


def expired(sql: Sql, count: int) -> None:
    """So many jobs that run, and ten workers that are dead."""
    for n in range(0, count, 1000):
        sql.fill("a", 1000)
        sql.claim(1000, worker_id=uuid.UUID(int=n + 1))
    assert sql.look("select count(*) as n from jobforge.leases")[0]["n"] == count
    sql.session("postgres").execute("update jobforge.workers set alive_until = jobforge.now() - interval '1 second'")


def test_fault_052_ten_thousand_expired_leases_are_rescued_in_steps_by_many_at_once(database: Database) -> None:
    with Sql(database) as sql:
        expired(sql, MANY)
        took, moved = list[float](), Counter[int]()

        def rescue(who: int) -> None:
            connection = sql.connect("jf_worker")
            connection.autocommit = True
            while True:
                began = time.monotonic()
                row = connection.execute("select jobforge.rescue_expired_jobs(1000) as n").fetchone()
                took.append(time.monotonic() - began)
                assert row is not None
                assert row["n"] <= 1000
                moved[who] += row["n"]
                if not row["n"]:
                    return

        sql.together([lambda who=who: rescue(who) for who in range(4)])  # type: ignore[misc]
        assert sum(moved.values()) == MANY, "each lease once"
        assert max(took) < 5, "a step is bounded"
        (once,) = sql.look("select count(*) as n, count(distinct job_id) as jobs from jobforge.attempts")
        assert once == {"n": MANY, "jobs": MANY}
        assert sql.look("select min(crashes) as low, max(crashes) as high from jobforge.ready") == [
            {"low": 1, "high": 1}
        ]


def test_fault_052_a_worker_does_not_sleep_between_the_steps_of_a_large_rescue(database: Database) -> None:
    """A third of a lease for each thousand would be minutes, for jobs that nobody runs."""
    forge = JobForge(tenant="a")

    @forge.task("t")
    def t(ctx: Context, payload: dict[str, int]) -> None: ...

    with Sql(database) as sql:
        expired(sql, 4000)
        engine = database.engine("jf_worker", poolclass=sa.NullPool)
        with Worker(engine, forge, session_engine=database.engine("jf_app"), lease=dt.timedelta(minutes=5)) as worker:
            worker.drain(1)  # begin at once
            wait_for(lambda: worker.outcomes["succeeded"] == 4000, 20, "all to be rescued and done")
