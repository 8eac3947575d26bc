"""What the database holds when all is over: every table that counts, in one snapshot."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.chaos.arena import Arena

JOBS = """select id::text, tenant_id, type as kind, payload ->> 'mark' as mark, state, attempt, crashes,
                 parent_id::text as parent from jobforge.all_jobs"""
ATTEMPTS = """select a.job_id::text as job, a.run, a.outcome, a.claimed_at, a.finished_at, a.error ->> 'type' as error,
                     split_part(w.name, ':', 2) as pid
                from jobforge.attempts a left join jobforge.workers w on w.worker_id = a.worker_id
               order by a.job_id, a.run"""
EFFECTS = "select mark, tenant_id, job_id::text as job, run, what, strangers, at from effects"


@dataclass(slots=True)
class Job:
    id: str
    tenant_id: str
    kind: str
    mark: str
    state: str
    attempt: int
    crashes: int
    parent: str | None = None


@dataclass(slots=True)
class Attempt:
    job: str
    run: int
    outcome: str
    claimed_at: dt.datetime
    finished_at: dt.datetime
    error: str | None = None
    pid: str | None = None


@dataclass(slots=True)
class Effect:
    mark: str
    tenant_id: str
    job: str
    run: int
    what: str
    strangers: int
    at: dt.datetime


@dataclass
class Facts:
    """Rows, and the questions that several rules have."""

    jobs: list[Job]
    attempts: list[Attempt]
    effects: list[Effect]
    orders: dict[str, str]  # mark to tenant
    outside: Counter[str]  # how often each job did what cannot be taken back
    tallies: dict[str, int]
    audit: list[str] = field(default_factory=list)

    @cached_property
    def by_id(self) -> dict[str, Job]:
        return {job.id: job for job in self.jobs}

    @cached_property
    def by_mark(self) -> dict[str, list[Job]]:
        found: dict[str, list[Job]] = defaultdict(list)
        for job in self.jobs:
            found[job.mark].append(job)
        return found

    @cached_property
    def runs(self) -> dict[str, list[Attempt]]:
        found: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in self.attempts:
            found[attempt.job].append(attempt)
        return found

    @cached_property
    def outcome(self) -> dict[tuple[str, int], Attempt]:
        return {(attempt.job, attempt.run): attempt for attempt in self.attempts}

    def ended(self, job: Job, *outcomes: str) -> list[Attempt]:
        """A job's runs that ended so."""
        return [attempt for attempt in self.runs[job.id] if attempt.outcome in outcomes]

    @property
    def duplicates(self) -> int:
        """How often something outside was done again."""
        return sum(count - 1 for count in self.outside.values())


def gather(arena: Arena) -> Facts:
    """Read everything."""
    with arena.snapshot() as db:

        def rows(query: str) -> list[dict[str, Any]]:
            return db.execute(query.encode()).fetchall()

        attempts = [Attempt(**row) for row in rows(ATTEMPTS)]
        effects = [Effect(**row) for row in rows(EFFECTS)]
        orders = {row["mark"]: row["tenant_id"] for row in rows("select mark, tenant_id from orders")}
        outside = Counter(row["job"] for row in rows("select job_id::text as job from outside"))
        tallies = {row["tenant_id"]: row["n"] for row in rows("select tenant_id, n from tallies")}
        db.execute("set local role jobforge_admin")  # the views keep a superuser to a tenant, an administrator not
        audit = [f"{row['job_id']} {row['fault']}" for row in rows("select * from jobforge.audit()")]
        jobs = [Job(**row) for row in rows(JOBS)]
        db.execute("rollback")
    return Facts(jobs, attempts, effects, orders, outside, tallies, audit)
