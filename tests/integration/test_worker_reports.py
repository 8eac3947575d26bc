"""How the ends of runs reach the database when somebody holds up one of them."""

from __future__ import annotations

import datetime as dt
import threading
import uuid

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Worker
from jobforge_sa.context import ClaimedJob
from jobforge_sa.db import calls
from jobforge_sa.worker import ending as endings
from jobforge_sa.worker.counters import Counters
from jobforge_sa.worker.incidents import Incidents
from jobforge_sa.worker.reporter import Reporter
from jobforge_sa.worker.run import Run, Runs
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


def test_the_last_ends_are_told_over_another_connection_where_theirs_went_stale(database: Database) -> None:
    engine, forge = database.engine("jf_one"), JobForge(tenant="a")

    @forge.task()
    def quick(ctx: Context, payload: Number) -> None: ...

    with Session(engine) as session, session.begin():
        Jobs(session).enqueue_many([quick.new(Number(n=n)) for n in range(3)])
    runs = Runs(Incidents(Counters()))
    reporter = Reporter(engine, runs, lambda: None)
    asked = {"worker_id": uuid.uuid4(), "queues": ["default"], "types": ["quick"], "limit": 3, "queue_limits": None,
             "cursors": None, "alive": dt.timedelta(seconds=30), "alone": False}  # fmt: skip
    rows = reporter.link.run(lambda c: c.execute(calls.CLAIM_JOBS, asked).fetchall())
    runs.add([Run(ClaimedJob(*row), quick) for row in rows])
    for run in runs.all():
        reporter.report(run, endings.SUCCEEDED)
    pid = reporter.link.run(lambda c: c.info.backend_pid)
    with database.engine(isolation_level="AUTOCOMMIT").connect() as admin:
        admin.execute(sa.text("select pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    reporter.finish()
    reporter.link.close()
    assert (runs.incidents.counters.read()["succeeded"], len(runs)) == (3, 0)


def test_who_stops_a_worker_that_is_being_stopped_waits_for_that_and_hears_the_same(database: Database) -> None:
    engine, forge = database.engine("jf_one"), JobForge(tenant="a")
    started, gate = threading.Event(), threading.Event()

    @forge.task()
    def deaf(ctx: Context, payload: Number) -> None:
        started.set()
        gate.wait(30)

    worker = Worker(engine, forge).start()
    with Session(engine) as session, session.begin():
        Jobs(session).enqueue(deaf, Number(n=1))
    assert started.wait(10)
    clean: list[bool] = []
    first = threading.Thread(target=lambda: clean.append(worker.stop(1.0)))
    first.start()
    wait_for(lambda: not worker._running, what="the first to begin")
    clean.append(worker.stop())
    first.join()
    gate.set()
    assert clean == [False, False]
