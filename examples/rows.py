"""Rows and their jobs: `order.jobs`, a row as an argument, and what becomes of jobs whose row is deleted."""

import warnings

from pydantic import BaseModel
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from jobforge_sa import Context, HasJobs, JobForge, Row, Worker, bind_tenant
from jobforge_sa.db import migrate
from jobforge_sa.errors import RowSecurityOffWarning
from jobforge_sa.models import Job
from jobforge_sa.testing.server import provide

warnings.simplefilter("ignore", RowSecurityOffWarning)  # one login does all here, and it is a superuser
forge = JobForge()


class Base(DeclarativeBase): ...


class Order(HasJobs, Base):
    __tablename__ = "example_parcels"
    jobs_on_delete = "cancel"  # or "keep", or "refuse"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    status: Mapped[str] = mapped_column(default="new")


class Ship(BaseModel):
    order: Row[Order]  # stored as the row's key


@forge.task()
def ship(ctx: Context, payload: Ship) -> None:
    payload.order.load(ctx.session).status = "shipped"  # loaded again, under the job's tenant


with provide(("JOBFORGE_EXAMPLES_URL",)) as url:
    migrate.upgrade(engine := create_engine(url))
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        bind_tenant(session, "main")
        session.add_all([tea := Order(name="tea"), salt := Order(name="salt")])
        tea.add_job(ship, lambda: Ship(order=Row.of(tea)))  # asked when the flush has given the row its key
        salt.add_job(ship, lambda: Ship(order=Row.of(salt)))
        session.commit()
        session.delete(salt)
        session.commit()
        print("waiting:", session.scalars(select(Order.name).where(Order.jobs.any(Job.state == "queued"))).all())
        print("salt:", session.scalars(select(Job.state).where(Job.subject == f"example_parcels:{salt.id}")).all())
        with Worker(engine, forge) as worker:
            worker.drain(timeout=10)
        print("tea:", tea.status, [job.state for job in tea.jobs])

# Output:
# waiting: ['tea']
# salt: ['canceled']
# tea: shipped ['succeeded']
