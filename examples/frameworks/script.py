"""A plain script, such as one that cron starts: it takes orders from its arguments, and ends when their jobs have.

`python -m examples.frameworks.script ann@example.com bob@example.com`
"""

import os
import sys

from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from jobforge_sa import Context, JobForge, Jobs, Worker

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
def send_receipt(ctx: Context, payload: Receipt) -> None:
    order = ctx.session.get_one(Order, payload.order_id)
    order.receipt = f"for {order.email}, of {ctx.job.tenant_id}"


def main(emails: list[str]) -> None:
    engine = create_engine(os.environ["JOBFORGE_DATABASE_URL"])
    with Session(engine) as session, session.begin():
        session.add_all(orders := [Order(email=email) for email in emails])
        session.flush()
        Jobs(session).enqueue_many([send_receipt.new(Receipt(order_id=order.id)) for order in orders])
    with Worker(engine, forge) as worker:
        worker.drain(timeout=60)
    print(len(orders), "orders,", worker.outcomes["succeeded"], "receipts")


if __name__ == "__main__":
    main(sys.argv[1:])
