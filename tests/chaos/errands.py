"""The jobs of the storm: each kind is a way to work that a fault may hit in the middle.

Whatever a handler writes carries the run that wrote it. `final` rows belong to runs that succeeded, `snoozed` rows to
runs that were put off by a returned Snooze, `step` rows to runs that held their lease then, `never` rows to nobody.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import os
import time

import sqlalchemy as sa
from pydantic import BaseModel

from jobforge_sa import AsyncContext, Context, Delays, JobForge, Jobs, Snooze
from jobforge_sa.context import ClaimedJob
from jobforge_sa.tasks import TaskOptions

LEASE = dt.timedelta(seconds=3)
POISONED = 66  # exit status of a process that its job has ended
APP_URL = "JOBFORGE_CHAOS_APP_URL"  # of what handlers write outside their session

# The newest 20 jobs that this transaction sees: without the wall others' would nearly always be among them.
EFFECT = sa.text("""
    insert into effects (mark, tenant_id, job_id, run, what, strangers)
    values (:mark, :tenant, :job, :run, :what,
            (select count(*) from (select j.tenant_id from jobforge.jobs j order by j.id desc limit 20) seen
              where seen.tenant_id <> :tenant))""")
OUTSIDE = sa.text("insert into outside (job_id, run) values (:job, :run)")
TALLY = sa.text("update tallies set n = n + 1 where tenant_id = :tenant")

# A cut connection is a failed attempt, and a storm has many: so many are allowed, and they come again soon.
STURDY: TaskOptions = {
    "max_attempts": 1000,
    "retry": Delays(dt.timedelta(seconds=0.3)),
    "timeout": 2 * LEASE,  # a handler whose connection is half-open waits for this
}

forge = JobForge()
poisons = JobForge()  # apart: one worker does without, to see whether it lives through all the rest


class Errand(BaseModel):
    """Its mark is unique, and stands in the ledger before the job is enqueued."""

    mark: str


@functools.cache
def outside() -> sa.Engine:
    """A way to the database that knows nothing of jobs: a stand-in for mails and payments."""
    return sa.create_engine(os.environ[APP_URL], isolation_level="AUTOCOMMIT", pool_size=10, pool_pre_ping=True)


def effect(job: ClaimedJob, errand: Errand, what: str = "final") -> dict[str, object]:
    """The values of EFFECT."""
    return {"mark": errand.mark, "tenant": job.tenant_id, "job": job.id, "run": job.run, "what": what}


@forge.task(**STURDY)
def write(ctx: Context, payload: Errand) -> None:
    ctx.session.execute(EFFECT, effect(ctx.job, payload))


@forge.task(**STURDY)
async def write_async(ctx: AsyncContext, payload: Errand) -> None:
    await ctx.session.execute(EFFECT, effect(ctx.job, payload))
    await asyncio.sleep(0.02)


@forge.task(**STURDY)
def mail(ctx: Context, payload: Errand) -> None:
    """An effect outside, and one inside that commits a while later: what dies between the two does the first twice."""
    with outside().connect() as connection:
        connection.execute(OUTSIDE, {"job": ctx.job.id, "run": ctx.job.run})
    time.sleep(0.1)
    ctx.session.execute(EFFECT, effect(ctx.job, payload))


@forge.task(**STURDY)
def stumble(ctx: Context, payload: Errand) -> None:
    """Fails first, its writes with it."""
    if ctx.job.attempt == 1:
        ctx.session.execute(EFFECT, effect(ctx.job, payload, "never"))
        raise RuntimeError("stumbled")
    ctx.session.execute(EFFECT, effect(ctx.job, payload))


@forge.task(max_attempts=2, retry=STURDY["retry"], timeout=STURDY["timeout"])
def fail(ctx: Context, payload: Errand) -> None:
    """Fails always."""
    ctx.session.execute(EFFECT, effect(ctx.job, payload, "never"))
    raise RuntimeError("failed")


@forge.task(**STURDY)
def snooze(ctx: Context, payload: Errand) -> Snooze | None:
    """Put off twice: raised, its writes go; returned, they stay."""
    later = Snooze(dt.timedelta(seconds=0.3))
    if ctx.job.run == 1:
        ctx.session.execute(EFFECT, effect(ctx.job, payload, "never"))
        raise later
    ctx.session.execute(EFFECT, effect(ctx.job, payload, "snoozed" if ctx.job.run == 2 else "final"))
    return later if ctx.job.run == 2 else None


@forge.task(**STURDY)
def follow(ctx: Context, payload: Errand) -> None:
    """Its follow-up exists if and only if it succeeds."""
    Jobs(ctx.session).enqueue(write, Errand(mark=f"{payload.mark}+"))
    ctx.session.execute(EFFECT, effect(ctx.job, payload))


@forge.task(**STURDY)
def overrun(ctx: Context, payload: Errand) -> None:
    """Runs for longer than the lease, which heartbeats keep."""
    until = time.monotonic() + LEASE.total_seconds() * 1.5
    ctx.session.execute(EFFECT, effect(ctx.job, payload))
    while time.monotonic() < until:
        ctx.check()
        time.sleep(0.05)


@forge.task(**STURDY)
def steps(ctx: Context, payload: Errand) -> None:
    """Commits in steps, slowly: a frozen process wakes up between two and must not get through with the next."""
    for _ in range(2):
        ctx.session.execute(EFFECT, effect(ctx.job, payload, "step"))
        ctx.session.commit()
        time.sleep(0.2)
    ctx.session.execute(EFFECT, effect(ctx.job, payload))


@forge.task(**STURDY)
def tally(ctx: Context, payload: Errand) -> None:
    """All of a tenant's want one row, at REPEATABLE READ: those who come too late are repeated by the worker."""
    ctx.session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    ctx.session.execute(EFFECT, effect(ctx.job, payload))
    ctx.session.execute(TALLY, {"tenant": ctx.job.tenant_id})


@forge.task(**STURDY)
def slow(ctx: Context, payload: Errand) -> None:
    """Waits in a statement, where a cancel reaches it."""
    ctx.session.execute(EFFECT, effect(ctx.job, payload))
    ctx.session.execute(sa.text("select pg_sleep(1)"))


@forge.task(process=True, **STURDY)
def compute(ctx: Context, payload: Errand) -> None:
    """Runs in a child process, which ends with its worker."""
    ctx.session.execute(EFFECT, effect(ctx.job, payload))
    until = time.monotonic() + 0.05
    while time.monotonic() < until:
        sum(range(1000))


@forge.task()
def innocent(ctx: Context, payload: Errand) -> str:
    """Does nothing wrong and needs no database: nothing that happens around it may charge it an attempt."""
    time.sleep(0.05)
    return payload.mark


@poisons.task()
def poison(ctx: Context, payload: Errand) -> None:
    """Ends its process."""
    os._exit(POISONED)


# how many of each in a hundred, roughly
MIX = {
    "write": 27, "write_async": 15, "compute": 3, "innocent": 12, "mail": 8, "tally": 8, "stumble": 6, "follow": 6,
    "steps": 5, "snooze": 5, "fail": 2, "slow": 2, "overrun": 1,
}  # fmt: skip
SILENT = frozenset({"innocent", "fail", "poison"})  # kinds whose success leaves no row
