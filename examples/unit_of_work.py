"""Jobs that wait for the flush, as new rows do: all of them are one call, and may name keys that do not exist yet."""

import warnings

from pydantic import BaseModel
from sqlalchemy import create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from jobforge_sa import Context, JobForge, Jobs, Worker
from jobforge_sa.db import migrate
from jobforge_sa.errors import RowSecurityOffWarning
from jobforge_sa.testing.server import provide

warnings.simplefilter("ignore", RowSecurityOffWarning)  # one login does all here, and it is a superuser
forge = JobForge(tenant="main")


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "example_orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]


class Receipt(BaseModel):
    order_id: int


@forge.task()
def send_receipt(ctx: Context, payload: Receipt) -> None:
    print("a receipt for", ctx.session.get_one(Order, payload.order_id).email)


with provide(("JOBFORGE_EXAMPLES_URL",)) as url:
    migrate.upgrade(engine := create_engine(url))
    Base.metadata.create_all(engine)
    calls: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: calls.append(given[2]))
    with Session(engine) as session, session.begin():
        jobs = Jobs(session)
        session.add_all([ann := Order(email="ann@example.com"), bob := Order(email="bob@example.com")])
        jobs.add(send_receipt, lambda: Receipt(order_id=ann.id))  # asked when the flush has given the row its key
        job = jobs.add(send_receipt, lambda: Receipt(order_id=bob.id))
        print("before the flush:", job.id)
        with session.begin_nested() as savepoint:  # begins with a flush
            session.add(eve := Order(email="eve@example.com"))
            jobs.add(send_receipt, lambda: Receipt(order_id=eve.id))
            savepoint.rollback()  # the row is taken back, and its job
    print("calls:", sum("enqueue_payloads" in call for call in calls), "and the job has its id:", job.id is not None)
    with Worker(engine, forge, concurrency=1) as worker:
        worker.drain(timeout=10)

# Output:
# before the flush: None
# calls: 1 and the job has its id: True
# a receipt for ann@example.com
# a receipt for bob@example.com
