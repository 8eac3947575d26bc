"""A primary that is gone or may not be written to: whoever has the other's address goes on there, unaided."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Worker
from tests.faults.ground import QUICK, STATES, Ground, enqueue, own_ground, said
from tests.faults.standby import Pair, pair
from tests.support import wait_for

LEASE = dt.timedelta(seconds=2)


@pytest.fixture
def both() -> Iterator[Pair]:
    with pair() as both:
        yield both


def noting() -> JobForge:
    forge = JobForge(tenant="a")

    @forge.task()
    def note(ctx: Context, payload: dict[str, int]) -> None:
        ctx.session.execute(sa.text("insert into effects values (:n)"), payload)

    return forge


def test_fault_047_worker_and_application_go_on_at_the_promoted_standby_and_no_job_is_lost(both: Pair) -> None:
    """The standby is synchronous, so that every commit that was answered is there."""
    forge, app, done, committed = noting(), both.writable("jf_app"), threading.Event(), list[str]()

    def enqueue_on() -> None:
        while not done.is_set():
            key = f"order {len(committed)}"
            try:
                with Session(app) as session, session.begin():
                    Jobs(session).enqueue(forge.tasks["note"], {"n": len(committed)}, idempotency_key=key)
                committed.append(key)
            except sa.exc.DBAPIError:
                time.sleep(0.05)

    with Worker(both.writable("jf_worker"), forge, session_engine=app, lease=LEASE, **QUICK) as worker:
        application = threading.Thread(target=enqueue_on, daemon=True)
        application.start()
        wait_for(lambda: len(committed) > 30 and worker.outcomes["succeeded"] > 10, 20, "load")
        before = len(committed)
        both.fail_over()
        wait_for(lambda: len(committed) > before + 30, 30, "the application to go on")
        done.set()
        application.join(10)
        wait_for(lambda: set(both.counts(STATES)) == {"succeeded"}, 30, "all to succeed")
    keys = {row["idempotency_key"] for row in both.look("select idempotency_key from jobforge.jobs")}
    assert keys >= set(committed)
    assert len(keys) == sum(both.counts(STATES).values())
    assert both.look("select count(*) as n, count(distinct n) as d from effects")[0] == {"n": len(keys), "d": len(keys)}
    assert both.look("select * from jobforge.audit()") == []


@pytest.mark.faults
def test_fault_047_a_database_that_may_not_be_written_to_is_told_once_and_looked_for_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with own_ground() as ground:
        _read_only(ground, caplog)


def _read_only(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    forge, engine = noting(), ground.engine("jf_one")
    switch = "alter system set default_transaction_read_only = '{}'"
    backends = "select array_agg(pid order by pid) as pids from pg_stat_activity where usename = 'jf_one'"
    with caplog.at_level(logging.INFO, "jobforge_sa"), Worker(engine, forge, lease=LEASE, **QUICK) as worker:
        job = enqueue(engine, forge.tasks["note"], 1)
        wait_for(lambda: ground.ended(job), what="a job before")
        before = ground.look(backends)
        ground.run(switch.format("on"), "select pg_reload_conf()")
        wait_for(lambda: worker.outcomes["succeeded"] and not worker._claimer.link.busy, what="the worker")
        wait_for(lambda: any("read-only" in line for line in said(caplog)), 10, "the worker to notice")
        with pytest.raises(sa.exc.InternalError, match="read-only"):
            enqueue(engine, forge.tasks["note"], 2)
        time.sleep(1.5)  # tries, and new connections
        assert ground.look(backends) != before  # of several hosts another one may be the primary by now
        with ground.connect() as connection:
            connection.execute("set default_transaction_read_only = off")
            connection.execute(switch.format("off").encode())
            connection.execute("select pg_reload_conf()")
        later = wait_for(lambda: _try(engine, forge), 10, "the database")
        assert later is not None
        wait_for(lambda: ground.ended(later), 20, "a job afterwards")
    assert ground.counts(STATES) == {"succeeded": 2}
    assert len([line for line in said(caplog) if "trying again" in line]) == 1, said(caplog)


def _try(engine: sa.Engine, forge: JobForge) -> uuid.UUID | None:
    try:
        return enqueue(engine, forge.tasks["note"], 3)
    except sa.exc.DBAPIError:
        return None
