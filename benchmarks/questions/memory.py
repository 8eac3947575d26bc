"""A worker process that may run fifty handlers at once: the most memory that it had resident, behind 2,000 jobs.

Ours and absurd's have fifty threads, each of which was at work (20 ms a job), the loop by hand has one; the others run
coroutines on one loop. `VmHWM` of the process, with the interpreter, the driver and all libraries that it imports. One
round, for it is the same each time.
"""

from __future__ import annotations

from benchmarks.crew import crew
from benchmarks.question import Case, Contender, Measured, Metric, Setting
from benchmarks.systems.system import Database, Purpose, System


def _of(system: System, jobs: int) -> Contender:
    def run(database: Database) -> Measured:
        with crew(system, database, Purpose.FIFTY) as working:
            working.go()
            working.must(lambda: working.board.began > 0, "the first handler")
            working.until(lambda: working.board.began >= jobs * 0.95, seconds=4)
            return {"memory": working.memory}

    return Contender(lambda place: place.filled(system, jobs), run)


def cases(setting: Setting) -> list[Case]:
    """One size."""
    jobs = setting.size(2_000, 200)
    contenders = {system.name: _of(system, jobs) for system in setting.without("by hand 500")}
    return [Case("fifty handlers at once", contenders, (Metric("memory", "MB"),), plot="memory", rounds=1)]
