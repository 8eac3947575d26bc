"""Slow work outside of any transaction, and its outcome in the one that completes the job."""

from warnings import simplefilter

from pydantic import BaseModel
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Worker
from jobforge_sa.db import migrate
from jobforge_sa.errors import RowSecurityOffWarning
from jobforge_sa.testing.server import provide

simplefilter("ignore", RowSecurityOffWarning)  # a server of one's own has one login, its superuser
forge = JobForge(tenant="main")
orders = "drop table if exists orders; create table orders as select 42 as id, 20 as price, false as paid"


class Payment(BaseModel):
    order_id: int


def ask_the_bank(amount: int, key: str) -> None:
    """Stands for a request over HTTP, with a timeout of its own."""
    print(f"the bank charges {amount}, once for the key {key}")


@forge.task()
def charge(ctx: Context, payment: Payment) -> None:
    asked = {"id": payment.order_id}
    price = ctx.session.execute(text("select price from orders where id = :id"), asked).scalar_one()
    ctx.session.rollback()  # nothing was written; commit() where something was: no transaction is open from here
    # it may hear this twice, if the worker dies before its commit: so it gets a key
    ask_the_bank(price, key=f"order-{payment.order_id}")
    ctx.session.execute(text("update orders set paid = true where id = :id"), asked)
    ctx.complete()  # the row and the end of the job, in one commit; what comes behind it cannot undo that
    print("order", payment.order_id, "is paid")


with provide(("JOBFORGE_EXAMPLES_URL",)) as url:
    engine = create_engine(url)
    migrate.upgrade(engine)
    with Session(engine) as session, session.begin():
        session.execute(text(orders))
        Jobs(session).enqueue(charge, Payment(order_id=42))
    with Worker(engine, forge) as worker:
        worker.drain(timeout=10)

# Output:
# the bank charges 20, once for the key order-42
# order 42 is paid
