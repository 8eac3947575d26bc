"""What goes wrong with a run can be seen three times: on the job's record, in the log, in the worker's numbers."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import uuid
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Context, Discard, JobForge, Jobs, Snooze, Worker
from jobforge_sa.tasks import Task
from jobforge_sa.worker import deadlines
from jobforge_sa.worker.counters import NAMES, Counters
from tests.acceptance.cli import jobforge
from tests.fix_postgres import Database
from tests.support import call, wait_for

Payload = dict[str, Any]


class Shop:
    """Handlers whose runs come to grief."""

    def __init__(self, database: Database) -> None:
        self.database, self.engine, self.admin = database, database.engine("jf_one"), database.engine()
        self.forge = JobForge(tenant="acme")
        self.running, self.gate = threading.Event(), threading.Event()

        @self.forge.task(max_attempts=1)
        def waits(ctx: Context, payload: Payload) -> None:
            if payload.get("session"):
                ctx.session.execute(sa.text("select 1"))
            if ctx.job.run == 1:
                self.running.set()
                self.gate.wait(30)

        @self.forge.task()
        def ends(ctx: Context, payload: Payload) -> Any:
            if payload.get("session"):
                ctx.session.execute(sa.text("select 1"))
            if payload["how"] == "snooze" and ctx.job.run == 1:
                return Snooze(dt.timedelta(milliseconds=1))
            return Discard("no use") if payload["how"] == "discard" else None

        self.waits, self.ends = waits, ends

    def worker(self, **options: Any) -> Worker:
        return Worker(self.engine, self.forge, poll=dt.timedelta(milliseconds=50), **options)

    def enqueue(self, task: Task[Any, Any], timeout: dt.timedelta | None = None, **payload: object) -> uuid.UUID:
        with Session(self.engine) as session, session.begin():
            return Jobs(session).enqueue(task, payload, timeout=timeout).id

    def attempts(self, job: uuid.UUID) -> list[tuple[str, str]]:
        """Outcome and message of each run that has ended."""
        with self.admin.connect() as c:
            query = "select outcome, error ->> 'message' from jobforge.attempts where job_id = :id order by run"
            return [(row[0], row[1] or "") for row in c.execute(sa.text(query), {"id": job})]

    def take_away(self) -> None:
        """As if the worker had been silent for too long."""
        with self.admin.begin() as c:
            c.execute(sa.text("update jobforge.workers set alive_until = clock_timestamp() - interval '1 s'"))
            assert c.scalar(sa.text("select jobforge.rescue_expired_jobs()")) == 1


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


def lines(caplog: pytest.LogCaptureFixture, words: str, job: uuid.UUID) -> list[int]:
    """The runs of that job of which these words were said, each at WARNING and with all that finds it."""
    found = [record for record in caplog.records if words in record.getMessage()]
    for record in found:
        fields = record.__dict__
        assert (record.levelno, fields["job_id"], fields["job_type"]) == (logging.WARNING, str(job), "waits")
        assert (fields["tenant_id"], fields["attempt"]) == ("acme", 1)
        assert str(job) in record.getMessage()
        assert "waits" in record.getMessage()
    return [record.__dict__["run"] for record in found]


@pytest.mark.parametrize("noticed", ["by the heartbeat", "by the completion", "by the session"])
def test_a_lost_lease_is_on_record_in_the_log_and_counted_once(
    shop: Shop, caplog: pytest.LogCaptureFixture, noticed: str
) -> None:
    job = shop.enqueue(shop.waits, session=noticed == "by the session")
    with shop.worker(concurrency=1, lease=dt.timedelta(seconds=3 if noticed == "by the heartbeat" else 300)) as worker:
        assert shop.running.wait(10)
        shop.take_away()
        if noticed == "by the heartbeat":
            wait_for(lambda: worker.stats()["lost"] == 1)
        shop.gate.set()
        wait_for(lambda: worker.stats()["succeeded"] == 1)
        assert worker.drain(10)
        assert worker.stats() == dict.fromkeys(NAMES, 0) | {"claimed": 2, "succeeded": 1, "lost": 1}
        assert worker.outcomes == {"succeeded": 1, "lost": 1}
    assert lines(caplog, "its lease was lost", job) == [1]
    assert lines(caplog, "was lost with its worker, 1 times so far", job) == [2]
    assert shop.attempts(job) == [("lost", "the worker stopped sending heartbeats"), ("succeeded", "")]
    page = jobforge(shop.database.url("jf_admin"), "jobs", "show", str(job)).stdout
    assert "WorkerLost: the worker stopped sending heartbeats" in page


def test_a_rescue_is_on_record_in_the_log_and_counted_by_who_made_it(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    job = shop.enqueue(shop.waits)
    with psycopg.connect(shop.database.dsn("jf_worker"), autocommit=True, row_factory=psycopg.rows.dict_row) as dead:
        call(dead, "claim_jobs", worker_id=uuid.uuid4(), queues=["default"], types=["waits"], limit=1)
    with shop.admin.begin() as c:
        c.execute(sa.text("update jobforge.workers set alive_until = clock_timestamp()"))
    shop.gate.set()
    with shop.worker(lease=dt.timedelta(seconds=1)) as worker:
        wait_for(lambda: worker.stats()["succeeded"] == 1)
        assert worker.stats() == dict.fromkeys(NAMES, 0) | {"claimed": 1, "succeeded": 1, "rescued": 1}
    said = [record.levelno for record in caplog.records if record.getMessage().startswith("rescued 1 jobs")]
    assert said == [logging.WARNING]
    assert lines(caplog, "its worker was lost, the job was taken back", job) == [1]
    assert lines(caplog, "was lost with its worker, 1 times so far", job) == [2]
    assert [outcome for outcome, _ in shop.attempts(job)] == ["lost", "succeeded"]


def test_a_job_whose_claim_was_never_heard_of_is_in_the_log_and_counted(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.gate.set()
    with shop.worker(queues=["default"], lease=dt.timedelta(seconds=1)) as worker:
        worker._claimer.stop(10)
        job = shop.enqueue(shop.waits)
        with psycopg.connect(shop.database.dsn("jf_worker"), autocommit=True, row_factory=psycopg.rows.dict_row) as its:
            call(its, "claim_jobs", worker_id=worker.id, queues=["default"], types=["waits"], limit=1)
        wait_for(lambda: worker.stats()["unheard"], 10, "the heartbeat to hear of it")
        assert worker.stats() == dict.fromkeys(NAMES, 0) | {"unheard": 1}
    said = [record.__dict__["job_id"] for record in caplog.records if "the answer to its claim" in record.getMessage()]
    assert said == [str(job)]
    assert [outcome for outcome, _ in shop.attempts(job)] == ["released"]


def test_a_handler_left_behind_is_on_record_in_the_log_and_counted(
    shop: Shop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "PATIENCE", 0.2)
    job = shop.enqueue(shop.waits, timeout=dt.timedelta(seconds=0.2))
    with shop.worker() as worker:
        wait_for(lambda: worker.stats()["timed_out"] == 1)
        assert worker.stats() == dict.fromkeys(NAMES, 0) | {"claimed": 1, "timed_out": 1, "abandoned": 1}
        shop.gate.set()
    assert lines(caplog, "its thread is left behind", job) == [1]
    ((outcome, message),) = shop.attempts(job)
    assert (outcome, message.endswith("its thread was left behind")) == ("timed_out", True)


@pytest.mark.parametrize("session", [False, True])
def test_each_run_is_counted_by_its_outcome_also_where_its_session_told_the_database(shop: Shop, session: bool) -> None:
    for how in ("well", "snooze", "discard"):
        shop.enqueue(shop.ends, how=how, session=session)
    with shop.worker() as worker:
        wait_for(lambda: sum(worker.outcomes.values()) == 4)
        expected = {"claimed": 4, "succeeded": 2, "snoozed": 1, "failed": 1}
        assert worker.stats() == dict.fromkeys(NAMES, 0) | expected
    assert worker.stats()["claimed"] == 4
    with worker:
        assert worker.stats()["claimed"] == 4  # they only grow, also over a stop


def test_many_threads_count_right() -> None:
    counters = Counters()

    def count() -> None:
        for _ in range(20_000):
            counters.add("claimed")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.read() == dict.fromkeys(NAMES, 0) | {"claimed": 160_000}
