"""Mistakes: each marked line is an error for mypy and for pyright, and no other line is.

The marks keep `make check` quiet, and fail it where a mistake is no error any more; the test takes them away.
"""

from __future__ import annotations

import datetime as dt
import uuid

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from jobforge_sa import (
    AsyncContext,
    AsyncJobs,
    Context,
    Delays,
    HasJobs,
    JobForge,
    Jobs,
    Retry,
    Row,
    Snooze,
    Worker,
    bind_tenant,
)

forge = JobForge()


class Receipt(BaseModel):
    order_id: int


class Other(BaseModel):
    order_id: int


class Base(DeclarativeBase): ...


class Order(HasJobs, Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)


class Plain(Base):
    __tablename__ = "plain"

    id: Mapped[int] = mapped_column(primary_key=True)


class Ship(BaseModel):
    order: Row[Order]


@forge.task()
def send(ctx: Context, payload: Receipt) -> None: ...


# the payload


def payloads(jobs: Jobs) -> None:
    jobs.enqueue(send, Other(order_id=1))  # type: ignore[arg-type]
    jobs.enqueue(send, {"order_id": 1})  # type: ignore[arg-type]
    jobs.enqueue(send, 1)  # type: ignore[arg-type]
    jobs.enqueue(send, lambda: Other(order_id=1))  # type: ignore[arg-type, return-value]
    jobs.enqueue(send)  # type: ignore[call-arg]
    jobs.enqueue("send", Receipt(order_id=1))  # type: ignore[arg-type]
    send.new(Other(order_id=1))  # type: ignore[arg-type]
    jobs.enqueue_many([Receipt(order_id=1)])  # type: ignore[list-item]


# the unit of work, and rows


def added(jobs: Jobs, order: Order, plain: Plain) -> None:
    jobs.add(send, Other(order_id=1))  # type: ignore[arg-type]
    jobs.add(send, lambda: Other(order_id=1))  # type: ignore[arg-type, return-value]
    jobs.add(send, Receipt(order_id=1), prioritty=1)  # type: ignore[call-arg]
    jobs.add([send.new(Receipt(order_id=1))])  # type: ignore[call-arg, arg-type]
    jobs.add(send, Receipt(order_id=1)).id.hex  # type: ignore[union-attr]  # noqa: B018
    jobs.add(send, Receipt(order_id=1)).created  # type: ignore[attr-defined]  # noqa: B018
    order.add_job(send, Other(order_id=1))  # type: ignore[arg-type]
    order.add_job(send)  # type: ignore[call-arg]
    order.jobs[0].status  # type: ignore[attr-defined]  # noqa: B018
    plain.add_job(send, Receipt(order_id=1))  # type: ignore[attr-defined]
    Ship(order=Row.of(plain))  # type: ignore[arg-type]
    Ship(order=order)  # type: ignore[arg-type]


def loaded(session: Session, async_session: AsyncSession, ship: Ship) -> None:
    ship.order.load(async_session)  # type: ignore[arg-type]
    ship.order.load(session, missing="skip")  # type: ignore[arg-type]
    ship.order.load(session).jobs_of  # type: ignore[attr-defined]  # noqa: B018


async def added_async(jobs: AsyncJobs) -> None:
    await jobs.add(send, Receipt(order_id=1))  # type: ignore[misc]
    jobs.add(send, Other(order_id=1))  # type: ignore[arg-type]


class Wrong(HasJobs, Base):
    __tablename__ = "wrong"
    jobs_on_delete = "delete"  # type: ignore[assignment]

    id: Mapped[int] = mapped_column(primary_key=True)


# the handler


@forge.task()  # type: ignore[arg-type]
def no_payload(ctx: Context) -> None: ...


@forge.task()  # type: ignore[arg-type]
def swapped(payload: Receipt, ctx: Context) -> None: ...


@forge.task()  # type: ignore[arg-type]
def one_too_many(ctx: Context, payload: Receipt, more: int) -> None: ...


# the options


@forge.task(qeue="mail")  # type: ignore[call-arg]
def misspelt(ctx: Context, payload: Receipt) -> None: ...


@forge.task(idempotency_key="k")  # type: ignore[call-arg]
def not_a_tasks_option(ctx: Context, payload: Receipt) -> None: ...


def options(jobs: Jobs) -> None:
    jobs.enqueue(send, Receipt(order_id=1), prioritty=1)  # type: ignore[call-arg]
    jobs.enqueue(send, Receipt(order_id=1), priority="1")  # type: ignore[arg-type]
    jobs.enqueue(send, Receipt(order_id=1), delay=5)  # type: ignore[arg-type]
    jobs.enqueue(send, Receipt(order_id=1), run_at="2100-01-01")  # type: ignore[arg-type]
    jobs.enqueue(send, Receipt(order_id=1), retry={"base": 1})  # type: ignore[arg-type]
    jobs.enqueue(send, Receipt(order_id=1), tenant="a")  # type: ignore[call-arg]
    send.new(Receipt(order_id=1), timeout=30)  # type: ignore[arg-type]
    Delays(1, 2)  # type: ignore[arg-type]
    Snooze(30)  # type: ignore[arg-type]
    Retry(after=30)  # type: ignore[arg-type]


# what they are called on


def sessions(session: Session, async_session: AsyncSession) -> None:
    Jobs(async_session)  # type: ignore[arg-type]
    AsyncJobs(session)  # type: ignore[arg-type]
    Jobs(session, tenant=1.5)  # type: ignore[arg-type]
    bind_tenant(session, b"a")  # type: ignore[arg-type]
    Jobs(session).get("1")  # type: ignore[arg-type]
    Jobs(session).list(uuid.uuid4())  # type: ignore[arg-type, call-arg]
    Jobs(session).reschedule(uuid.uuid4(), dt.timedelta(0))  # type: ignore[arg-type, call-arg]
    Worker(session, forge)  # type: ignore[arg-type]


async def contexts(ctx: Context, async_ctx: AsyncContext) -> None:
    await ctx.session.execute("x")  # type: ignore[call-overload]
    async_ctx.jobs  # type: ignore[attr-defined]  # noqa: B018
