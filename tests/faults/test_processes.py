"""Processes that are frozen, busy, or told to stop twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobforge_sa import JobForge
from tests.faults.ground import enqueue
from tests.fix_postgres import Database
from tests.support import wait_for

APPLICATION = """
import datetime as dt, pathlib, sys, time
import sqlalchemy as sa
from jobforge_sa import Context, JobForge, Worker

forge, folder = JobForge(tenant="a"), pathlib.Path(sys.argv[2])

@forge.task()
def writes(ctx: Context, payload: dict[str, int]) -> None:
    ctx.session.execute(sa.text("insert into effects values (:n)"), {"n": ctx.job.run})
    (folder / f"run {ctx.job.run}").touch()
    while ctx.job.run == 1 and not (folder / "go on").exists():
        time.sleep(0.01)

@forge.task()
def busy(ctx: Context, payload: dict[str, int]) -> None:
    ctx.session.execute(sa.text("insert into effects values (:n)"), {"n": ctx.job.run})
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        sum(range(10_000))  # no wait, no I/O: the interpreter changes threads when it likes

@forge.task()
def deaf(ctx: Context, payload: dict[str, int]) -> None:
    (folder / f"run {ctx.job.run}").touch()
    while True:
        time.sleep(0.05)

second, tenth = dt.timedelta(seconds=1), dt.timedelta(seconds=0.1)
sys.exit(Worker(sa.create_engine(sys.argv[1]), forge, lease=second, poll=tenth).run())
"""
Start = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(database: Database, tmp_path: Path) -> Iterator[Start]:
    """Start a worker process; what is left of them is killed at the end."""
    program, started = tmp_path / "application.py", list["subprocess.Popen[bytes]"]()
    program.write_text(APPLICATION)
    with database.engine().begin() as connection:
        connection.exec_driver_sql("create table effects (n int); grant all on effects to jf_one")
    url = database.url("jf_one").render_as_string(hide_password=False)

    def one() -> subprocess.Popen[bytes]:
        command = [sys.executable, str(program), url, str(tmp_path)]
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.getcwd()}, stderr=log)
        started.append(process)
        return process

    yield one
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait(10)


class Looks:
    """What there is to see of the only job."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine()

    def __call__(self, query: str) -> list[object]:
        with self._engine.connect() as connection:
            return list(connection.scalars(sa.text(query)))

    def outcomes(self) -> list[object]:
        return self("select outcome from jobforge.attempts order by run")


def add(database: Database, name: str) -> None:
    forge = JobForge(tenant="a")

    @forge.task(name)
    def _task(ctx: object, payload: dict[str, int]) -> None: ...

    enqueue(database.engine("jf_one"), forge.tasks[name])


def test_fault_015_a_process_that_was_frozen_for_two_leases_writes_nothing_when_it_wakes(
    database: Database, start: Start, tmp_path: Path
) -> None:
    look = Looks(database)
    zombie = start()
    add(database, "writes")
    wait_for(lambda: (tmp_path / "run 1").exists(), 20, "the handler to have written")
    zombie.send_signal(signal.SIGSTOP)
    start()
    wait_for(lambda: look("select state from jobforge.outcomes") == ["succeeded"], 20, "another worker to do it")
    zombie.send_signal(signal.SIGCONT)
    (tmp_path / "go on").touch()
    wait_for(lambda: "its lease was lost" in (tmp_path / "log").read_text(), 10, "the zombie to be told")
    zombie.send_signal(signal.SIGTERM)
    assert zombie.wait(20) == 0
    assert look("select n from effects") == [2]
    assert look.outcomes() == ["lost", "succeeded"]


@pytest.mark.faults
def test_fault_014_a_handler_that_is_busy_for_several_leases_starves_no_heartbeat(
    database: Database, start: Start
) -> None:
    look = Looks(database)
    start()
    start()  # one that would rescue it
    add(database, "busy")
    wait_for(lambda: look("select state from jobforge.outcomes") == ["succeeded"], 20, "it to end")
    assert look("select n from effects") == [1]
    assert look.outcomes() == ["succeeded"]


def test_fault_038_a_second_signal_gives_everything_back_at_once(
    database: Database, start: Start, tmp_path: Path
) -> None:
    look = Looks(database)
    worker = start()
    add(database, "deaf")
    wait_for(lambda: (tmp_path / "run 1").exists(), 20, "the handler to run")
    worker.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):  # the grace is half a minute
        worker.wait(1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(15) == 3
    assert look("select attempt + crashes from jobforge.ready") == [0]
    assert look.outcomes() == ["released"]
    assert look("select worker_id::text from jobforge.workers") == []
