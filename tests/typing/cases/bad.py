"""Mistakes: each marked line is an error for mypy and for pyright, and no other line is.

The marks keep `make check` quiet, and fail it where a mistake is no error any more; the test takes them away.
"""

from __future__ import annotations

import datetime as dt
import uuid

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from jobforge_sa import AsyncContext, AsyncJobs, Context, Delays, JobForge, Jobs, Retry, Snooze, Worker, bind_tenant

forge = JobForge()


class Receipt(BaseModel):
    order_id: int


class Other(BaseModel):
    order_id: int


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
