"""FastAPI, async, a tenant for each request: `uvicorn examples.frameworks.fastapi_app:app`.

The table comes from the application's own Alembic history; `jobforge migrate` makes ours, or one line in that history.
"""

import os
from typing import Annotated

from fastapi import FastAPI, Header
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from jobforge_sa import AsyncContext, AsyncJobs, JobForge, Worker, bind_tenant

engine = create_async_engine(os.environ["JOBFORGE_DATABASE_URL"])
forge = JobForge()
# the tenant of whoever has logged in; a header is enough to show where it goes
Tenant = Annotated[str, Header(alias="X-Tenant")]


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
    order.receipt = f"for {order.email}, of {ctx.job.tenant_id}"  # committed together with the job's completion


app = FastAPI(lifespan=Worker(engine, forge).lifespan)  # behind the tasks; it starts and stops with the application


@app.post("/orders", status_code=201)
async def create(email: str, tenant: Tenant) -> int:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        bind_tenant(session, tenant)
        async with session.begin():  # here, and not in a dependency: those may end when the answer is out already
            session.add(order := Order(email=email))
            await session.flush()
            await AsyncJobs(session).enqueue(send_receipt, Receipt(order_id=order.id))
    return order.id
