"""A job whose result somebody waits for: typed, over one LISTEN for the whole process."""

from warnings import simplefilter

from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from jobforge_sa import Context, Discard, JobForge, Jobs, Results, Worker
from jobforge_sa.db import migrate
from jobforge_sa.errors import JobDead, ResultTimeout, RowSecurityOffWarning
from jobforge_sa.testing.server import provide

simplefilter("ignore", RowSecurityOffWarning)  # a server of one's own has one login, its superuser
forge = JobForge(tenant="main")


class Order(BaseModel):
    prices: list[int]


class Quote(BaseModel):
    total: int


@forge.task()
def quote(_: Context, order: Order) -> Quote:
    if not order.prices:
        raise Discard("nothing was ordered")
    return Quote(total=sum(order.prices))


with provide(("JOBFORGE_EXAMPLES_URL",)) as url:
    engine = create_engine(url)
    migrate.upgrade(engine)
    with Session(engine) as session, session.begin():
        jobs = Jobs(session)
        full, empty = jobs.enqueue(quote, Order(prices=[20, 22])), jobs.enqueue(quote, Order(prices=[]))

    results = Results(engine)
    try:
        results.wait(quote, full, timeout=0.1)
    except ResultTimeout:
        print("no worker yet: the job waits, and so may we")
    with Worker(engine, forge):
        answer = results.wait(quote, full, timeout=10)  # a Quote, for the type checker too
        print("the total is", answer.total)
        try:
            results.wait(quote, empty, timeout=10)
        except JobDead as error:
            print("no quote:", error.error["message"])

# Output:
# no worker yet: the job waits, and so may we
# the total is 42
# no quote: nothing was ordered
