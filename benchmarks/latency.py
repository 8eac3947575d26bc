"""An idle worker in another process: from just before the commit to the first line of the handler.

One job at a time, after gaps of 20 to 80 ms by chance, so that nobody who polls falls into step. CLOCK_MONOTONIC,
which all processes of a machine share. The commit, with its wait for the disk, is part of it on both sides: measured
from its return, the committing process often gets its core back later than the handler begins, and the figure is
the scheduler's (medians of 0.3 and of 1.6 ms for the same code, some of the waits negative).
Not fair: the loop by hand handles a job in the thread that has heard the notification; the worker passes it from the
listener to the claimer to a handler's thread, so that none of them ever waits for another. The loop waits for the
disk when it claims, the worker does not.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import psycopg
import sqlalchemy as sa

from benchmarks import by_hand, child, ours
from benchmarks.arena import Database
from benchmarks.question import Case, Measured, Metric
from jobforge_sa import Context, JobForge, Jobs, Worker

METRICS = (Metric("p50", "ms", more_is_better=False), Metric("p99", "ms", more_is_better=False))
Heard = dict[int, float]  # number of the order: when its handler began
Pipe: TypeAlias = "Connection[Any, Any]"


def work_ours(url: str, pipe: Pipe) -> None:
    """Our worker, until the pipe is asked for what it has heard."""
    heard: Heard = {}
    forge = JobForge()

    @forge.task("nothing")
    def clocked(_ctx: Context, payload: ours.Order) -> None:
        heard[payload.number] = time.monotonic()

    with Worker(url, forge):
        pipe.send("ready")
        pipe.recv()
    pipe.send(heard)


def work_by_hand(dsn: str, pipe: Pipe) -> None:
    """LISTEN, wait, claim what there is; look once a second without having heard anything."""
    heard: Heard = {}

    def clocked(payload: ours.Order) -> None:
        heard[payload.number] = time.monotonic()

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("listen yard")
        pipe.send("ready")
        while not pipe.poll():
            for _ in connection.notifies(timeout=1.0, stop_after=1):
                pass
            while by_hand.work(connection, 100, by_hand.UPDATE, clocked):
                pass
    pipe.send(heard)


def _paced(connection: sa.Connection, enqueue: Callable[[int], None], pipe: Pipe, jobs: int) -> Measured:
    pipe.recv()
    time.sleep(0.5)  # until it is idle
    chance = random.Random(1)
    committing: Heard = {}
    for number in range(jobs):
        time.sleep(chance.uniform(0.02, 0.08))
        enqueue(number)
        committing[number] = time.monotonic()
        connection.commit()
    time.sleep(1.2)  # what was missed is found by looking
    pipe.send("stop")
    heard: Heard = pipe.recv()
    if missing := committing.keys() - heard:
        raise AssertionError(f"{len(missing)} of {jobs} jobs never reached a handler")
    waits = sorted((heard[number] - at) * 1000 for number, at in committing.items())
    return {"p50": statistics.median(waits), "p99": waits[int(len(waits) * 0.99)]}


def _ours(database: Database, jobs: int) -> Measured:
    with child.beside(work_ours, database.url) as pipe, database.engine().connect() as connection:

        def enqueue(number: int) -> None:
            Jobs(connection, tenant="main").enqueue(ours.nothing, ours.order(number))

        return _paced(connection, enqueue, pipe, jobs)


def _by_hand(database: Database, jobs: int) -> Measured:
    with child.beside(work_by_hand, database.dsn) as pipe, database.engine().connect() as connection:

        def enqueue(number: int) -> None:
            connection.exec_driver_sql(by_hand.ENQUEUE, (ours.order(number).model_dump_json(),))
            connection.exec_driver_sql("select pg_notify('yard', '')")

        return _paced(connection, enqueue, pipe, jobs)


def cases(*, quick: bool) -> list[Case]:
    """One load."""
    jobs = 10 if quick else 200
    contenders = {"Worker": lambda db: _ours(db, jobs), "by hand: LISTEN loop": lambda db: _by_hand(db, jobs)}
    return [Case(f"{jobs} jobs, one at a time", contenders, METRICS)]
