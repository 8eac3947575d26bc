"""The worker against a real server: what runs, how runs end, and what each end leaves behind."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel

from jobforge_sa import (
    AsyncContext,
    Cancel,
    Context,
    Delays,
    Discard,
    Done,
    JobForge,
    Jobs,
    Retry,
    Snooze,
    Worker,
)
from jobforge_sa.errors import LeaseLost
from jobforge_sa.tasks import Task
from jobforge_sa.types import JobInfo
from tests.fix_postgres import Database
from tests.support import wait_for

SOON = Delays(dt.timedelta(milliseconds=20))


class Number(BaseModel):
    n: int


class Shop:
    """An application for a test: one login that is all there is, a registry, a table, and a worker."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.engine = database.engine("jf_one")
        self.forge = JobForge(tenant="acme")
        self.admin = database.engine()
        with self.admin.begin() as c:
            c.execute(sa.text("create table effects (n int, tenant text, at timestamptz default clock_timestamp())"))
            c.execute(sa.text("grant all on effects to public"))

    def task(self, **options: Any) -> Callable[[Callable[..., Any]], Task[Any, Any]]:
        return self.forge.task(**options)

    @contextmanager
    def working(self, **options: Any) -> Iterator[Worker]:
        defaults: dict[str, Any] = {"poll": dt.timedelta(milliseconds=100), "grace": dt.timedelta(seconds=5)}
        with Worker(self.engine, self.forge, **{**defaults, **options}) as worker:
            yield worker

    def enqueue(self, task: Task[Any, Any], n: int = 1, **options: Any) -> Any:
        with sa.orm.Session(self.engine) as session, session.begin():
            return Jobs(session).enqueue(task, Number(n=n), **options).id

    def get(self, job_id: Any) -> JobInfo:
        with sa.orm.Session(self.engine) as session:
            return Jobs(session, tenant="acme").get(job_id)

    def ended(self, job_id: Any, state: str, timeout: float = 10) -> JobInfo:
        wait_for(lambda: self.get(job_id).state == state, timeout, f"job to be {state}")
        return self.get(job_id)

    def attempts(self, job_id: Any) -> list[Any]:
        with self.admin.connect() as c:
            query = "select outcome, error, attempt from jobforge.attempts where job_id = :id order by run"
            return list(c.execute(sa.text(query), {"id": job_id}).all())

    def outcomes(self, job_id: Any) -> list[str]:
        return [row[0] for row in self.attempts(job_id)]

    def effects(self) -> list[int]:
        with self.admin.connect() as c:
            return list(c.execute(sa.text("select n from effects order by at")).scalars())


INSERT = sa.text("insert into effects values (:n, jobforge.current_tenant())")


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


def test_a_plain_handler_runs_and_its_result_is_stored(shop: Shop) -> None:
    @shop.task()
    def double(ctx: Context, payload: Number) -> int:
        return payload.n * 2

    job = shop.enqueue(double, 21)
    with shop.working():
        info = shop.ended(job, "succeeded")
    assert (info.result, info.run, info.attempt) == (42, 1, 1)
    assert shop.outcomes(job) == ["succeeded"]


def test_an_async_handler_runs_with_its_own_session(shop: Shop) -> None:
    @shop.task()
    async def store(ctx: AsyncContext, payload: Number) -> dict[str, int]:
        await ctx.session.execute(INSERT, {"n": payload.n})
        return {"stored": payload.n}

    job = shop.enqueue(store, 7)
    with shop.working():
        info = shop.ended(job, "succeeded")
    assert info.result == {"stored": 7}
    assert shop.effects() == [7]


