"""Jobs that come one at a time, after gaps by chance, so that nobody who polls falls into step."""

from __future__ import annotations

import math
import random
import time

from benchmarks.crew import Crew
from benchmarks.orders import order, orders
from benchmarks.question import Measured, Metric
from benchmarks.systems.system import Producer

P50, P99 = Metric("p50", "ms"), Metric("p99", "ms")
METRICS = (P50, P99, Metric("p50 from the call", "ms"))
GAP = (0.02, 0.08)  # seconds
FIRST = 0  # the order that shows that a worker is there


def idle(working: Crew, producer: Producer) -> None:
    """Wait until the workers have done a job, and have nothing else to do."""
    producer.each([order(FIRST)])
    working.must(lambda: working.board.of(FIRST) > 0, "the first job")
    time.sleep(0.5)


def waits(working: Crew, producer: Producer, jobs: int, *, seed: int = 1, seconds: float = 5) -> Measured:
    """Enqueue so many, and say how long they waited for their handlers."""
    chance = random.Random(seed)
    called, committed = dict[int, float](), dict[int, float]()

    def before(number: int) -> None:
        time.sleep(chance.uniform(*GAP))
        called[number] = time.monotonic()

    def after(number: int) -> None:
        committed[number] = time.monotonic()

    producer.each(orders(range(FIRST + 1, FIRST + 1 + jobs)), before, after)
    board = working.board
    working.until(lambda: all(board.of(number) for number in committed), seconds=seconds)
    return {
        **percentiles([_wait(board.of(number), at) for number, at in committed.items()]),
        "p50 from the call": percentiles([_wait(board.of(number), at) for number, at in called.items()])["p50"],
    }


def percentiles(found: list[float]) -> Measured:
    """The middle, and what one in a hundred exceeds."""
    found = sorted(found)
    return {"p50": found[len(found) // 2], "p99": found[min(len(found) - 1, int(len(found) * 0.99))]}


def _wait(began: float, since: float) -> float:
    return (began - since) * 1000 if began else math.inf
