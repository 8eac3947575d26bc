"""What an application writes, and both checkers accept under their strict rules."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any, assert_type

from pydantic import BaseModel
from sqlalchemy import Connection, Engine, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, selectinload

from jobforge_sa import (
    AsyncContext,
    AsyncJobs,
    Cancel,
    Context,
    Delays,
    Discard,
    Done,
    Enqueued,
    Exponential,
    HasJobs,
    JobForge,
    Jobs,
    JobState,
    PendingJob,
    Retry,
    Row,
    Snooze,
    Task,
    Worker,
    bind_tenant,
)
from jobforge_sa.models import Attempt, Job
from jobforge_sa.types import JobInfo, JobPage


class Base(DeclarativeBase): ...


class Order(HasJobs, Base):
    __tablename__ = "orders"
    jobs_on_delete = "refuse"

    id: Mapped[int] = mapped_column(primary_key=True)


class Ship(BaseModel):
    order: Row[Order]


forge = JobForge(tenant=uuid.uuid4())


class Receipt(BaseModel):
    order_id: int


@dataclass
class Parcel:
    weight: float


@forge.task("receipts.send", queue="mail", priority=-5, max_attempts=3, timeout=dt.timedelta(minutes=1))
def send_receipt(ctx: Context, payload: Receipt) -> None:
    ctx.log.info("sending", extra={"order": payload.order_id})
    ctx.check()
    assert_type(ctx.session, Session)


@forge.task(process=True, timeout=dt.timedelta(hours=1))
def compute(ctx: Context, payload: Parcel) -> float:
    return payload.weight


@forge.task(retry=Delays(dt.timedelta(seconds=1), dt.timedelta(hours=1)))
def weigh(ctx: Context, payload: Parcel) -> float | Snooze | Retry | Discard | Cancel | Done:
    if ctx.canceled:
        raise Cancel("no more")
    return payload.weight or Snooze(dt.timedelta(seconds=5))


@forge.task(retry=Exponential(base=dt.timedelta(seconds=2), jitter=0.5))
async def fetch(ctx: AsyncContext, payload: dict[str, Any]) -> list[str]:
    assert_type(ctx.session, AsyncSession)
    return sorted(payload)


@forge.task()
def ship(ctx: Context, payload: Ship) -> None:
    assert_type(payload.order, Row[Order])
    assert_type(payload.order.load(ctx.session, missing="fail", stale="discard"), Order)


assert_type(send_receipt, Task[Receipt, None])
assert_type(fetch, Task[dict[str, Any], list[str]])


def enqueue(session: Session, scope: scoped_session[Session], connection: Connection) -> None:
    bind_tenant(session, 7)
    jobs = Jobs(session, tenant="a")
    said = jobs.enqueue(send_receipt, Receipt(order_id=1), idempotency_key="k", delay=dt.timedelta(minutes=1))
    assert_type(said, Enqueued)
    jobs.enqueue(send_receipt, lambda: Receipt(order_id=1), run_at=dt.datetime.now(dt.UTC), queue="other")
    jobs.enqueue(weigh, Parcel(1.5), retry=None, timeout=None)
    jobs.enqueue(fetch, {"url": "x"}, max_attempts=1, priority=1)
    many = jobs.enqueue_many([send_receipt.new(Receipt(order_id=1)), weigh.new(Parcel(2.0), priority=3)])
    assert_type(many, list[Enqueued])
    assert_type(jobs.get(said.id), JobInfo)
    assert_type(jobs.list(state=JobState.DEAD, type=weigh), JobPage)
    assert_type(jobs.list(state="dead", type="weigh").jobs[0].state, JobState)
    Jobs(scope).cancel(said.id)
    Jobs(connection).reschedule(said.id, delay=dt.timedelta(0))


async def enqueue_async(session: AsyncSession, connection: AsyncConnection) -> None:
    jobs = AsyncJobs(session)
    assert_type(await jobs.enqueue(send_receipt, Receipt(order_id=1)), Enqueued)
    assert_type(await AsyncJobs(connection).enqueue_many([fetch.new({})]), list[Enqueued])
    assert_type(await jobs.retry(uuid.uuid4()), JobInfo)


def add(session: Session) -> None:
    order = Order()
    jobs = Jobs(session)
    pending = jobs.add(ship, lambda: Ship(order=Row.of(order)), subject=order, priority=1)
    assert_type(pending, PendingJob)
    assert_type(pending.id, uuid.UUID | None)
    assert_type(pending.enqueued, Enqueued | None)
    assert_type(order.add_job(send_receipt, Receipt(order_id=1), delay=dt.timedelta(0)), PendingJob)
    assert_type(order.jobs, list[Job])
    assert_type(Row.of(order), Row[Order])
    dead = select(Order).options(selectinload(Order.jobs)).where(Order.jobs.any(Job.state == "dead"))
    assert_type(session.scalars(dead).one(), Order)
    assert_type(jobs.cancel_jobs_of(order), int)


async def add_async(session: AsyncSession) -> None:
    jobs = AsyncJobs(session)
    assert_type(jobs.add(fetch, {"url": "x"}), PendingJob)
    assert_type(jobs.add(send_receipt, lambda: Receipt(order_id=1), idempotency_key="k").id, uuid.UUID | None)
    assert_type(await jobs.cancel_jobs_of("orders:1"), int)


def read(session: Session) -> None:
    jobs = session.scalars(select(Job).where(Job.state == "dead", Job.type == weigh.name)).all()
    assert_type(jobs[0].attempts, list[Attempt])
    assert_type(jobs[0].finished_at, dt.datetime | None)


def work(engine: Engine) -> None:
    with Worker(engine, forge) as worker:
        assert_type(worker.stats(), dict[str, int])
        assert_type(worker.drain(timeout=1.0), bool)
