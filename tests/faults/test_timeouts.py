"""Timeouts that an operator has set for a login: they end statements and transactions, never a worker."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Worker
from tests.faults.ground import QUICK, RUNS, STATES, Ground, enqueue, own_ground
from tests.support import wait_for

SHORT = {
    "statement_timeout": "1s",
    "lock_timeout": "200ms",
    "idle_in_transaction_session_timeout": "1s",
    "idle_session_timeout": "300ms",
    "transaction_timeout": "1s",  # from Postgres 17 on
}
MINE = "select array_agg(pid order by pid) as pids from pg_stat_activity where usename = 'jf_worker'"


@pytest.fixture(scope="module")
def shared() -> Iterator[Ground]:
    with own_ground() as ground:
        yield ground


@pytest.fixture
def ground(shared: Ground) -> Iterator[Ground]:
    yield shared
    shared.run("alter role jf_worker reset all", "alter role jf_app reset all")
    shared.clean()


def limit(ground: Ground, login: str, **settings: str) -> None:
    known = {row["name"] for row in ground.look("select name from pg_settings")}
    ground.run(*(f"alter role {login} set {name} = '{value}'" for name, value in settings.items() if name in known))


def test_fault_056_057_a_worker_whose_logins_have_short_timeouts_does_its_jobs(ground: Ground) -> None:
    for login in ("jf_worker", "jf_app"):
        limit(ground, login, **SHORT)
    forge = JobForge(tenant="a")

    @forge.task()
    def quick(ctx: Context, payload: dict[str, int]) -> None:
        ctx.session.execute(sa.text("insert into effects values (:n)"), payload)

    @forge.task(max_attempts=1)
    def slow(ctx: Context, payload: dict[str, int]) -> None:
        ctx.session.execute(sa.text("select pg_sleep(20)"))

    @forge.task(max_attempts=1)
    def idle(ctx: Context, payload: dict[str, int]) -> None:
        ctx.session.execute(sa.text("insert into effects values (0)"))
        time.sleep(1.5)  # its transaction is open and does nothing

    app = ground.engine("jf_app")
    with Worker(ground.engine("jf_worker"), forge, session_engine=app, lease=dt.timedelta(seconds=1)) as worker:
        wait_for(lambda: len(ground.look(MINE)[0]["pids"] or ()) == 4, what="the worker's connections")  # no report yet
        before = ground.look(MINE)
        bad = [enqueue(app, slow), enqueue(app, idle)]
        good = [enqueue(app, quick, n + 1) for n in range(50)]
        wait_for(lambda: all(ground.ended(job) for job in bad + good), 20, "all to end")
        assert set(before[0]["pids"]) < set(ground.look(MINE)[0]["pids"]), "idle connections of the worker's were ended"
        ended = worker.outcomes
        del ended["lost"]  # with a lease of a second a busy machine may lose one; then it runs again
        assert ended == {"succeeded": 50, "failed": 2}
    assert ground.counts(STATES) == {"succeeded": 50, "dead": 2}
    assert ground.look("select count(*) as n from effects where n = 0")[0]["n"] == 0
    errors = ground.look("select error->>'message' as said from jobforge.attempts where outcome = 'failed'")
    assert all("timeout" in row["said"] or "connection" in row["said"] for row in errors), errors


def test_fault_056_a_statement_timeout_inside_an_enqueue_leaves_nothing_and_the_session_goes_on(ground: Ground) -> None:
    limit(ground, "jf_app", statement_timeout="300ms")
    with pytest.raises(sa.exc.OperationalError) as caught:
        _behind_a_twin(ground)
    assert isinstance(caught.value.orig, psycopg.errors.QueryCanceled)
    assert ground.counts(STATES) == {"queued": 1}  # the second one's other job is not there


def test_fault_022_an_enqueuer_that_waits_for_an_open_twin_does_so_as_long_as_its_lock_timeout(ground: Ground) -> None:
    limit(ground, "jf_app", lock_timeout="200ms")
    with pytest.raises(sa.exc.OperationalError) as caught:
        _behind_a_twin(ground)
    assert isinstance(caught.value.orig, psycopg.errors.LockNotAvailable)
    assert ground.counts(STATES) == {"queued": 1}


def _behind_a_twin(ground: Ground) -> None:
    """Two transactions enqueue with one key; the second meets the first while that is open."""
    app, task = ground.engine("jf_app"), JobForge(tenant="a").task()(_nothing)
    first, second = Session(app), Session(app)
    with first, second:
        Jobs(first).enqueue(task, {"n": 1}, idempotency_key="one")
        try:
            Jobs(second).enqueue(task, {"n": 2})
            Jobs(second).enqueue(task, {"n": 3}, idempotency_key="one")
        finally:
            first.commit()
            second.rollback()
            assert len(Jobs(second, tenant="a").list().jobs) == 1


def _nothing(ctx: Context, payload: dict[str, int]) -> None: ...


def test_fault_057_a_caller_that_idles_in_its_transaction_is_ended_and_its_job_never_was(ground: Ground) -> None:
    limit(ground, "jf_app", idle_in_transaction_session_timeout="200ms")
    forge, ran = JobForge(tenant="a"), list[int]()

    @forge.task()
    def note(ctx: Context, payload: dict[str, int]) -> None:
        ran.append(payload["n"])

    app = ground.engine("jf_app")
    with Worker(ground.engine("jf_one"), forge, **QUICK):
        with Session(app) as session:
            job: uuid.UUID = Jobs(session).enqueue(note, {"n": 1}).id
            pid = session.scalar(sa.text("select pg_backend_pid()"))
            gone = f"select not exists (select from pg_stat_activity where pid = {pid}) as it"
            wait_for(lambda: ground.look(gone)[0]["it"], 10, "Postgres to end the caller")
            with pytest.raises(sa.exc.DBAPIError):
                session.commit()
        second = enqueue(app, note, 2)
        wait_for(lambda: ground.ended(second), 10, "the next job")
    assert ran == [2]
    assert ground.look("select * from jobforge.jobs where id = %s", job) == []
    assert ground.counts(RUNS) == {"succeeded": 1}
