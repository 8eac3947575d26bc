"""Litestar: `uvicorn examples.frameworks.litestar_app:app`."""

import os

from litestar import Litestar, post
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from jobforge_sa import AsyncContext, AsyncJobs, JobForge, Worker

engine = create_async_engine(os.environ["JOBFORGE_DATABASE_URL"])
forge = JobForge(tenant="main")


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "shop_orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    receipt: Mapped[str | None]


class Receipt(BaseModel):
    order_id: int


@forge.task()
async def send_receipt(ctx: AsyncContext, payload: Receipt) -> None:
    order = await ctx.session.get_one(Order, payload.order_id)
    order.receipt = f"for {order.email}, of {ctx.job.tenant_id}"


@post("/orders")
async def create(email: str) -> int:
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add(order := Order(email=email))
        await session.flush()
        await AsyncJobs(session).enqueue(send_receipt, Receipt(order_id=order.id))
    return order.id


app = Litestar([create], lifespan=[Worker(engine, forge).lifespan])  # behind the tasks