def test_the_effects_of_a_handler_commit_together_with_its_completion(shop: Shop) -> None:
    seen: list[Any] = []

    @shop.task()
    def store(ctx: Context, payload: Number) -> None:
        ctx.session.execute(INSERT, {"n": payload.n})

    job = shop.enqueue(store, 5)

    @sa.event.listens_for(shop.engine, "commit")
    def look(connection: sa.Connection) -> None:  # the moment before: neither may be visible to anybody else
        seen.append((shop.effects(), shop.outcomes(job)))

    with shop.working():
        shop.ended(job, "succeeded")
    sa.event.remove(shop.engine, "commit", look)
    assert ([], []) in seen
    assert all(len(effects) == len(outcomes) for effects, outcomes in seen)
    assert (shop.effects(), shop.outcomes(job)) == ([5], ["succeeded"])


def test_a_handler_that_raises_leaves_no_effects(shop: Shop) -> None:
    @shop.task(max_attempts=2, retry=SOON)
    def store(ctx: Context, payload: Number) -> None:
        ctx.session.execute(INSERT, {"n": payload.n})
        raise ValueError("after the write")

    job = shop.enqueue(store)
    with shop.working():
        info = shop.ended(job, "dead")
    assert shop.effects() == []
    assert (info.run, info.attempt) == (2, 2)
    (_, error, attempt), _ = shop.attempts(job)
    assert (error["type"], error["message"], attempt) == ("ValueError", "after the write", 1)
    assert "in store" in error["traceback"]


def test_fault_011_a_handler_whose_lease_was_taken_away_leaves_no_effects(shop: Shop) -> None:
    """The zombie of G3 and G4: it writes, loses its lease, returns, and nothing of it counts."""
    first = threading.Event()
    lost: list[BaseException] = []

    @shop.task()
    def store(ctx: Context, payload: Number) -> None:
        ctx.session.execute(INSERT, {"n": ctx.job.run})
        if ctx.job.run == 1:
            first.set()
            wait_for(lambda: shop.outcomes(ctx.job.id), what="the lease to be rescued")

    job = shop.enqueue(store)
    with shop.working():
        first.wait(10)
        with shop.admin.begin() as c:  # as if the worker had been silent for too long
            c.execute(sa.text("update jobforge.workers set alive_until = clock_timestamp() - interval '1 s'"))
            assert c.execute(sa.text("select jobforge.rescue_expired_jobs()")).scalar() == 1
        info = shop.ended(job, "succeeded")
    assert shop.outcomes(job) == ["lost", "succeeded"]
    assert shop.effects() == [2]
    assert (info.attempt, info.crashes) == (1, 1)
    assert not lost


def test_fault_011_a_step_of_a_lost_run_is_not_committed(shop: Shop) -> None:
    raised: list[type[BaseException]] = []

    @shop.task()
    def steps(ctx: Context, payload: Number) -> None:
        ctx.session.execute(INSERT, {"n": 10 + ctx.job.run})
        ctx.session.commit()
        if ctx.job.run == 1:
            with shop.admin.begin() as c:
                c.execute(sa.text("update jobforge.leases set deadline = clock_timestamp()"))
                c.execute(sa.text("select jobforge.rescue_expired_jobs()"))
        ctx.session.execute(INSERT, {"n": 20 + ctx.job.run})
        try:
            ctx.session.commit()
        except LeaseLost as error:
            raised.append(type(error))
            raise

    job = shop.enqueue(steps, retry=SOON)
    with shop.working():
        shop.ended(job, "succeeded")
    assert raised == [LeaseLost]
    assert sorted(shop.effects()) == [11, 12, 22]
    assert shop.outcomes(job) == ["timed_out", "succeeded"]


@pytest.mark.parametrize(
    ("make", "state", "outcomes"),
    [
        (lambda: Done({"a": 1}), "succeeded", ["succeeded"]),
        (lambda: Discard("no use"), "dead", ["failed"]),
        (lambda: Cancel("too late"), "canceled", ["canceled"]),
        (lambda: Retry("again", after=dt.timedelta(milliseconds=10)), "dead", ["failed", "failed"]),
    ],
    ids=["Done", "Discard", "Cancel", "Retry"],
)
@pytest.mark.parametrize("raised", [False, True], ids=["returned", "raised"])
def test_outcomes_end_the_run_and_a_returned_one_keeps_the_effects(
    shop: Shop, make: Callable[[], Any], state: str, outcomes: list[str], raised: bool
) -> None:
    @shop.task(max_attempts=2)
    def end(ctx: Context, payload: Number) -> Any:
        ctx.session.execute(INSERT, {"n": 1})
        if raised:
            raise make()
        return make()

    job = shop.enqueue(end)
    with shop.working():
        shop.ended(job, state)
    assert shop.outcomes(job) == outcomes
    assert len(shop.effects()) == (0 if raised else len(outcomes))


