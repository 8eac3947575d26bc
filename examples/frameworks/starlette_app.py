"""Starlette, with plain functions, which it runs in threads: `uvicorn examples.frameworks.starlette_app:app`."""

import os

from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from jobforge_sa import Context, JobForge, Jobs, Worker

engine = create_engine(os.environ["JOBFORGE_DATABASE_URL"])
forge = JobForge(tenant="main")  # an application with a single tenant says so once


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "shop_orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    receipt: Mapped[str | None]


class Receipt(BaseModel):
    order_id: int


@forge.task()
def send_receipt(ctx: Context, payload: Receipt) -> None:
    order = ctx.session.get_one(Order, payload.order_id)
    order.receipt = f"for {order.email}, of {ctx.job.tenant_id}"


def create(request: Request) -> JSONResponse:
    with Session(engine) as session, session.begin():
        session.add(order := Order(email=request.query_params["email"]))
        Jobs(session).add(send_receipt, lambda: Receipt(order_id=order.id))  # asked when the flush has given the key
        session.flush()
        return JSONResponse(order.id, 201)


worker = Worker(engine, forge)  # behind the tasks
app = Starlette(routes=[Route("/orders", create, methods=["POST"])], lifespan=worker.lifespan)
