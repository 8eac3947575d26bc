"""Races between a worker's threads, each as named steps: no database, no clock."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import threading
import uuid
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import sqlalchemy as sa

from jobforge_sa.context import ClaimedJob
from jobforge_sa.tasks import JobForge
from jobforge_sa.tracing import Span
from jobforge_sa.worker import deadlines
from jobforge_sa.worker import ending as endings
from jobforge_sa.worker.counters import Counters
from jobforge_sa.worker.incidents import Incidents
from jobforge_sa.worker.lane import Lane
from jobforge_sa.worker.pool import Duty, ProcessPool
from jobforge_sa.worker.process import Process
from jobforge_sa.worker.reporter import Reporter
from jobforge_sa.worker.run import Run, Runs
from jobforge_sa.worker.wire import Wire

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ENGINE = sa.create_engine("postgresql+psycopg://nobody@nowhere/")  # nobody connects
forge = JobForge(tenant="a")


@forge.task()
def task(ctx: object, payload: dict[str, int]) -> None: ...


def claimed(kind: type[Run] = Run) -> Run:
    job = ClaimedJob(
        id=uuid.uuid4(), tenant_id="a", queue="default", type="task", priority=0, payload="{}", run=1, attempt=1,
        max_attempts=5, crashes=0, lease_token=uuid.uuid4(), claimed_at=NOW, deadline=NOW, timeout=None, run_at=NOW,
        created_at=NOW, idempotency_key=None, parent_id=None, trace=None,
    )  # fmt: skip
    return kind(job, task)


class Child:
    """Stands for a process that lives."""

    ready = alive = True

    def __init__(self) -> None:
        self.kills = 0

    def tell(self, _token: uuid.UUID, _why: str) -> bool:
        return True

    def kill(self) -> None:
        self.kills += 1


def untraced(_job: ClaimedJob) -> AbstractContextManager[Span]:
    return nullcontext(Span())


def pool() -> ProcessPool:
    return ProcessPool(ENGINE, None, lambda *_: None, untraced, Incidents(Counters()))


def test_a_process_that_has_the_next_job_by_now_is_not_killed_for_the_last_one() -> None:
    children, child = pool(), Child()
    process = cast(Process, child)
    late, innocent = Duty(claimed(), since=0.0), Duty(claimed())
    late.run.timed_out = True
    now = deadlines.PATIENCE + 1
    children._duties[process] = innocent  # between the look at the late one, and what follows from it
    children._look_after(process, late, now)
    assert child.kills == 0
    children._duties[process] = late
    children._look_after(process, late, now)
    assert child.kills == 1


def test_a_process_that_was_given_up_just_when_it_was_through_gets_no_other_job() -> None:
    children, child = pool(), Child()
    ended: list[str] = []
    child.end = lambda: ended.append("end")  # type: ignore[attr-defined]
    child.close = lambda: ended.append("close")  # type: ignore[attr-defined]
    process = cast(Process, child)
    late = Duty(claimed(), given_up=True)

    def converse(process: Process, run: Run, span: Span) -> endings.Ending:
        children._duties[process] = late
        return endings.SUCCEEDED

    children._take, children._converse = lambda: process, converse  # type: ignore[method-assign]
    assert children._serve(late.run, Span()) is endings.SUCCEEDED
    assert (children._idle, children._duties, ended) == ([], {}, ["end", "close"])


def test_a_run_that_gets_no_process_because_the_worker_stops_is_given_back_uncharged() -> None:
    children, told = pool(), list[endings.Ending]()
    children._report = lambda _run, ending: told.append(ending)
    children.kill()  # a second signal, while a lane's thread begins a run
    children.run(claimed())
    assert told == [endings.RELEASED]


def test_a_lane_that_is_closed_takes_nothing_and_starts_nothing() -> None:
    ran: list[Run] = []
    lane = Lane("default", 1, ran.append, lambda *_: None)
    assert lane.close() == []
    runs = [claimed(), claimed()]
    assert lane.offer(runs) == runs
    assert (lane.active, ran) == (0, [])


def test_one_end_of_a_run_is_told_of_two_that_come_together() -> None:
    meet = threading.Barrier(2)

    class Slow(Run):
        """Its `told` is read by two threads before either sets it, unless one has to wait."""

        __slots__ = ("_told",)

        @property
        def told(self) -> bool:
            told = getattr(self, "_told", False)
            with contextlib.suppress(threading.BrokenBarrierError):
                meet.wait(0.5)
            return bool(told)

        @told.setter
        def told(self, value: bool) -> None:
            self._told = value

    reporter = Reporter(ENGINE, Runs(Incidents(Counters())), lambda *_: None)
    run = claimed(Slow)
    both = [threading.Thread(target=reporter.report, args=(run, end)) for end in (endings.SUCCEEDED, endings.RELEASED)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(10)
    assert reporter.backlog == 1


def test_a_word_to_a_child_that_reads_nothing_holds_up_nobody() -> None:
    ours, its = socket.socketpair()
    with its, ours:
        wire = Wire(ours)
        ours.setblocking(False)
        try:
            while True:
                ours.send(b"x" * 1000)
        except BlockingIOError:
            ours.setblocking(True)
        answers: list[Any] = []
        teller = threading.Thread(target=lambda: answers.append(wire.try_to_send(b"stop")), daemon=True)
        teller.start()
        teller.join(5)
        assert answers == [False]
        while len(its.recv(1 << 20)) == 1 << 20:
            pass
        its.setblocking(False)
        try:
            while its.recv(1 << 20):
                pass
        except BlockingIOError:
            pass
        assert wire.try_to_send(b"stop")


def test_a_process_that_nobody_waits_for_any_more_is_not_started() -> None:
    children = pool()
    asked: list[BaseException] = []

    def ask() -> None:
        try:
            children._take()
        except BaseException as error:
            asked.append(error)

    children._killing = True
    ask()
    assert [str(error) for error in asked] == ["the worker stops"]
    assert children._wanted.empty()
