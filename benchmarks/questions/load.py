"""Under half of the load that a system can just carry: how long a job waits, and how often somebody is woken.

First the most that one worker and one producer manage together for some seconds: batches of 100 in a transaction each,
held back while more than 2,000 jobs have not begun. Then half of that, in a transaction each 10 ms; one job of each
transaction is clocked, from the answer of its commit to the first line of its handler. NOTIFYs are counted by a
listener of our own: Postgres makes one of equal ones of a transaction.
Of those systems only that have a real bulk; the others cannot be fed so. Not fair: producer, worker and server share
two cores, so a producer that is dear (ours checks and computes more) makes the worker's load smaller.
"""

from __future__ import annotations

import math
import time

from benchmarks import paced
from benchmarks.crew import Crew, crew
from benchmarks.orders import ANYONE, order, orders
from benchmarks.question import Case, Contender, Measured, Metric, Setting
from benchmarks.systems.system import Database, Producer, Purpose, System

BATCH, AHEAD, TICK = 100, 2_000, 0.01
METRICS = (paced.P50, paced.P99, Metric("load", "jobs/s", more_is_better=True), Metric("NOTIFYs", "for 1,000 jobs"))


def _peak(working: Crew, producer: Producer, seconds: float) -> float:
    """Jobs a second that begin while as many are enqueued; the first half of the time is to get going."""
    some, sent = orders([ANYONE]) * BATCH, working.board.began
    half = began = 0.0
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        if not half and now > end - seconds / 2:
            half, began = now, working.board.began
        if sent - working.board.began < AHEAD:
            producer.many(some)
            sent += BATCH
        else:
            time.sleep(0.001)
    rate = (working.board.began - began) / (time.monotonic() - half)
    working.must(lambda: working.board.began > sent - BATCH, "the end of the peak")
    time.sleep(0.5)
    return rate


def _carried(working: Crew, producer: Producer, rate: float, seconds: float) -> tuple[list[float], int]:
    """The waits under a load, and how many jobs it was."""
    committed = dict[int, float]()
    some, began, sent = order(ANYONE), time.monotonic(), 0
    while (now := time.monotonic()) < began + seconds:
        due = int((now - began) * rate) - sent
        if due:
            number = len(committed) + 1
            producer.many([order(number), *[some] * (due - 1)])
            committed[number] = time.monotonic()
            sent += due
        time.sleep(max(0.0, TICK - (time.monotonic() - now)))
    board = working.board
    working.until(lambda: all(board.of(number) for number in committed), seconds=5)
    return [(board.of(n) - at) * 1000 if board.of(n) else math.inf for n, at in committed.items()], sent


def _of(system: System, quick: bool) -> Contender:
    seconds = 1.0 if quick else 3.0

    def run(database: Database) -> Measured:
        with (
            crew(system, database, Purpose.DRAIN) as working,
            system.producer(database) as producer,
            database.connect() as listener,
        ):
            working.go()
            paced.idle(working, producer)
            load = _peak(working, producer, seconds) / 2
            if system.channel:
                listener.execute(f'listen "{system.channel}"'.encode())
            waits, sent = _carried(working, producer, load, seconds)
            heard = sum(1 for _ in listener.notifies(timeout=0.2)) if system.channel else math.nan
        return paced.percentiles(waits) | {"load": sent / seconds, "NOTIFYs": heard * 1000 / sent}

    return Contender(lambda place: place.template(system), run)


def cases(setting: Setting) -> list[Case]:
    """Those with a real bulk."""
    able = [system for system in setting.without("by hand 500") if system.bulk >= 50_000]
    return [Case("half of the peak", {system.name: _of(system, setting.quick) for system in able}, METRICS, plot="p99")]
