"""A schema that moves under workers that run."""

from __future__ import annotations

import datetime as dt
import logging

import pytest
import sqlalchemy as sa

from jobforge_sa import Context, JobForge, Worker
from jobforge_sa.db import migrate
from tests.faults.ground import enqueue, said
from tests.fix_postgres import Database
from tests.support import wait_for


def test_fault_048_a_worker_outlives_a_migration_down_and_up_again_and_jobs_stay(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Functions that are gone, and come back as other objects under the same names."""
    forge, engine, admin = JobForge(tenant="a"), database.engine("jf_one"), database.engine()

    @forge.task()
    def note(ctx: Context, payload: dict[str, int]) -> None:
        ctx.session.execute(sa.text("select 1"))

    tenth, lease = dt.timedelta(seconds=0.1), dt.timedelta(seconds=1)
    with (
        caplog.at_level(logging.INFO, "jobforge_sa"),
        Worker(engine, forge, poll=tenth, lease=lease) as worker,
    ):
        for n in range(10):
            enqueue(engine, note, n)
        wait_for(lambda: worker.outcomes["succeeded"] == 10, what="all to be prepared and cached")
        waiting = enqueue(engine, note, delay=dt.timedelta(seconds=2))
        migrate.downgrade(admin, "0001")
        wait_for(lambda: any("jobforge migrate" in line for line in said(caplog)), what="the worker to say the cure")
        migrate.upgrade(admin)
        migrate.upgrade(admin)  # nothing to do
        for n in range(10):
            enqueue(engine, note, n)
        wait_for(lambda: worker.outcomes["succeeded"] == 21, 20, "the worker to go on")
        with admin.connect() as connection:
            state = sa.text("select state from jobforge.outcomes where job_id = :id")
            assert connection.scalar(state, {"id": waiting}) == "succeeded"
    told = [line for line in said(caplog) if "trying again" in line]
    assert len(told) <= 2, told
