"""The application of test_kill_steps.py: workers that count what their handler's connection is told, and die there.

As a program it rehearses a task and prints the names of all steps, then starts a worker for each of them that dies
there. They come one after the other: SERIALIZABLE handlers that run at once would clash, and repeat themselves.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from jobforge_sa import AsyncContext, AsyncJobs, Context, JobForge, Jobs, Worker

LEASE = dt.timedelta(seconds=1)
REHEARSAL = -1  # the step of a job that nobody disturbs


class Base(DeclarativeBase):
    pass


class Effect(Base):
    __tablename__ = "effects"

    id: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int]
    part: Mapped[str]  # nothing is unique: two of one would be seen


class Step(BaseModel):
    step: int


forge = JobForge(tenant="acme")
started: list[Callable[[], None]] = []  # called when a handler starts


@forge.task(queue="later")
def later(ctx: Context, payload: Step) -> None: ...


@forge.task()
def work(ctx: Context, payload: Step) -> int:
    """Rows, a savepoint, a query, follow-up jobs of both kinds; the last of them and a row are flushed at the end."""
    for tell in started:
        tell()
    ctx.session.add(Effect(step=payload.step, part="row"))
    ctx.session.flush()
    with ctx.session.begin_nested():
        ctx.session.add(Effect(step=payload.step, part="savepoint"))
    jobs = Jobs(ctx.session)
    jobs.enqueue(later, payload)
    jobs.add(later, payload)
    mine = sa.select(sa.func.count()).where(Effect.step == payload.step)
    found = ctx.session.scalars(mine).one()
    ctx.session.add(Effect(step=payload.step, part="last"))
    jobs.add(later, payload)
    return found


@forge.task()
async def work_async(ctx: AsyncContext, payload: Step) -> int:
    """The same."""
    for tell in started:
        tell()
    ctx.session.add(Effect(step=payload.step, part="row"))
    await ctx.session.flush()
    async with ctx.session.begin_nested():
        ctx.session.add(Effect(step=payload.step, part="savepoint"))
    jobs = AsyncJobs(ctx.session)
    await jobs.enqueue(later, payload)
    jobs.add(later, payload)
    mine = sa.select(sa.func.count()).where(Effect.step == payload.step)
    found = (await ctx.session.scalars(mine)).one()
    ctx.session.add(Effect(step=payload.step, part="last"))
    jobs.add(later, payload)
    return found


def written(step: int, part: str) -> sa.Select[Any]:
    """What a step is recognised by."""
    return sa.select(sa.func.count()).where(Effect.step == step, Effect.part == part)


@forge.task()
def commits(ctx: Context, payload: Step) -> None:
    """Two steps before the last commit: one that each run writes, one that is recognised, with a follow-up job."""
    for tell in started:
        tell()
    ctx.session.add(Effect(step=payload.step, part="tried"))
    ctx.session.commit()
    if not ctx.session.scalars(written(payload.step, "once")).one():
        ctx.session.add(Effect(step=payload.step, part="once"))
        Jobs(ctx.session).enqueue(later, payload)
        ctx.session.commit()
    ctx.session.add(Effect(step=payload.step, part="last"))
    Jobs(ctx.session).add(later, payload)


@forge.task()
async def commits_async(ctx: AsyncContext, payload: Step) -> None:
    """The same."""
    for tell in started:
        tell()
    ctx.session.add(Effect(step=payload.step, part="tried"))
    await ctx.session.commit()
    if not (await ctx.session.scalars(written(payload.step, "once"))).one():
        ctx.session.add(Effect(step=payload.step, part="once"))
        await AsyncJobs(ctx.session).enqueue(later, payload)
        await ctx.session.commit()
    ctx.session.add(Effect(step=payload.step, part="last"))
    AsyncJobs(ctx.session).add(later, payload)


class Steps:
    """What the connection of a handler is told from its start on; the process dies before it is told the n-th."""

    def __init__(self, fatal: int | None) -> None:
        self.names: list[str] = []
        self._fatal = fatal
        self._armed = False
        started.append(self._arm)

    def _arm(self) -> None:
        self._armed = True

    def watch(self, engine: sa.Engine) -> None:
        """Count statements, the COMMIT, and the connection's return, which is behind it."""
        sa.event.listen(engine, "before_cursor_execute", lambda _c, _cursor, text, *_: self._tell(text))
        sa.event.listen(engine, "commit", lambda _c: self._tell("COMMIT"))
        sa.event.listen(engine, "checkin", lambda *_: self._tell("behind the COMMIT"))

    def _tell(self, name: str) -> None:
        if not self._armed:
            return
        if len(self.names) == self._fatal:
            os.write(1, (json.dumps(name) + "\n").encode())
            os.kill(os.getpid(), signal.SIGKILL)
        self.names.append(name)


def worker(url: str, isolation: str, steps: Steps | None = None) -> Worker:
    """A worker whose handlers' sessions are counted, if anybody wants that."""
    plain = sa.create_engine(url, isolation_level=isolation, poolclass=sa.NullPool)
    async_ = create_async_engine(url, isolation_level=isolation, poolclass=sa.NullPool)
    if steps is not None:
        steps.watch(plain)
        steps.watch(async_.sync_engine)
    return Worker(
        url, forge, queues={"default": 1}, lease=LEASE, poll=dt.timedelta(milliseconds=50),
        session_engine=plain, async_session_engine=async_,
    )  # fmt: skip


def enqueue(url: str, task: str, steps: Iterable[int]) -> None:
    with Session(sa.create_engine(url, poolclass=sa.NullPool)) as session, session.begin():
        Jobs(session).enqueue_many([forge.tasks[task].new(Step(step=step)) for step in steps])


def rehearse(url: str, isolation: str) -> list[str]:
    """What the connection is told where nobody dies."""
    steps = Steps(None)
    assert worker(url, isolation, steps).run(once=True) == 0
    return steps.names


def kill(url: str, isolation: str, step: int) -> None:
    """Start a worker, and see it die at this step. A fork: to import everything again would take a second."""
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # one that lives is an error of its own
        worker(url, isolation, Steps(step)).run()
        os._exit(1)
    end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert end == -signal.SIGKILL, f"step {step}: {end}"


def main(url: str, task: str, isolation: str) -> None:
    """Rehearse, print what there is, and kill at each of it."""
    enqueue(url, task, [REHEARSAL])
    names = rehearse(url, isolation)
    print(json.dumps(names), flush=True)
    enqueue(url, task, range(len(names)))
    for step in range(len(names)):
        kill(url, isolation, step)


if __name__ == "__main__":
    main(*sys.argv[1:])
