"""A backlog of 10,000 jobs, and the first 20,000 of 1,000,000: what was asked long ago should not make today slow.

Measured as in "Drain", with one worker process. Of the million only the first 20,000 jobs, or as many as fit into the
time, are waited for: completions are counted from when so many have begun, until nine of ten are there; in the smaller
backlog it is the last one's completion.
All jobs of ours belong to one tenant. The peers' backlogs are copies of the rows of one job that was really enqueued.
"""

from __future__ import annotations

from benchmarks import drained
from benchmarks.arena import Arena
from benchmarks.question import RATE, Case, Contender, Setting
from benchmarks.systems import ours
from benchmarks.systems.system import System


def filled(place: Arena, system: System, jobs: int) -> str:
    """A backlog; ours of one tenant."""
    if system is ours.SYSTEM:
        return place.template(
            system, f"{jobs} jobs of one tenant", lambda database: ours.SYSTEM.fill(database, jobs, tenants=1)
        )
    return place.filled(system, jobs)


def _of(system: System, backlog: int, jobs: int, seconds: float) -> Contender:
    return Contender(
        lambda place: filled(place, system, backlog),
        lambda database: drained.drain(system, database, jobs, seconds, backlog=backlog > jobs),
    )


def cases(setting: Setting) -> list[Case]:
    """Small and large."""
    small, large, first = setting.size(10_000, 500), setting.size(1_000_000, 2_000), setting.size(20_000, 500)
    seconds, systems = setting.size(3, 2), setting.without("by hand 500")
    return [
        Case(
            f"{backlog:,} jobs waiting: the first {jobs:,} or {seconds} s",
            {system.name: _of(system, backlog, jobs, seconds) for system in systems}, (RATE,), plot="throughput",
        )
        for backlog, jobs in ((small, small), (large, first))
    ]  # fmt: skip