def test_a_snooze_is_not_charged(shop: Shop) -> None:
    @shop.task(max_attempts=1)
    def later(ctx: Context, payload: Number) -> None:
        if ctx.job.run < 4:
            raise Snooze(dt.timedelta(milliseconds=1))

    job = shop.enqueue(later)
    with shop.working():
        info = shop.ended(job, "succeeded")
    assert (info.run, info.attempt) == (4, 1)


def test_a_queue_never_runs_more_than_its_slots_plain_and_async_together(shop: Shop) -> None:
    running, peak, lock = [0], [0], threading.Lock()

    def enter(step: int) -> None:
        with lock:
            running[0] += step
            peak[0] = max(peak[0], running[0])

    @shop.task()
    def plain(ctx: Context, payload: Number) -> None:
        enter(1)
        time.sleep(0.002)
        enter(-1)

    @shop.task()
    async def light(ctx: AsyncContext, payload: Number) -> None:
        enter(1)
        await asyncio.sleep(0.002)
        enter(-1)

    with sa.orm.Session(shop.engine) as session, session.begin():
        Jobs(session).enqueue_many([(plain, light)[n % 2].new(Number(n=n)) for n in range(200)])
    with shop.working(queues={"default": 3}) as worker:
        assert worker.drain(30)
        assert worker.outcomes["succeeded"] == 200
    assert peak[0] == 3


def test_a_slow_job_does_not_hold_up_the_others(shop: Shop) -> None:
    release = threading.Event()

    @shop.task()
    def slow(ctx: Context, payload: Number) -> None:
        release.wait(10)

    @shop.task()
    def quick(ctx: Context, payload: Number) -> None: ...

    first = shop.enqueue(slow)
    with shop.working(queues={"default": 2}):
        wait_for(lambda: shop.get(first).state == "running")
        for _ in range(20):  # one after the other, through the one slot that is left
            shop.ended(shop.enqueue(quick), "succeeded")
        assert shop.get(first).state == "running"
        release.set()
        shop.ended(first, "succeeded")


def test_a_sleeping_worker_is_woken_by_the_commit(shop: Shop) -> None:
    @shop.task()
    def quick(ctx: Context, payload: Number) -> None: ...

    with shop.working(poll=dt.timedelta(seconds=60)) as worker:
        assert worker.drain(5)
        wait_for(lambda: worker._claimer._rest.idle >= 9, 60, "the worker to fall asleep for long")
        shop.ended(shop.enqueue(quick), "succeeded", timeout=5)


def test_fault_027_where_notify_is_off_polling_finds_the_jobs(shop: Shop) -> None:
    @shop.task()
    def quick(ctx: Context, payload: Number) -> None: ...

    with shop.working(listen=False, poll=dt.timedelta(milliseconds=50)):
        shop.ended(shop.enqueue(quick), "succeeded", timeout=5)


def test_a_scheduled_job_runs_when_it_is_due_and_not_before(shop: Shop) -> None:
    @shop.task()
    def quick(ctx: Context, payload: Number) -> None: ...

    job = shop.enqueue(quick, delay=dt.timedelta(milliseconds=400))
    assert shop.get(job).state == "scheduled"
    with shop.working(poll=dt.timedelta(milliseconds=50)):
        info = shop.ended(job, "succeeded")
    with shop.admin.connect() as c:
        claimed = c.execute(sa.text("select claimed_at from jobforge.attempts")).scalar_one()
    assert claimed >= info.run_at


