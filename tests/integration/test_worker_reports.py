"""How the ends of runs reach the database when somebody holds up one of them."""

from __future__ import annotations

import datetime as dt
import threading

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Worker
from tests.fix_postgres import Database
from tests.support import wait_for

STATES = sa.text("select state, count(*) from jobforge.outcomes group by 1")
HOLD = sa.text(
    "select held from jobforge.leases l, lateral jobforge.heartbeat_job(l.job_id, l.token) where l.job_id = :id"
)


class Number(BaseModel):
    n: int


def test_a_lease_that_somebody_holds_keeps_nobody_elses_end_waiting(database: Database) -> None:
    """A handler that commits in steps locks its lease; one that then hangs keeps it locked."""
    engine, forge = database.engine("jf_one"), JobForge(tenant="a")
    started, gate = threading.Event(), threading.Event()

    @forge.task(timeout=dt.timedelta(minutes=5))
    def held(ctx: Context, payload: Number) -> None:
        started.set()
        assert gate.wait(20)

    @forge.task()
    def other(ctx: Context, payload: Number) -> None: ...

    def succeeded() -> int:
        with looking.connect() as c:
            return sum(count for state, count in c.execute(STATES) if state == "succeeded")

    looking, holder = database.engine(), database.engine()
    with Worker(engine, forge, poll=dt.timedelta(milliseconds=50)) as worker:
        with Session(engine) as session, session.begin():
            job = Jobs(session).enqueue(held, Number(n=0)).id
        assert started.wait(10)
        with holder.begin() as connection:
            assert connection.scalar(HOLD, {"id": job})
            gate.set()
            with Session(engine) as session, session.begin():
                Jobs(session).enqueue_many([other.new(Number(n=n)) for n in range(50)])
            wait_for(lambda: succeeded() == 50, 15, "the ends of all others")
            assert connection.scalar(HOLD, {"id": job})  # it is still held
        wait_for(lambda: succeeded() == 51, 15, "the end that was set aside")
    assert worker.outcomes == {"succeeded": 51}
