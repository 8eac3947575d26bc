"""While another connection holds a snapshot, as a report or a dump does: vacuum can remove nothing that dies.

A drain as in "Drain", with one worker process, and then, with all that is dead still there, jobs that come one at a
time as in "Idle latency". Those who have not worked off the backlog in time are not asked for the second.
"""

from __future__ import annotations

import math

from benchmarks import drained, paced
from benchmarks.crew import crew
from benchmarks.question import RATE, Case, Contender, Measured, Metric, Setting
from benchmarks.systems.system import Database, Purpose, System

METRICS = (RATE, Metric("trickle p50", "ms"), Metric("trickle p99", "ms"))


def _of(system: System, jobs: int, seconds: float, trickle: int) -> Contender:
    def run(database: Database) -> Measured:
        with (
            database.connect() as holder,
            crew(system, database, Purpose.DRAIN) as working,
            system.producer(database) as producer,
            database.connect() as connection,
        ):
            holder.execute("begin isolation level repeatable read")
            holder.execute("select count(*) from pg_class")
            working.go()
            watch = drained.Watch(connection, system)
            rate = drained.pace(working, watch, jobs, seconds)
            waits = {"p50": math.nan, "p99": math.nan}
            if watch.done()[0] >= jobs:
                paced.idle(working, producer)
                waits = paced.waits(working, producer, trickle)
        return {"throughput": rate, "trickle p50": waits["p50"], "trickle p99": waits["p99"]}

    return Contender(lambda place: place.filled(system, jobs), run)


def cases(setting: Setting) -> list[Case]:
    """One size."""
    jobs, seconds, trickle = setting.size(20_000, 1_000), setting.size(4, 2), setting.size(50, 10)
    contenders = {s.name: _of(s, jobs, seconds, trickle) for s in setting.without("by hand 500")}
    return [Case(f"{jobs:,} jobs or {seconds} s, then {trickle} one at a time", contenders, METRICS, plot="throughput")]
