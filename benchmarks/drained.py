"""A backlog worked off, and what it cost: seen from outside, by the rows that the system itself calls completed."""

from __future__ import annotations

import math
import time
from typing import Any

import psycopg

from benchmarks.crew import Crew, crew
from benchmarks.question import RATE, Measured, Metric
from benchmarks.systems.system import Database, Purpose, System

METRICS = (
    RATE,
    Metric("WAL", "B/job"),
    Metric("commits", "a job"),
    Metric("memory", "MB"),
)
WRITTEN = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"  # inserted, perhaps not yet flushed
COMMITS = "select xact_commit from pg_stat_database where datname = %s"
OTHERS = "select count(*) from pg_stat_activity where datname = %s and backend_type = 'client backend'"


class Watch:
    """Counts what is done, on one connection of its own."""

    def __init__(self, connection: psycopg.Connection[Any], system: System) -> None:
        self._connection, self._query = connection, system.completed
        self.statements = 0

    def done(self) -> tuple[int, float]:
        """How many jobs are completed, and when that was so: a count sees what stood there when it began."""
        self.statements += 1
        at = time.monotonic()
        row = self._connection.execute(self._query.encode()).fetchone()
        return (int(row[0]) if row else 0), at


def pace(working: Crew, watch: Watch, jobs: int, seconds: float, *, backlog: bool = False) -> float:
    """Jobs a second, from the first handler's start until the last job is completed, or the time is up.

    Args:
        working: The workers; they have begun.
        watch: Counts.
        jobs: How many.
        seconds: The most that it may take.
        backlog: There are more than these, and counting is dear: counted from when so many have begun, until nine of
            ten are completed, for ends come in batches.
    """
    working.must(lambda: working.board.first > 0, "the first handler")
    end = working.board.first + seconds
    first, last = (1.0, 0.9) if backlog else (0.95, 1.0)
    working.until(lambda: working.board.began >= first * jobs, seconds=max(0.0, end - time.monotonic()))
    while True:
        done, at = watch.done()
        if done >= last * jobs or at > end:
            return done / (at - working.board.first)
        time.sleep(0.002)


def drain(system: System, database: Database, jobs: int, seconds: float, workers: int = 1, *, backlog: bool = False) -> Measured:  # fmt: skip  # noqa: E501
    """Let new workers drain, and count what it costs."""
    written, commits = database.value(WRITTEN), _commits(database)
    with crew(system, database, Purpose.DRAIN, workers) as working, database.connect() as connection:
        watch = Watch(connection, system)
        working.go()
        rate = pace(working, watch, jobs, seconds, backlog=backlog)
        memory = working.memory
    commits_now = _commits(database) - watch.statements - 1  # one is of the connection
    written, done = database.value(WRITTEN) - written, database.value(system.completed)
    if not done:
        raise AssertionError(f"{system.name} has completed nothing")
    return {
        "throughput": rate,
        "WAL": written / done,
        "commits": (commits_now - commits) / done,
        "memory": memory or math.nan,
    }


def _commits(database: Database) -> int:
    """The commits in this database so far, seen from another one: a backend tells its own when it ends."""
    name = database.name
    with database.elsewhere() as connection:
        end = time.monotonic() + 10
        while (found := connection.execute(OTHERS, (name,)).fetchone()) and found[0] and time.monotonic() < end:
            time.sleep(0.01)
        row = connection.execute(COMMITS, (name,)).fetchone()
    return int(row[0]) if row else 0
