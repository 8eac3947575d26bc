"""An idle worker in another process: from the answer of the commit to the first line of the handler.

One job at a time, after gaps of 20 to 80 ms by chance, so that nobody who polls falls into step. CLOCK_MONOTONIC,
which all processes of a machine share. A handler may begin before the committing process has its core back, so a wait
can be shorter than nothing; "from the call" has the enqueue and its commit in it, and no such surprise.
Not fair: the loop by hand handles a job in the thread that has heard the notification, and the async peers on the loop
that has; our worker passes it from the listener to the claimer to a handler's thread, so that none of them ever waits
for another. Those who poll were set to poll each 50 ms, which nobody would pay for in production.
"""

from __future__ import annotations

from benchmarks import paced
from benchmarks.crew import crew
from benchmarks.question import Case, Contender, Measured, Setting
from benchmarks.systems.system import Database, Purpose, System


def _of(system: System, jobs: int) -> Contender:
    def run(database: Database) -> Measured:
        with crew(system, database, Purpose.LATENCY) as working, system.producer(database) as producer:
            working.go()
            paced.idle(working, producer)
            return paced.waits(working, producer, jobs)

    return Contender(lambda place: place.template(system), run)


def cases(setting: Setting) -> list[Case]:
    """One load."""
    jobs = setting.size(80, 10)
    contenders = {system.name: _of(system, jobs) for system in setting.without("by hand 500")}
    return [Case(f"{jobs} jobs, one at a time", contenders, paced.METRICS, plot="p50")]
