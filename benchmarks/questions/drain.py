"""A backlog of jobs that do nothing, worked off by one worker process, and by two that share two cores with Postgres.

From the first handler's start until the last completion is committed, counted in the system's own tables by another
connection; after so many seconds slow ones are stopped, and what they have done until then counts. WAL and commits
are what the server counted, divided by the jobs that were completed; full page images after the checkpoint that
precedes each run are in it. The memory is the most that one worker process had resident.
Not fair to us: the loop by hand has none of what makes a queue (see `systems/by_hand.py`), runs its handlers one after
the other in its only thread, and its batch is a barrier: one slow job holds up all others of its batch. The peers are
tuned for drains, ours has its defaults; ours validates the payload with pydantic, the peers hand over a dictionary.
Not fair to it: the worker has a connection for claims and one for completions, so two backends work at the same time,
and a claim of ours does not wait for the disk. Kind to slow peers: the longer a drain, the more of their own bloat.
"""

from __future__ import annotations

from benchmarks import drained
from benchmarks.question import Case, Contender, Setting
from benchmarks.systems.system import System

SECONDS = 4


def cases(setting: Setting) -> list[Case]:
    """One worker, two workers."""
    jobs, seconds = setting.size(20_000, 1_000), setting.size(SECONDS, 2)

    def contender(system: System, workers: int) -> Contender:
        return Contender(
            lambda place: place.filled(system, jobs),
            lambda database: drained.drain(system, database, jobs, seconds, workers),
        )

    return [
        Case(
            f"{jobs:,} jobs or {seconds} s, {workers} worker process{'es' if workers > 1 else ''}",
            {system.name: contender(system, workers) for system in setting.systems},
            drained.METRICS, plot="throughput",
        )
        for workers in (1, 2)
    ]  # fmt: skip
