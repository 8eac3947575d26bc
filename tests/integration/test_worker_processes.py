"""Handlers in child processes: what they do like those in threads, how they die, and that nobody else does."""

from __future__ import annotations

import datetime as dt
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Jobs, TenantKey, Worker, seal
from jobforge_sa.tasks import Task
from jobforge_sa.types import JobInfo
from jobforge_sa.worker import deadlines
from tests.fix_postgres import Database
from tests.integration import process_app as app
from tests.integration.process_app import Order
from tests.support import wait_for

SOON = dt.timedelta(seconds=0.4)


class Shop:
    """The application of process_app, one login, and a folder in which its handlers say how far they are."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        self.engine = database.engine("jf_one", pool_size=10)
        self.admin = database.engine()
        with self.admin.begin() as c:
            c.execute(sa.text("create table effects (n int, tenant text)"))
            c.execute(sa.text("grant all on effects to jf_one"))

    @contextmanager
    def working(self, **options: Any) -> Iterator[Worker]:
        defaults: dict[str, Any] = {"poll": dt.timedelta(milliseconds=50), "grace": dt.timedelta(seconds=5)}
        with Worker(self.engine, app.forge, **{**defaults, **options}) as worker:
            yield worker

    def enqueue(
        self, task: Task[Any, Any], n: int = 1, how: str = "", timeout: dt.timedelta | None = None, **options: Any
    ) -> uuid.UUID:
        with Session(self.engine) as session, session.begin():
            order = Order(n=n, folder=str(self.folder), how=how)
            return Jobs(session, tenant="acme").enqueue(task, order, timeout=timeout, **options).id

    def get(self, job: uuid.UUID) -> JobInfo:
        with Session(self.engine) as session:
            return Jobs(session, tenant="acme").get(job)

    def ended(self, job: uuid.UUID, state: str, timeout: float = 30) -> JobInfo:
        wait_for(lambda: self.get(job).finished_at is not None, timeout, f"job to be {state}")
        info = self.get(job)
        assert info.state == state, self.attempts(job)
        return info

    def attempts(self, job: uuid.UUID) -> list[Any]:
        with self.admin.connect() as c:
            query = "select outcome, error, attempt from jobforge.attempts where job_id = :id order by run"
            return list(c.execute(sa.text(query), {"id": job}).all())

    def outcomes(self, job: uuid.UUID) -> list[str]:
        return [row[0] for row in self.attempts(job)]

    def effects(self) -> list[int]:
        with self.admin.connect() as c:
            return list(c.execute(sa.text("select n from effects order by n")).scalars())

    def running(self, n: int = 1) -> int:
        """Wait until that handler says that it runs; its process."""
        said = self.folder / f"running-{n}"
        wait_for(said.exists, 30, f"{said.name}")
        return int(said.read_text())

    def open_gate(self) -> None:
        (self.folder / "gate").touch()

    def cancel(self, job: uuid.UUID) -> None:
        with Session(self.engine) as session, session.begin():
            Jobs(session, tenant="acme").cancel(job)


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Shop:
    return Shop(database, tmp_path)


def lives(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int) -> None:
    wait_for(lambda: not lives(pid), 10, f"process {pid} to be gone")


# -- like a thread ---------------------------------------------------------------------


def test_a_child_runs_one_job_after_the_other_and_has_nothing_of_its_workers(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with shop.working() as worker:
        first, second = (shop.ended(shop.enqueue(app.who, n), "succeeded").result for n in (1, 2))
        assert first == second
        assert isinstance(first, dict)
        assert first["is"] == "jf_one for acme"
        assert (first["parent"], first["main"], first["sockets"]) == (os.getpid(), True, 2)  # the wire, the session's
        assert (first["group"], first["score"]) == (first["pid"], 500)
        assert worker.stats()["claimed"] == worker.stats()["succeeded"] == 2
    gone(first["pid"])
    (line, _) = (record for record in caplog.records if record.name == "jobforge_sa.handler")
    assert (line.getMessage(), line.levelno) == ("it is 1", logging.WARNING)
    assert (line.__dict__["order"], line.__dict__["tenant_id"]) == (1, "acme")


@pytest.mark.parametrize(
    "moment", ["before the write", "after the write", "between completion and commit", "after the commit"]
)
def test_a_child_killed_at_any_moment_leaves_its_effects_exactly_once(shop: Shop, moment: str) -> None:
    job = shop.enqueue(app.store, 7, moment)
    with shop.working() as worker:
        info = shop.ended(job, "succeeded")
        assert worker.drain(20)
    assert shop.effects() == [7]
    assert info.result == 7
    assert shop.outcomes(job) == (["succeeded"] if moment == "after the commit" else ["failed", "succeeded"])


@pytest.mark.parametrize(
    ("how", "state", "outcomes", "effects"),
    [
        ("done returned", "succeeded", ["succeeded"], 1),
        ("done raised", "succeeded", ["succeeded"], 0),
        ("discard returned", "dead", ["failed"], 1),
        ("cancel raised", "canceled", ["canceled"], 0),
        ("retry raised", "dead", ["failed", "failed"], 0),
        ("snooze returned", "succeeded", ["snoozed", "snoozed", "succeeded"], 3),
        ("error raised", "dead", ["failed", "failed"], 0),
    ],
)
def test_outcomes_come_back_from_a_child(shop: Shop, how: str, state: str, outcomes: list[str], effects: int) -> None:
    job = shop.enqueue(app.ends, how=how, retry=app.SOON)
    with shop.working() as worker:
        shop.ended(job, state)
        worker.drain(5)
        assert sum(worker.outcomes.values()) == len(outcomes)
        assert worker.outcomes[outcomes[0]] == outcomes.count(outcomes[0])
    assert shop.outcomes(job) == outcomes
    assert len(shop.effects()) == effects
    if how.startswith("error"):
        error = shop.attempts(job)[0][1]
        assert error["type"] == "ValueError"
        assert error["message"].startswith("password=*** 中")
        assert len(error["message"]) < 6000
        assert "in ends" in error["traceback"]


def test_a_child_enqueues_for_its_tenant_and_the_job_is_the_childs_child(shop: Shop) -> None:
    job = shop.enqueue(app.parent, 3)
    with shop.working() as worker:
        shop.ended(job, "succeeded")
        assert worker.drain(20)
    with Session(shop.engine) as session:
        (child,) = (one for one in Jobs(session, tenant="acme").list().jobs if one.type == "who")
    assert (child.parent_id, child.state, child.tenant_id) == (job, "succeeded", "acme")


def test_a_child_acts_for_its_tenant_by_a_token_where_tenants_are_signed(shop: Shop) -> None:
    key = TenantKey.generate("k1")
    with shop.admin.begin() as c:
        c.execute(sa.text("set local role jobforge_owner"))
        signed = "select jobforge.add_tenant_key(:id, :secret), jobforge.use_tenancy('signed')"
        c.execute(sa.text(signed), {"id": key.id, "secret": key.secret})
    seal(shop.engine)
    with Session(shop.engine) as session, session.begin():
        for task in (app.who, app.store):
            Jobs(session, tenant=key.tenant("acme")).enqueue(task, Order(n=4))
    with shop.admin.connect() as c, Worker(shop.database.engine("jf_worker"), app.forge,
                                           session_engine=shop.database.engine("jf_one")) as worker:  # fmt: skip
        wait_for(lambda: worker.outcomes["succeeded"] == 2, 30)
        results = c.execute(sa.text("select value from jobforge.results order by job_id")).scalars().all()
    assert results[0]["is"] == "jf_one for acme"
    assert results[0]["sockets"] == 2
    assert shop.effects() == [4]


def test_what_is_busy_runs_at_once_in_two_children_and_in_no_more(shop: Shop) -> None:
    jobs = [shop.enqueue(app.spins, n) for n in (1, 2, 3)]
    with shop.working(queues={"default": 2}) as worker:
        pids = {shop.running(1), shop.running(2)}
        assert len(pids | {os.getpid()}) == 3
        assert [shop.get(job).state for job in jobs[:2]] == ["running", "running"]
        assert not (shop.folder / "running-3").exists()
        shop.open_gate()
        assert {shop.ended(job, "succeeded").result for job in jobs} == pids
        assert worker.stats()["died"] == 0
    for pid in pids:
        gone(pid)


def test_plain_handlers_stay_in_the_worker(shop: Shop) -> None:
    jobs = [shop.enqueue(app.thread), shop.enqueue(app.who)]
    with shop.working():
        assert shop.ended(jobs[0], "succeeded").result == os.getpid()
        assert shop.ended(jobs[1], "succeeded").result != os.getpid()


def test_a_child_ignores_the_signals_that_are_sent_to_all_of_a_service(shop: Shop) -> None:
    job = shop.enqueue(app.spins)
    with shop.working():
        pid = shop.running()
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        shop.open_gate()
        assert shop.ended(job, "succeeded").result == pid


# -- how they stop ---------------------------------------------------------------------


@pytest.mark.parametrize("task", ["asks", "queries"])
@pytest.mark.parametrize("why", ["timeout", "cancel"])
def test_a_child_is_told_first_and_one_that_stops_is_kept(shop: Shop, task: str, why: str) -> None:
    with shop.working(lease=dt.timedelta(minutes=5)) as worker:
        shop.ended(shop.enqueue(app.who), "succeeded")  # so that it runs in a child that had nothing to do
        time.sleep(0.3)  # and whose keeper sleeps: three of its looks
        job = shop.enqueue(getattr(app, task), timeout=SOON if why == "timeout" else None)
        pid = shop.running()
        if why == "cancel":
            shop.cancel(job)
        shop.ended(job, "dead" if why == "timeout" else "canceled", 5)
        assert shop.outcomes(job) == ["timed_out" if why == "timeout" else "canceled"]
        after = shop.ended(shop.enqueue(app.who), "succeeded").result
        assert isinstance(after, dict)
        assert after["pid"] == pid
        assert worker.stats()["killed"] == 0
    assert shop.effects() == []


@pytest.mark.parametrize("task", ["spins", "frozen"])
@pytest.mark.parametrize("why", ["timeout", "cancel"])
def test_fault_016_what_ignores_timeout_and_cancel_is_killed_in_its_process(
    shop: Shop, task: str, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deadlines, "PATIENCE", 0.3)
    job = shop.enqueue(getattr(app, task), timeout=SOON if why == "timeout" else None)
    other = shop.enqueue(app.spins, 2)
    with shop.working(queues={"default": 2}) as worker:
        pid, neighbour = shop.running(1), shop.running(2)
        if why == "cancel":
            shop.cancel(job)
        shop.ended(job, "dead" if why == "timeout" else "canceled", 10)
        gone(pid)
        shop.open_gate()
        assert shop.ended(other, "succeeded").result == neighbour
        assert (worker.stats()["killed"], worker.stats()["died"], worker.stats()["abandoned"]) == (1, 0, 0)
    ((outcome, error, _),) = shop.attempts(job)
    assert outcome == ("timed_out" if why == "timeout" else "canceled")
    assert error["message"].endswith("its process was killed")
    assert shop.effects() == [2]
    (line,) = (record for record in caplog.records if "its process was killed" in record.getMessage())
    assert (line.levelno, line.__dict__["job_id"], line.__dict__["run"]) == (logging.WARNING, str(job), 1)


@pytest.mark.parametrize("task", ["spins", "frozen"])
def test_a_child_whose_lease_is_lost_is_killed_and_leaves_no_effects(
    shop: Shop, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "PATIENCE", 0.3)
    job = shop.enqueue(getattr(app, task))
    with shop.working(lease=dt.timedelta(seconds=1)) as worker:
        pid = shop.running()
        with shop.admin.begin() as c:
            c.execute(sa.text("update jobforge.leases set deadline = clock_timestamp()"))
            assert c.scalar(sa.text("select jobforge.rescue_expired_jobs()")) in (0, 1)  # or its own upkeep was first
        gone(pid)
        wait_for(lambda: worker.stats()["killed"] == 1)
        assert worker.drain(10)
        assert worker.stats()["lost"] == 1
    assert shop.outcomes(job) == ["timed_out"]
    assert shop.effects() == []


@pytest.mark.parametrize("how", ["segfault", "exit", "abort", "kill"])
def test_fault_036_a_child_that_dies_fails_its_job_with_the_reason_and_harms_nobody(
    shop: Shop, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    job, neighbour, thread = shop.enqueue(app.dies, 1, how), shop.enqueue(app.spins, 2), shop.enqueue(app.thread, 3)
    with shop.working() as worker:
        died, other = shop.running(1), shop.running(2)
        shop.open_gate()
        shop.ended(job, "dead")
        assert shop.ended(neighbour, "succeeded").result == other
        assert shop.ended(thread, "succeeded").result == os.getpid()
        after = shop.ended(shop.enqueue(app.who), "succeeded").result
        assert isinstance(after, dict)
        assert after["pid"] != died
        assert (worker.stats()["died"], worker.stats()["killed"]) == (1, 0)
    ((outcome, error, attempt),) = shop.attempts(job)
    assert (outcome, error["type"], attempt) == ("failed", "ProcessDied", 1)
    words = {"segfault": "SIGSEGV", "exit": "status 3", "abort": "SIGABRT", "kill": "SIGKILL, perhaps for want of"}
    assert words[how] in error["message"]
    assert {shop.get(other).crashes for other in (job, neighbour, thread)} == {0}
    (line,) = (record for record in caplog.records if "its process died" in record.getMessage())
    assert (line.levelno, line.__dict__["job_id"], line.__dict__["tenant_id"]) == (logging.WARNING, str(job), "acme")


def test_a_handler_that_leaves_by_sys_exit_fails_its_job_and_its_process_goes_on(shop: Shop) -> None:
    shop.open_gate()
    job = shop.enqueue(app.dies, 1, "leave")
    with shop.working() as worker:
        shop.ended(job, "dead")
        after = shop.ended(shop.enqueue(app.who), "succeeded").result
        assert isinstance(after, dict)
        assert after["pid"] == shop.running()
        assert worker.stats()["died"] == 0
    assert shop.attempts(job)[0][1]["type"] == "SystemExit"


@pytest.mark.parametrize("how", ["is killed", "dies"])
def test_what_a_handler_has_started_ends_with_its_process(
    shop: Shop, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it has inherited the wire, which therefore does not end with the child."""
    monkeypatch.setattr(deadlines, "PATIENCE", 0.2)
    job = shop.enqueue(app.breeds, 1, how, timeout=SOON if how == "is killed" else None)
    with shop.working():
        shop.ended(job, "dead", 10)
    gone(shop.running())
    gone(int((shop.folder / "bred").read_text()))


