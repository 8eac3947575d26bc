"""A worker as a process under a supervisor (systemd, Kubernetes, runit): `python -m examples.frameworks.service`.

SIGTERM ends it: it claims nothing more, waits for its handlers for `JOBFORGE_GRACE` seconds, and gives back what is not
through by then. Its settings come from the environment. `jobforge worker examples.frameworks.service:forge` is the same
without a line of code, and with `--http 8080` has /live, /ready and /metrics for whoever supervises.
"""

import logging
import time

from pydantic import BaseModel
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from jobforge_sa import Context, JobForge, Worker
from jobforge_sa.settings import Settings

forge = JobForge(tenant="main")


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "shop_orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    receipt: Mapped[str | None]


class Receipt(BaseModel):
    order_id: int
    seconds: float = 0  # it takes so long: for those who want to see it end


@forge.task()
def send_receipt(ctx: Context, payload: Receipt) -> None:
    for _ in range(round(payload.seconds * 100)):
        ctx.check()  # raises where the worker is told to end: the job goes back to its queue, uncharged
        time.sleep(0.01)
    order = ctx.session.get_one(Order, payload.order_id)
    order.receipt = f"for {order.email}, of {ctx.job.tenant_id}"


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    Worker.from_settings(forge, Settings.read()).run()
