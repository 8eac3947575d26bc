"""One job at a time for each customer: kept, debounced to the last payload, or merged with the one that waits."""

from datetime import timedelta
from warnings import simplefilter

from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Worker
from jobforge_sa.db import migrate
from jobforge_sa.errors import RowSecurityOffWarning
from jobforge_sa.testing.server import provide

simplefilter("ignore", RowSecurityOffWarning)  # a server of one's own has one login, its superuser
forge = JobForge(tenant="main")


class Change(BaseModel):
    customer: int
    fields: list[str] = []


def customer(change: Change) -> str:
    return str(change.customer)


@forge.task(unique_key=customer)
def export(_: Context, change: Change) -> None:
    print("exports customer", change.customer)


@forge.task(unique_key=customer, debounce=timedelta(seconds=1))
def save_draft(_: Context, change: Change) -> None:
    print("saves the last draft:", change.fields)


@forge.task(unique_key=customer, merge=lambda a, b: Change(customer=b.customer, fields=a.fields + b.fields))
def index(_: Context, change: Change) -> None:
    print("indexes all that has changed:", change.fields)


with provide(("JOBFORGE_EXAMPLES_URL",)) as url:
    engine = create_engine(url)
    migrate.upgrade(engine)
    for word in ("name", "street"):  # two requests
        with Session(engine) as session, session.begin():
            jobs, change = Jobs(session), Change(customer=7, fields=[word])
            print(word, [jobs.enqueue(task, change).created for task in (export, index, save_draft)])
    with Worker(engine, forge, concurrency=1) as worker:
        while worker.stats()["succeeded"] < 3:
            worker.drain(timeout=5)

# Output:
# name [True, True, True]
# street [False, False, False]
# exports customer 7
# indexes all that has changed: ['name', 'street']
# saves the last draft: ['street']
