"""A server that goes away and comes back: nothing is lost, whoever lives is not taken for dead, and little is said."""

from __future__ import annotations

import datetime as dt
import logging
import random
import signal
import threading
import time
import uuid
from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Worker
from tests.chaos.proxy import Proxy
from tests.faults.ground import QUICK, RUNS, STATES, Ground, enqueue, own_ground, said
from tests.support import wait_for

LEASE = dt.timedelta(seconds=2)
WAY = {"connect_args": {"connect_timeout": 2}}


@pytest.fixture(scope="module")
def shared() -> Iterator[Ground]:
    with own_ground(tcp=True) as ground:
        yield ground


@pytest.fixture
def ground(shared: Ground) -> Iterator[Ground]:
    yield shared
    shared.clean()


class Enqueuer(threading.Thread):
    """An application under load: what it knows to be committed, and what it has rolled back."""

    def __init__(self, engine: sa.Engine, forge: JobForge) -> None:
        super().__init__(daemon=True)
        self._engine, self._task = engine, forge.tasks["note"]
        self.committed: list[uuid.UUID] = []
        self.undone: list[uuid.UUID] = []
        self.failed = 0
        self.done = threading.Event()

    def run(self) -> None:
        n = 0
        while not self.done.is_set():
            n += 1
            try:
                with Session(self._engine) as session:
                    job = Jobs(session).enqueue(self._task, {"n": n}).id
                    if n % 3:
                        session.commit()
                        self.committed.append(job)
                    else:
                        session.rollback()
                        self.undone.append(job)
            except sa.exc.DBAPIError:
                self.failed += 1
                time.sleep(0.02)


def noting() -> JobForge:
    forge = JobForge(tenant="a")

    @forge.task()
    def note(ctx: Context, payload: dict[str, int]) -> None:
        ctx.session.execute(sa.text("insert into effects values (:n)"), payload)

    return forge


@pytest.mark.parametrize("immediate", [True, False], ids=["immediate", "fast"])
def test_fault_003_004_restarts_under_load_lose_nothing_and_run_nothing_that_was_rolled_back(
    ground: Ground, immediate: bool
) -> None:
    forge = noting()
    enqueuer = Enqueuer(ground.engine("jf_app"), forge)
    with Worker(ground.engine("jf_worker"), forge, session_engine=ground.engine("jf_app"), lease=LEASE, **QUICK):
        enqueuer.start()
        for round_ in range(1, 3):
            wait_for(lambda r=round_: len(enqueuer.committed) > 30 * r, 20, "load")  # type: ignore[misc]
            ground.server.restart(immediate=immediate)
        wait_for(lambda: len(enqueuer.committed) > 100, 20, "load")
        enqueuer.done.set()
        enqueuer.join(10)
        wait_for(lambda: set(ground.counts(STATES)) == {"succeeded"}, 40, "all to succeed")
    there = {row["id"] for row in ground.look("select id from jobforge.jobs")}
    assert set(enqueuer.committed) <= there
    assert there.isdisjoint(enqueuer.undone)
    assert len(there) <= len(enqueuer.committed) + enqueuer.failed  # a COMMIT without an answer may have counted
    assert ground.look("select count(*) from effects")[0]["count"] == len(there)


def test_fault_004_an_enqueuer_whose_backend_is_terminated_before_its_commit_leaves_nothing(ground: Ground) -> None:
    forge = noting()
    with Session(ground.engine("jf_app")) as session:
        Jobs(session).enqueue(forge.tasks["note"], {"n": 1})
        pid = session.scalar(sa.text("select pg_backend_pid()"))
        ground.run(f"select pg_terminate_backend({pid}, 5000)")
        with pytest.raises(sa.exc.DBAPIError) as caught:
            session.commit()
    assert isinstance(caught.value.orig, psycopg.OperationalError)
    assert ground.look("select * from jobforge.jobs") == []