def test_a_result_that_the_database_refuses_ends_the_job_with_the_reason(shop: Shop) -> None:
    @shop.task()
    def large(ctx: Context, payload: Number) -> str:
        return "x" * 300_000

    @shop.task()
    def large_in_session(ctx: Context, payload: Number) -> str:
        ctx.session.execute(INSERT, {"n": 1})
        return "x" * 300_000

    jobs = [shop.enqueue(large), shop.enqueue(large_in_session)]
    with shop.working():
        for job in jobs:
            shop.ended(job, "dead")
            assert "262144 bytes" in shop.attempts(job)[0][1]["message"]
    assert shop.effects() == []


def test_fault_012_a_canceled_run_stops_where_it_asks(shop: Shop) -> None:
    started = threading.Event()

    @shop.task()
    def long(ctx: Context, payload: Number) -> None:
        ctx.session.execute(INSERT, {"n": 1})
        started.set()
        while True:
            ctx.check()
            time.sleep(0.005)

    @shop.task()
    async def long_async(ctx: AsyncContext, payload: Number) -> None:
        started.set()
        await asyncio.sleep(60)

    for task in (long, long_async):
        started.clear()
        job = shop.enqueue(task)
        with shop.working(lease=dt.timedelta(seconds=1)):
            started.wait(10)
            with sa.orm.Session(shop.engine) as session, session.begin():
                assert Jobs(session, tenant="acme").cancel(job).state == "running"
            shop.ended(job, "canceled")
        assert shop.outcomes(job) == ["canceled"]
    assert shop.effects() == []


def test_fault_014_a_handler_of_several_leases_keeps_its_lease_while_its_worker_lives(shop: Shop) -> None:
    @shop.task()
    def long(ctx: Context, payload: Number) -> None:
        until = time.monotonic() + 2.5
        while time.monotonic() < until:  # busy: the heartbeat has to get through
            pass

    job = shop.enqueue(long)
    lease = dt.timedelta(seconds=1)  # one slot: no claim shows a sign of life while the job runs; the other rescues
    with shop.working(lease=lease, concurrency=1), shop.working(lease=lease, queues=["elsewhere"]):
        info = shop.ended(job, "succeeded")
    assert (info.run, shop.outcomes(job)) == (1, ["succeeded"])


def test_an_async_handler_is_cut_at_its_timeout_and_charged(shop: Shop) -> None:
    @shop.task(timeout=dt.timedelta(milliseconds=50), max_attempts=2, retry=SOON)
    async def long(ctx: AsyncContext, payload: Number) -> None:
        await asyncio.sleep(60)

    @shop.task(timeout=dt.timedelta(seconds=30), max_attempts=1)
    async def own(ctx: AsyncContext, payload: Number) -> None:
        raise TimeoutError("the gateway's")

    job, other = shop.enqueue(long), shop.enqueue(own)
    with shop.working():
        shop.ended(job, "dead")
        shop.ended(other, "dead")
    assert shop.outcomes(job) == ["timed_out", "timed_out"]
    assert shop.attempts(other)[0][1]["message"] == "the gateway's"


def test_the_least_rights_are_enough_a_worker_login_and_an_app_login(shop: Shop) -> None:
    @shop.task()
    def store(ctx: Context, payload: Number) -> None:
        ctx.session.execute(INSERT, {"n": payload.n})

    @shop.task()
    def plain(ctx: Context, payload: Number) -> None: ...

    jobs = [shop.enqueue(store, 3), shop.enqueue(plain)]
    worker, app = shop.database.engine("jf_worker"), shop.database.engine("jf_app")
    with Worker(worker, shop.forge, session_engine=app):
        for job in jobs:
            shop.ended(job, "succeeded")
    assert shop.effects() == [3]


