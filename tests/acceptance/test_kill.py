"""kill -9 at the worst moments: what a committed job and its effects look like afterwards (G2, G4)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobforge_sa import JobForge, Jobs
from tests.fix_postgres import Database
from tests.support import wait_for

APPLICATION = textwrap.dedent(
    """
    import datetime as dt, os, signal, sys
    import sqlalchemy as sa
    from jobforge_sa import Context, JobForge, Worker

    MOMENT, URL = sys.argv[1:]
    engine = sa.create_engine(URL)
    forge = JobForge(tenant="acme")

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    @forge.task()
    def store(ctx: Context, payload: dict[str, int]) -> None:
        if MOMENT == "before the write":
            die()
        ctx.session.execute(sa.text("insert into effects values (:n)"), payload)
        if MOMENT == "after the write":
            die()
        if MOMENT == "before the completion":
            sa.event.listen(engine, "before_cursor_execute", lambda c, cur, text, *_: "complete_jobs" in text and die())
        if MOMENT == "between completion and commit":
            sa.event.listen(engine, "after_cursor_execute", lambda c, cur, text, *_: "complete_jobs" in text and die())
        if MOMENT == "after the commit":
            sa.event.listen(engine, "checkin", die)

    Worker(engine, forge, lease=dt.timedelta(seconds=1), poll=dt.timedelta(milliseconds=50)).run()
    """
)
MOMENTS = [
    "before the write",
    "after the write",
    "before the completion",
    "between completion and commit",
    "after the commit",
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_fault_001_002_a_worker_killed_at_any_moment_leaves_its_effects_exactly_once(
    database: Database, tmp_path: Path, moment: str
) -> None:
    engine = database.engine("jf_one")
    admin = database.engine()
    with admin.begin() as c:
        c.execute(sa.text("create table effects (n int)"))
        c.execute(sa.text("grant all on effects to jf_one"))
    forge = JobForge(tenant="acme")

    @forge.task()
    def store(ctx: object, payload: dict[str, int]) -> None: ...

    with sa.orm.Session(engine) as session, session.begin():
        jobs = Jobs(session).enqueue_many([store.new({"n": n}) for n in range(3)])
    program = tmp_path / "application.py"
    program.write_text(APPLICATION)
    url = database.url("jf_one").render_as_string(hide_password=False)

    def start(when: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, program, when, url], env={**os.environ, "PYTHONPATH": os.getcwd()})

    victim = start(moment)
    assert victim.wait(20) == -signal.SIGKILL
    successor = start("never")
    try:
        query = sa.text("select count(*) from jobforge.outcomes where state = 'succeeded'")

        def all_done() -> bool:
            with admin.connect() as c:
                return bool(c.execute(query).scalar() == len(jobs))

        def both_came() -> bool:  # the successor is up, and so takes SIGTERM for what it means
            with admin.connect() as c:
                return bool(c.execute(sa.text("select count(*) from jobforge.workers")).scalar() == 2)

        wait_for(all_done, 20, "all jobs to succeed")
        wait_for(both_came, 20, "the successor")
        with admin.connect() as c:
            assert sorted(c.execute(sa.text("select n from effects")).scalars()) == [0, 1, 2]
            charged = c.execute(sa.text("select max(attempt) from jobforge.outcomes")).scalar()
        assert charged == 1  # a crash is not the job's failure
    finally:
        successor.terminate()
        assert successor.wait(20) == 0