def test_fault_052_an_outage_longer_than_the_lease_is_no_crash_of_jobs_whose_workers_live(ground: Ground) -> None:
    """Whoever is back first finds all leases expired, its neighbours' too; those are back a moment later."""
    forge, ran, gate = JobForge(tenant="a"), list[int](), threading.Event()

    @forge.task()
    def long(ctx: Context, payload: dict[str, int]) -> None:
        ran.append(payload["n"])
        assert gate.wait(60)

    with (
        Proxy(ground.server.port, random.Random(0)) as first_way,
        Proxy(ground.server.port, random.Random(0)) as second_way,
    ):
        engines = [ground.engine("jf_worker", way.port, **WAY) for way in (first_way, second_way)]
        workers = [Worker(engine, forge, concurrency=1, lease=LEASE, **QUICK).start() for engine in engines]
        jobs = [enqueue(ground.engine("jf_app"), long, n) for n in range(2)]
        wait_for(lambda: len(ran) == 2, what="each worker to run one")
        wait_for(lambda: all(worker._heartbeat.steady() for worker in workers), 20, "both to be ready to rescue")
        for way in (first_way, second_way):
            way.swallow()
        time.sleep(2 * LEASE.total_seconds())  # the outage itself
        first_way.pass_on()
        before = workers[0]._heartbeat._last
        wait_for(lambda: workers[0]._heartbeat._last > before, 20, "the first to be back")
        time.sleep(0.3)  # it could rescue now, if it were allowed to
        second_way.pass_on()
        wait_for(lambda: all(worker._heartbeat.steady() for worker in workers), 20, "both to be back for a lease")
        gate.set()
        wait_for(lambda: all(ground.ended(job) for job in jobs), 20, "both to end")
        for worker in workers:
            worker.stop()
    assert ground.counts(STATES) == {"succeeded": 2}
    assert ground.counts(RUNS) == {"succeeded": 2}
    assert sorted(ran) == [0, 1]
    assert ground.look("select sum(crashes) as n from jobforge.outcomes")[0]["n"] == 0


def test_fault_003_who_drains_rescues_at_once_though_it_has_just_begun(ground: Ground) -> None:
    """A worker of a cron job may never live for a lease: who was killed before it must not wait for ever."""
    forge = noting()
    enqueue(ground.engine("jf_app"), forge.tasks["note"], 1)
    with ground.connect("jf_worker") as connection:
        connection.execute("select * from jobforge.claim_jobs(gen_random_uuid(), '{default}', '{note}')")
    ground.run("update jobforge.workers set alive_until = now() - interval '1 second'")
    with Worker(ground.engine("jf_one"), forge, **QUICK) as worker:
        wait_for(lambda: worker.drain(5) and ground.counts(STATES) == {"succeeded": 1}, 20, "the rescue")
    assert ground.counts(RUNS) == {"lost": 1, "succeeded": 1}


@pytest.mark.faults
def test_fault_003_an_outage_of_20_seconds_is_a_handful_of_lines(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    _count_lines(ground, caplog, 20)


def test_fault_003_an_outage_is_told_when_it_begins_and_when_it_is_over(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    _count_lines(ground, caplog, 3)


def _count_lines(ground: Ground, caplog: pytest.LogCaptureFixture, seconds: float) -> None:
    forge, gate, running = noting(), threading.Event(), threading.Event()

    @forge.task()
    def ends_meanwhile(ctx: Context, payload: dict[str, int]) -> None:
        running.set()
        assert gate.wait(60)

    engine = ground.engine("jf_one")
    with Worker(engine, forge, lease=LEASE, **QUICK):
        job = enqueue(engine, ends_meanwhile)
        assert running.wait(10)
        with caplog.at_level(logging.INFO, "jobforge_sa"):
            ground.server._end(signal.SIGINT)
            gate.set()  # so that the reporter is in trouble too
            time.sleep(seconds)
            ground.server._launch()
            wait_for(lambda: ground.ended(job), 30, "the worker to be back")
            wait_for(lambda: any("works again" in line for line in said(caplog)), 15, "it to say so")
            lines = said(caplog)
    assert sum("trying again until it works" in line for line in lines) in (1, 2), lines  # 57P01, then no server
    assert sum("works again" in line for line in lines) == 1, lines
    assert len(lines) <= 6, lines


def test_fault_003_a_backend_that_is_terminated_again_and_again_is_told_now_and_then(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    engine, forge = ground.engine("jf_one"), noting()
    with caplog.at_level(logging.INFO, "jobforge_sa"), Worker(engine, forge, lease=LEASE, **QUICK):
        for n in range(8):
            job = enqueue(engine, forge.tasks["note"], n)
            wait_for(lambda job=job: ground.ended(job), 20)  # type: ignore[misc]
            ground.run("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'jf_one'")
    assert len([line for line in said(caplog) if "trying" in line or "works again" in line]) <= 3, said(caplog)