def test_thousands_of_jobs_of_many_tenants_each_run_once(shop: Shop) -> None:
    shop.forge.tenant = None
    counts: dict[int, int] = {}

    @shop.task()
    def count(ctx: Context, payload: Number) -> None:
        counts[payload.n] = counts.get(payload.n, 0) + 1

    with sa.orm.Session(shop.engine) as session, session.begin():
        for tenant in range(20):
            numbers = range(tenant * 100, tenant * 100 + 100)
            Jobs(session, tenant=tenant).enqueue_many([count.new(Number(n=n)) for n in numbers])
    with shop.working() as one, shop.working() as two:
        assert one.drain(30)
        assert two.drain(30)
        assert one.outcomes["succeeded"] + two.outcomes["succeeded"] == 2000
    assert counts == dict.fromkeys(range(2000), 1)


def test_a_refused_or_malformed_end_is_one_charged_failure_and_no_endless_run(shop: Shop) -> None:
    """An error that is too long, a delay of the wrong type or beyond all measure: each ran for ever, uncharged."""
    ends: list[BaseException] = [
        ValueError("中" * 20_000),
        Retry("x", after=dt.timedelta(days=20_000)),
        Snooze(5),  # type: ignore[arg-type]
        Retry("x", after=5),  # type: ignore[arg-type]
    ]

    @shop.task(max_attempts=1)
    def end(ctx: Context, payload: Number) -> None:
        raise ends[payload.n]

    jobs = [shop.enqueue(end, n) for n in range(len(ends))]
    with shop.working(concurrency=2) as worker:
        for job in jobs:
            info = shop.ended(job, "dead")
            assert (info.run, info.attempt, shop.outcomes(job)) == (1, 1, ["failed"])
        assert worker.drain(5)


def test_a_batch_for_which_the_database_raises_is_told_one_by_one(shop: Shop) -> None:
    """What nobody foresaw in one job's completion must not hold up the jobs of all tenants for ever."""
    with shop.admin.begin() as c:
        c.execute(sa.text("alter table jobforge.attempts add check (run_ms <> 0 or error is null)"))
        c.execute(sa.text("alter table jobforge.outcomes add check (tenant_id <> 'poison' or state <> 'succeeded')"))
    release = threading.Event()

    @shop.task()
    def wait(ctx: Context, payload: Number) -> None:
        release.wait(10)
        time.sleep(0.01)

    with sa.orm.Session(shop.engine) as session, session.begin():
        poison = Jobs(session, tenant="poison").enqueue(wait, Number(n=0)).id
    good = [shop.enqueue(wait, n) for n in range(5)]
    with shop.working() as worker:
        wait_for(lambda: len(worker._runs) == 6)
        release.set()
        for job in good:
            shop.ended(job, "succeeded")
        assert worker.drain(5)
    with sa.orm.Session(shop.engine) as session:
        assert Jobs(session, tenant="poison").get(poison).state == "dead"


def test_a_queue_with_work_does_not_wait_because_another_is_empty(shop: Shop) -> None:
    @shop.task(queue="a")
    def one(ctx: Context, payload: Number) -> None:
        time.sleep(0.05)

    @shop.task(queue="b")
    def other(ctx: Context, payload: Number) -> None: ...

    jobs = [shop.enqueue(one) for _ in range(4)]
    with shop.working(queues={"a": 1, "b": 10}, poll=dt.timedelta(seconds=30), listen=False):
        for job in jobs:
            shop.ended(job, "succeeded", timeout=5)


def test_a_success_that_waits_to_be_told_is_not_given_back_by_stop(shop: Shop) -> None:
    @shop.task()
    def quick(ctx: Context, payload: Number) -> None: ...

    jobs = [shop.enqueue(quick) for _ in range(20)]
    holding = shop.admin.connect()
    holding.execute(sa.text("lock table jobforge.outcomes in access exclusive mode"))
    with shop.working() as worker:
        wait_for(lambda: worker._reporter.backlog == 20, what="all to wait")
        worker._release_all()
        holding.rollback()
        holding.close()
        for job in jobs:
            shop.ended(job, "succeeded")
    assert {outcome for job in jobs for outcome in shop.outcomes(job)} == {"succeeded"}
