"""A job that kills its process: it ends dead, with the reason, and takes nobody along (G7, G8)."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import JobForge, Jobs
from tests.fix_postgres import Database

APPLICATION = textwrap.dedent(
    """
    import datetime as dt, os, sys, time
    import sqlalchemy as sa
    from jobforge_sa import Context, JobForge, Worker

    forge = JobForge(tenant="acme")

    @forge.task()
    def poison(ctx: Context, payload: dict[str, int]) -> None:
        time.sleep(0.05)  # others have been started beside it
        os._exit(66)

    @forge.task()
    def innocent(ctx: Context, payload: dict[str, int]) -> None:
        time.sleep(0.1)

    engine = sa.create_engine(sys.argv[1])
    Worker(engine, forge, concurrency=8, lease=dt.timedelta(seconds=1), poll=dt.timedelta(milliseconds=50)).run()
    """
)
forge = JobForge(tenant="acme")


@forge.task()
def poison(ctx: object, payload: dict[str, int]) -> None: ...


@forge.task()
def innocent(ctx: object, payload: dict[str, int]) -> None: ...


class Supervisor:
    """Worker processes, started again as they end."""

    def __init__(self, program: Path, url: str, count: int) -> None:
        self._command = [sys.executable, str(program), url]
        self.living = [self._start() for _ in range(count)]
        self.exits: list[int] = []

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env={**os.environ, "PYTHONPATH": os.getcwd()})

    def look(self) -> None:
        for n, process in enumerate(self.living):
            if process.poll() is not None:
                self.exits.append(process.returncode)
                self.living[n] = self._start()

    def end(self) -> None:
        for process in self.living:
            process.kill()
            process.wait(10)


@contextmanager
def supervised(database: Database, folder: Path, count: int) -> Iterator[Supervisor]:
    program = folder / "application.py"
    program.write_text(APPLICATION)
    workers = Supervisor(program, database.url("jf_one").render_as_string(hide_password=False), count)
    try:
        yield workers
    finally:
        workers.end()


def enqueue(database: Database, poisons: int, innocents: int) -> None:
    with Session(database.engine("jf_one")) as session, session.begin():
        jobs = [innocent.new({}) for _ in range(innocents)]
        step = max(1, innocents // (poisons + 1))
        for n in range(poisons):
            jobs.insert((n + 1) * step, poison.new({}))
        Jobs(session).enqueue_many(jobs)


def run_until_all_have_ended(admin: sa.Engine, workers: Supervisor, jobs: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        workers.look()
        with admin.connect() as c:
            done = c.execute(sa.text("select count(*) from jobforge.outcomes")).scalar_one()
        if done == jobs:
            return
        assert time.monotonic() < deadline, f"{done} of {jobs} have ended after {timeout} s; exits {workers.exits}"
        time.sleep(0.05)


ENDED = """
select j.type, o.state, o.attempt, o.crashes, a.outcome, a.error ->> 'type' as error
  from jobforge.outcomes o join jobforge.jobs j on j.id = o.job_id
  join jobforge.attempts a on a.job_id = o.job_id and a.run = o.run
"""
# runs that were lost at the same moment in one process with another's: claimed by the same worker, lost together
NEIGHBOURS = """
select count(*) from jobforge.attempts a join jobforge.jobs j on j.id = a.job_id and j.type = 'poison'
 where a.run >= 3 and exists (select from jobforge.attempts b where b.worker_id = a.worker_id and b.job_id <> a.job_id
                                 and b.outcome = 'lost')
"""


def test_fault_033_a_job_that_kills_its_process_is_dead_with_the_reason(database: Database, tmp_path: Path) -> None:
    admin = database.engine()
    enqueue(database, poisons=1, innocents=0)
    with supervised(database, tmp_path, 1) as workers:
        run_until_all_have_ended(admin, workers, 1, 90)
    with admin.connect() as c:
        (row,) = c.execute(sa.text(ENDED)).all()
    assert tuple(row) == ("poison", "dead", 0, 5, "lost", "WorkerLost")
    assert workers.exits.count(66) >= 4  # the fifth may be noticed by nobody before the end


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.faults)])
def test_fault_034_its_neighbours_succeed_and_are_charged_one_attempt(
    database: Database, tmp_path: Path, processes: int
) -> None:
    admin = database.engine()
    enqueue(database, poisons=2, innocents=40)
    with supervised(database, tmp_path, processes) as workers:
        run_until_all_have_ended(admin, workers, 42, 150)
    with admin.connect() as c:
        rows = c.execute(sa.text(ENDED)).all()
        beside = c.execute(sa.text(NEIGHBOURS)).scalar_one()
    poisons = [row for row in rows if row.type == "poison"]
    assert [(row.state, row.crashes, row.error) for row in poisons] == [("dead", 5, "WorkerLost")] * 2
    innocents = [row for row in rows if row.type == "innocent"]
    assert {(row.state, row.attempt) for row in innocents} == {("succeeded", 1)}
    assert max(row.crashes for row in innocents) <= 2
    assert beside == 0  # from its third run on a killer was alone
