"""An application whose jobs are tested: its table, its tasks."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, Field
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from jobforge_sa import AsyncContext, Cancel, Context, Discard, JobForge, Jobs, Retry, Snooze
from jobforge_sa.types import Release

TABLES = """
create table orders (id serial primary key, tenant_id text not null, state text not null default 'new',
    number int unique deferrable initially deferred);
alter table orders enable row level security;
create policy orders_tenant on orders using (tenant_id = (select jobforge.current_tenant()));
"""
HOUR = dt.timedelta(hours=1)


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    state: Mapped[str] = mapped_column(default="new")
    number: Mapped[int | None]


class Ship(BaseModel):
    order_id: int
    note: str = ""
    lines: list[dict[str, Any]] = Field(default_factory=list)


forge = JobForge()


@forge.task("ship")
def ship(ctx: Context, payload: Ship) -> str:
    ctx.session.get_one(Order, payload.order_id).state = "shipped"
    Jobs(ctx.session).enqueue(mail, payload)
    return "shipped"


@forge.task("mail", queue="mail")
async def mail(ctx: AsyncContext, payload: Ship) -> dict[str, Any]:
    await asyncio.sleep(0)
    order = await ctx.session.get_one(Order, payload.order_id)
    others = await ctx.session.execute(sa.select(sa.func.count()).select_from(Order))
    return {"state": order.state, "orders": others.scalar_one()}


@forge.task("fail", max_attempts=4)
def fail(ctx: Context, payload: Ship) -> None:
    ctx.session.get_one(Order, payload.order_id).state = "half done"
    ctx.session.flush()
    raise RuntimeError("no such carrier")


@forge.task("fail_async")
async def fail_async(ctx: AsyncContext, payload: Ship) -> None:
    (await ctx.session.get_one(Order, payload.order_id)).state = "half done"
    raise RuntimeError("no such carrier")


@forge.task("step")
def step(ctx: Context, payload: Ship) -> None:
    """A step that is committed, and one that is not."""
    ctx.session.get_one(Order, payload.order_id).state = "packed"
    ctx.session.commit()
    ctx.session.get_one(Order, payload.order_id).state = "half done"
    ctx.session.flush()
    raise RuntimeError("no such carrier")


@forge.task("complete")
def complete(ctx: Context, payload: Ship) -> None:
    ctx.session.get_one(Order, payload.order_id).state = "shipped"
    ctx.complete({"by": "hand"})
    raise RuntimeError("behind it")


@forge.task("number")
def number(ctx: Context, payload: Ship) -> None:
    """Two orders of one number: their constraint is looked at when they are committed."""
    ctx.session.execute(sa.update(Order).values(number=1))


@forge.task("breaks")
def breaks(ctx: Context, payload: dict[str, Any]) -> None:
    ctx.session.execute(sa.text("select 1 / 0"))


@forge.task("outcome")
def outcome(ctx: Context, payload: dict[str, Any]) -> Any:
    outcomes: dict[str, Exception] = {
        "retry": Retry("later", after=HOUR),
        "snooze": Snooze(HOUR),
        "discard": Discard("never"),
        "cancel": Cancel("gone"),
        "release": Release(),
    }
    raise outcomes[payload["as"]]


@forge.task("again")
def again(ctx: Context, payload: dict[str, Any]) -> None:
    Jobs(ctx.session).enqueue(again, payload)


@forge.task("process", process=True)
def process(ctx: Context, payload: dict[str, Any]) -> int:
    import os

    return os.getpid()


@forge.task("ends")
def ends(ctx: Context, payload: dict[str, Any]) -> None:
    ctx.session.connection().commit()


@forge.task("tell", queue="tell", unique_key="only one")
def tell(ctx: Context, payload: dict[str, Any]) -> int:
    return int(payload["n"])


@forge.task("stop")
def stop(ctx: Context, payload: dict[str, Any]) -> None:
    raise {"exit": SystemExit, "interrupt": KeyboardInterrupt}[payload["by"]]


@forge.task("note")
def note(ctx: Context, payload: dict[str, Any]) -> Any:
    return payload.get("n")
