"""A worker that nobody stopped leaves nothing behind: at the end of its program, and in a process that was forked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import JobForge, Jobs
from tests.fix_postgres import Database

APPLICATION = """
import os, sys, time, threading
import sqlalchemy as sa
from sqlalchemy.orm import Session
from jobforge_sa import Context, JobForge, Jobs, Worker

forge = JobForge(tenant="a")
running = threading.Event()

@forge.task()
def slow(ctx: Context, payload: dict[str, int]) -> None:
    running.set()
    time.sleep(payload["ms"] / 1000)

engine = sa.create_engine(sys.argv[1])
"""
ENDS = (
    APPLICATION
    + """
Worker(engine, forge).start()
running.wait(10)
print("bye")
"""
)
FORKS = (
    APPLICATION
    + """
worker = Worker(engine, forge).start()
running.wait(10)
child = os.fork()
if child == 0:
    assert worker.stop()  # it is not running here
    with worker:          # and can be started
        worker.drain(10)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("select 1")) == 1
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
with Session(engine) as session, session.begin():
    Jobs(session).enqueue(slow, {"ms": 0})
assert worker.drain(10), "the parent's worker goes on"
worker.stop()
print(dict(worker.outcomes))
"""
)
FORKS_ASYNC = (
    APPLICATION
    + """
import asyncio
from jobforge_sa import AsyncContext

@forge.task()
async def asks(ctx: AsyncContext, payload: dict[str, int]) -> list[int]:
    await asyncio.sleep(0.05)
    return [os.getpid(), await ctx.session.scalar(sa.text("select pg_backend_pid()"))]

def enqueue(count):
    with Session(engine) as session, session.begin():
        Jobs(session).enqueue_many([asks.new({})] * count)

worker = Worker(engine, forge, concurrency=2).start()
enqueue(2)
assert worker.drain(10)
child = os.fork()
if child == 0:
    worker.start()
enqueue(20)
assert worker.drain(20)
if child == 0:
    worker.stop()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
worker.stop()
"""
)

forge = JobForge(tenant="a")


@forge.task()
def slow(ctx: object, payload: dict[str, int]) -> None: ...


def run(database: Database, program: str, tmp_path: Path, ms: int) -> str:
    with Session(database.engine("jf_one")) as session, session.begin():
        Jobs(session).enqueue(slow, {"ms": ms})
    script = tmp_path / "program.py"
    script.write_text(program)
    url = database.url("jf_one").render_as_string(hide_password=False)
    command = [sys.executable, str(script), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def left(database: Database) -> list[str]:
    """The leases, and the states of the jobs."""
    with database.engine().connect() as connection:
        connection.execute(sa.text("set local role jobforge_admin"))
        leases = ["lease"] * (connection.scalar(sa.text("select count(*) from jobforge.leases")) or 0)
        return leases + list(connection.scalars(sa.text("select state from jobforge.all_jobs")))


def test_fault_040_the_end_of_the_interpreter_stops_the_worker_and_running_jobs_finish(
    database: Database, tmp_path: Path
) -> None:
    assert run(database, ENDS, tmp_path, 300) == "bye\n"
    assert left(database) == ["succeeded"]


def test_fault_039_a_fork_has_no_worker_and_harms_its_parents_in_nothing(database: Database, tmp_path: Path) -> None:
    assert run(database, FORKS, tmp_path, 500) == "{'succeeded': 2}\n"
    assert left(database) == ["succeeded"] * 2


def test_fault_039_a_fork_that_works_shares_no_connection_of_async_handlers(database: Database, tmp_path: Path) -> None:
    run(database, FORKS_ASYNC, tmp_path, 0)
    with database.engine().connect() as connection:
        connection.execute(sa.text("set local role jobforge_admin"))
        found = connection.scalars(sa.text("select result from jobforge.all_jobs where type = 'asks'")).all()
    owners = {backend: process for process, backend in found}
    assert len(set(owners.values())) == 2, "both processes ran some"
    assert {(process, backend) for process, backend in found} == {(p, b) for b, p in owners.items()}
