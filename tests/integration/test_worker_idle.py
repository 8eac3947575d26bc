"""What a worker costs while it has nothing to do, what it costs others while it has much, and what it keeps."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from jobforge_sa import Context, JobForge, Worker
from jobforge_sa.worker.cycle import MAX_CLAIM, MAX_PREFETCH, MAX_UNREPORTED
from tests.fix_postgres import Database
from tests.support import Sql, wait_for

QUERIES = "select xact_commit + xact_rollback as n from pg_stat_database where datname = current_database()"
forge = JobForge(tenant="a")


@forge.task()
def t(ctx: Context, payload: dict[str, int]) -> None: ...


@forge.task()
def slow(ctx: Context, payload: dict[str, int]) -> None:
    time.sleep(0.05)


def test_while_a_worker_has_enough_to_do_enqueues_send_no_hint_and_when_it_sleeps_they_do(database: Database) -> None:
    with Sql(database) as sql, psycopg.connect(database.dsn("jf_stranger"), autocommit=True) as listener:
        listener.execute("listen jobforge")
        sql.fill("a", 6000)
        singles = 0
        with Worker(database.engine("jf_worker"), forge) as worker:
            while worker.outcomes["succeeded"] < 4000:
                sql.enqueue()
                singles += 1
            under_load = len(list(listener.notifies(timeout=0)))
            wait_for(lambda: worker.outcomes["succeeded"] == 6000 + singles, 30, "the rest")
            wait_for(lambda: worker._claimer._bed.since is not None, what="the worker to ask to be woken")
            sql.enqueue()
            assert [note.payload for note in listener.notifies(timeout=5, stop_after=1)][-1:] == ["default"]
    assert singles > 10
    assert under_load <= singles / 2  # none, where no transaction takes 50 ms


def test_a_worker_that_has_been_idle_for_a_while_asks_little(database: Database) -> None:
    with Sql(database) as sql, Worker(database.engine("jf_worker"), forge) as worker:
        bed = worker._claimer._bed
        wait_for(lambda: bed.since is not None and time.monotonic() - bed.since > 2, what="it to sleep for long")
        began, before, busy = time.monotonic(), sql.look(QUERIES)[0]["n"], time.process_time()
        time.sleep(6)
        asked, passed = sql.look(QUERIES)[0]["n"] - before - 1, time.monotonic() - began
        assert asked <= passed + 5  # a claim each second; a heartbeat and an upkeep may fall into these
        assert time.process_time() - busy < 0.1 * passed
    assert worker.stats()["claimed"] == 0


def test_while_the_database_takes_no_ends_a_worker_claims_no_more_than_it_can_keep(database: Database) -> None:
    """Somebody has locked the table of attempts: what has ended stays, and nothing more is taken."""
    with Sql(database) as sql:
        sql.fill("a", 3500)
        blocker = sql.connect("postgres")
        blocker.execute("lock table jobforge.attempts in share mode")
        with Worker(database.engine("jf_worker"), forge) as worker:
            reporter, claimer = worker._reporter, worker._claimer
            wait_for(lambda: MAX_UNREPORTED <= reporter.backlog == len(worker._runs), 30, "all to have ended")
            wait_for(lambda: not claimer.in_doubt and reporter.backlog == len(worker._runs), 30, "the last claim")
            claimed = worker.stats()["claimed"]
            time.sleep(0.3)
            assert worker.stats()["claimed"] == claimed == len(worker._runs)
            assert claimed <= MAX_UNREPORTED + MAX_PREFETCH + MAX_CLAIM + 10
            blocker.rollback()
            wait_for(lambda: worker.outcomes["succeeded"] == 3500, 60, "all of them")


FIFTY = """
import sys, time
import sqlalchemy as sa
from jobforge_sa import JobForge, Worker
forge = JobForge(tenant="a")

@forge.task()
def t(ctx, payload: dict[str, int]) -> None:
    time.sleep(0.05)
    ctx.session.execute(sa.text("select 1"))

with Worker(sys.argv[1], forge, concurrency=50) as worker:
    while worker.outcomes["succeeded"] < 300:
        time.sleep(0.05)
    assert len(worker._lanes[0]._threads) == 50
# the most that it ever was; ru_maxrss would begin with what the process had that started this one
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says it there")
def test_a_worker_of_fifty_threads_with_a_session_each_stays_small(database: Database) -> None:
    with Sql(database) as sql:
        sql.fill("a", 300)
        url = database.url("jf_one")
        done = subprocess.run(
            [sys.executable, "-c", FIFTY, url.render_as_string(hide_password=False)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) / 1024 < 150  # MB


@pytest.mark.parametrize(
    ("options", "change", "poll"),
    [({"ordering_key": "one"}, None, 60), ({}, '{"max_running": 1}', 60), ({}, '{"rate": 20, "burst": 1}', 1)],
    ids=["line", "max_running", "rate"],
)
def test_what_a_line_or_a_limit_keeps_back_runs_as_soon_as_it_may_and_not_at_the_next_poll(
    database: Database, options: dict[str, str], change: str | None, poll: int
) -> None:
    with Sql(database) as sql:
        if change:
            sql.look("select jobforge.limit_task('slow', %s)", change, user="jf_admin")
        with Worker(database.engine("jf_worker"), forge, poll=dt.timedelta(seconds=poll)) as worker:
            bed = worker._claimer._bed
            wait_for(lambda: bed.since is not None and time.monotonic() - bed.since > 1, what="it to sleep for a while")
            sql.fill("a", 10, type="slow", **options)
            wait_for(lambda: worker.outcomes["succeeded"] == 10, 6, "all of them")
