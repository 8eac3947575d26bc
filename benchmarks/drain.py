"""A backlog of jobs that do nothing, worked off by one process: our `Worker` beside the queue written by hand.

From before the connection until the last completion is answered; the payload of 200 bytes is validated by pydantic.
Not fair to us: the loop by hand has none of what makes a queue (see `by_hand`), runs its handlers one after the other
in the only thread, and its batch is a barrier: one slow job holds up all others of its batch.
Not fair to it: the worker has a connection for claims and one for completions, so two backends of the server work
at the same time; a claim of ours does not wait for the disk, each of the loop's two statements does; ours begins with
small claims and finds its own batch, the loop is given its best. Ours keeps an attempt and an outcome of each job.
"""

from __future__ import annotations

import itertools

from benchmarks import by_hand, child, ours
from benchmarks.arena import Database
from benchmarks.question import Case, Run


def fill(database: Database, tenants: dict[str, range]) -> None:
    """The same jobs for both sides."""
    ours.fill(database.engine(), tenants)
    with database.connect() as connection:
        by_hand.fill(connection, ours.pairs(tenants))


def _ours(jobs: int) -> Run:
    def run(database: Database) -> dict[str, float]:
        seconds = child.call(ours.drain, database.url, jobs)
        done = database.value("select count(*) from jobforge.outcomes where state = 'succeeded'")
        return {"throughput": _checked(jobs, done) / seconds}

    return run


def _by_hand(jobs: int, batch: int, end: str) -> Run:
    def run(database: Database) -> dict[str, float]:
        seconds = child.call(by_hand.drain, database.dsn, jobs, batch, end)
        left = database.value("select count(*) from yard.queue where state <> 'succeeded'")
        return {"throughput": _checked(jobs, jobs - left) / seconds}

    return run


def _checked(jobs: int, done: int) -> int:
    if done != jobs:
        raise AssertionError(f"{done} of {jobs} jobs are done in the database")
    return jobs


def cases(*, quick: bool) -> list[Case]:
    """Few and many tenants."""
    jobs = 1_000 if quick else 20_000
    contenders = {
        "Worker, as it comes": _ours(jobs),
        "by hand: batch 100, UPDATE": _by_hand(jobs, 100, by_hand.UPDATE),
        "by hand: batch 500, UPDATE": _by_hand(jobs, 500, by_hand.UPDATE),
        "by hand: batch 500, DELETE": _by_hand(jobs, 500, by_hand.DELETE),
    }
    if quick:
        contenders = dict(itertools.islice(contenders.items(), 2))
    return [
        Case(f"{jobs:,} jobs of {tenants:,} tenant{'s' if tenants > 1 else ''}", contenders,
             fill=lambda database, n=tenants: fill(database, ours.split(jobs, n)))  # type: ignore[misc]
        for tenants in ((10,) if quick else (1, 10, 1_000))
    ]  # fmt: skip
