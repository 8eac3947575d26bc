"""What happens to a worker's threads: there are no more of them, or a log handler raises in one."""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from jobforge_sa import AsyncContext, Context, JobForge, Worker
from tests.faults.ground import QUICK, enqueue
from tests.fix_postgres import Database
from tests.support import wait_for

LEASE = dt.timedelta(seconds=1)


class Shortage:
    """Threads whose names begin so cannot be started, as where a container's limit is reached."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.name, self.lasts, self.refused = name, True, 0
        real = threading.Thread.start

        def start(thread: threading.Thread) -> None:
            if self.lasts and thread.name.startswith(self.name):
                self.refused += 1
                raise RuntimeError("can't start new thread")
            real(thread)

        monkeypatch.setattr(threading.Thread, "start", start)


def forged() -> JobForge:
    forge = JobForge(tenant="a")

    @forge.task()
    def plain(ctx: Context, payload: dict[str, int]) -> None: ...

    @forge.task("async")
    async def _async(ctx: AsyncContext, payload: dict[str, int]) -> None: ...

    return forge


@pytest.mark.parametrize(("task", "threads"), [("plain", "jobforge-default-"), ("async", "jobforge-loop")])
def test_a_job_for_which_no_thread_can_be_started_runs_when_there_are_some_again(
    database: Database, monkeypatch: pytest.MonkeyPatch, task: str, threads: str
) -> None:
    forge, shortage = forged(), Shortage(monkeypatch, threads)
    engine = database.engine("jf_one")
    with Worker(engine, forge, concurrency=1, **QUICK) as worker:
        enqueue(engine, forge.tasks[task])
        wait_for(lambda: shortage.refused > 1, 20, "the worker to try")
        assert worker.outcomes == {}
        shortage.lasts = False
        wait_for(lambda: worker.outcomes == {"succeeded": 1}, 30, "the job to run")
        enqueue(engine, forge.tasks[task])
        wait_for(lambda: worker.outcomes == {"succeeded": 2}, 30, "the next one")


def test_what_waits_for_a_thread_is_given_back_by_stop(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    forge, shortage = forged(), Shortage(monkeypatch, "jobforge-default-")
    engine = database.engine("jf_one")
    with Worker(engine, forge, concurrency=1, **QUICK) as worker:
        enqueue(engine, forge.tasks["plain"])
        wait_for(lambda: shortage.refused > 1, 20, "the worker to try")
    assert worker.outcomes == {"released": 1}
    with database.engine().connect() as connection:
        assert connection.scalar(sa.text("select attempt + crashes from jobforge.ready")) == 0


def test_a_worker_that_cannot_start_all_its_threads_has_none(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(threading.enumerate())
    shortage = Shortage(monkeypatch, "jobforge-processes")  # the last one: all others run
    worker = Worker(database.engine("jf_one"), forged(), **QUICK)
    with pytest.raises(RuntimeError, match="new thread"):
        worker.start()
    assert [thread.name for thread in set(threading.enumerate()) - before if "jobforge" in thread.name] == []
    with database.engine().connect() as connection:
        assert connection.scalar(sa.text("select count(*) from jobforge.workers")) == 0
    shortage.lasts = False
    with worker:
        enqueue(database.engine("jf_one"), forged().tasks["plain"])
        wait_for(lambda: worker.outcomes == {"succeeded": 1}, 20)


@pytest.fixture
def broken_log(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """A log handler of the application's that raises; gives what it was asked to write."""
    asked: list[str] = []

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            asked.append(record.getMessage())
            raise OSError("no space left on device")

    handler, logger = Broken(), logging.getLogger("jobforge_sa")
    logger.addHandler(handler)
    caplog.set_level(logging.INFO, "jobforge_sa")  # the end of an outage, too
    yield asked
    logger.removeHandler(handler)


def test_a_log_handler_that_raises_stops_no_thread_of_a_worker(database: Database, broken_log: list[str]) -> None:
    forge, engine = forged(), database.engine("jf_one", poolclass=sa.NullPool)
    before = set(threading.enumerate())
    with Worker(engine, forge, lease=LEASE, **QUICK) as worker, database.engine().connect() as admin:
        enqueue(engine, forge.tasks["plain"])
        wait_for(lambda: worker.outcomes == {"succeeded": 1}, 20)
        threads = {thread for thread in set(threading.enumerate()) - before if thread.name.startswith("jobforge-")}
        asked = len(broken_log)
        admin.execute(sa.text("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'jf_one'"))
        wait_for(lambda: any("trying again" in line for line in broken_log[asked:]), 20, "the outage to be told")
        enqueue(engine, forge.tasks["plain"])
        wait_for(lambda: worker.outcomes == {"succeeded": 2}, 20, "the next job")
        wait_for(lambda: any("works again" in line for line in broken_log), 20, "the end of the outage to be told")
        assert {thread.name for thread in threads if not thread.is_alive()} == set()
