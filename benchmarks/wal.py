"""Bytes of WAL for a job's whole life: what every replica, archive and backup pays too.

Enqueued in bulk, drained by one worker, then vacuumed. The space of the pruned rows later is not counted.
Not fair: ours ends with an immutable job, an attempt and an outcome that can be looked at; the queue by hand with
one row that was updated twice and knows the last state only. "run" contains the first touch of each page after a
checkpoint (full page images), and what autovacuum did meanwhile.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from benchmarks import by_hand, child, ours
from benchmarks.arena import Database
from benchmarks.question import Case, Measured, Metric, Run

METRICS = tuple(Metric(name, "B/job", more_is_better=False) for name in ("enqueue", "run", "vacuum", "whole life"))


def _written(database: Database) -> int:
    # inserted, not written out: the commits of claims do not wait for that
    return int(database.value("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"))


def _life(jobs: int, enqueue: Callable[[Database], None], drain: Callable[[Database], float]) -> Run:
    def run(database: Database) -> Measured:
        marks = [_written(database)]
        for step in (enqueue, drain, Database.vacuum):
            step(database)
            marks.append(_written(database))
        parts = [(after - before) / jobs for before, after in itertools.pairwise(marks)]
        return dict(zip((metric.name for metric in METRICS), [*parts, sum(parts)], strict=True))

    return run


def cases(*, quick: bool) -> list[Case]:
    """Ten tenants."""
    jobs = 1_000 if quick else 20_000
    tenants = ours.split(jobs, 10)

    def enqueue_by_hand(database: Database) -> None:
        with database.connect() as connection:
            by_hand.fill(connection, ours.pairs(tenants))

    def drain_by_hand(batch: int) -> Callable[[Database], float]:
        return lambda database: child.call(by_hand.drain, database.dsn, jobs, batch, by_hand.UPDATE)

    contenders = {
        "enqueue_many, Worker": _life(
            jobs,
            lambda database: ours.fill(database.engine(), tenants),
            lambda database: child.call(ours.drain, database.url, jobs),
        ),
        "by hand: batch 100, UPDATE": _life(jobs, enqueue_by_hand, drain_by_hand(100)),
        "by hand: batch 500, UPDATE": _life(jobs, enqueue_by_hand, drain_by_hand(500)),
    }
    if quick:
        contenders = dict(itertools.islice(contenders.items(), 2))
    return [Case(f"{jobs:,} jobs of 10 tenants", contenders, METRICS)]