def test_a_child_that_died_idle_is_replaced(shop: Shop) -> None:
    with shop.working() as worker:
        first = shop.ended(shop.enqueue(app.who), "succeeded").result
        assert isinstance(first, dict)
        os.kill(first["pid"], signal.SIGKILL)
        gone(first["pid"])
        second = shop.ended(shop.enqueue(app.who), "succeeded").result
        assert isinstance(second, dict)
        assert second["pid"] != first["pid"]
        assert worker.outcomes["succeeded"] == 2  # the job may have met it in the instant of its death, and run again


# -- the end of the worker ---------------------------------------------------------------


def test_stop_lets_children_finish_within_the_grace(shop: Shop) -> None:
    job = shop.enqueue(app.spins)
    with shop.working() as worker:
        pid = shop.running()

        def open_gate() -> None:
            wait_for(lambda: not worker._running)
            shop.open_gate()

        opener = threading.Thread(target=open_gate)
        opener.start()
        assert worker.stop(30)
        opener.join()
    assert shop.ended(job, "succeeded").result == pid
    gone(pid)


@pytest.mark.parametrize("task", ["asks", "queries", "spins", "frozen"])
def test_stop_gives_back_uncharged_what_runs_for_longer_and_no_child_is_left(shop: Shop, task: str) -> None:
    job = shop.enqueue(getattr(app, task))
    with shop.working() as worker:
        pid = shop.running()
        began = time.monotonic()
        assert worker.stop(0.05) is (task in ("asks", "queries"))
        assert time.monotonic() - began < 10
    gone(pid)
    info = shop.get(job)
    assert (info.state, info.attempt, shop.outcomes(job)) == ("queued", 0, ["released"])
    assert shop.effects() == []
    assert not [thread for thread in threading.enumerate() if thread.name == "jobforge-processes"]


@pytest.mark.parametrize("how", ["spins", "dies"])
def test_a_process_that_does_not_end_well_behind_its_completion_changes_nothing(shop: Shop, how: str) -> None:
    """It is killed at its timeout all the same: its slot must not be lost."""
    with shop.working(concurrency=1) as worker:
        job = shop.enqueue(app.completes, how=how, timeout=SOON)
        shop.running()
        wait_for(lambda: worker.stats()["killed" if how == "spins" else "died"], 20, "the process to be gone")
        shop.ended(shop.enqueue(app.store, n=2), "succeeded")
    assert (shop.get(job).state, shop.get(job).result, shop.outcomes(job)) == ("succeeded", 1, ["succeeded"])
    assert (shop.effects(), worker.outcomes) == ([1, 2], {"succeeded": 2})
