"""Documents of three customers, and a bank that takes so many calls: fair shares, and limits while workers run."""

from time import monotonic, sleep
from warnings import simplefilter

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Tasks, Tenants, Worker
from jobforge_sa.db import migrate
from jobforge_sa.errors import RowSecurityOffWarning
from jobforge_sa.testing.server import provide

simplefilter("ignore", RowSecurityOffWarning)  # a server of one's own has one login, its superuser
forge, at_work, begun, called = JobForge(), list[str](), list[tuple[str, int]](), list[float]()


@forge.task()
def render(ctx: Context, _: dict[str, int]) -> None:
    at_work.append(customer := ctx.job.tenant_id)
    begun.append((customer, at_work.count(customer)))
    sleep(0.02)
    at_work.remove(customer)


@forge.task()
def call_the_bank(_: Context, __: dict[str, int]) -> None:
    called.append(monotonic())


with provide(("JOBFORGE_EXAMPLES_URL",)) as url:
    migrate.upgrade(engine := create_engine(url))
    with Session(engine) as session, session.begin():  # an administrator's: it holds from the next claim on
        Tenants(session).limit("globex", max_running=2)
        Tasks(session).limit(call_the_bank, rate=20, burst=2)
        Tasks(session).pause(call_the_bank)
    for customer, documents in {"acme": 50, "globex": 20, "initech": 1}.items():
        with Session(engine) as session, session.begin():
            jobs = Jobs(session, tenant=customer)
            jobs.enqueue_many(render.new({"number": n}) for n in range(documents))
            calls = jobs.enqueue_many(call_the_bank.new({"number": n}) for n in range(2))
    with Worker(engine, forge, concurrency=4) as worker:
        worker.drain(timeout=30)
        print("the one document of initech was among the first ten:", "initech" in dict(begun[:10]))
        print("globex had so many at work, at most:", max(count for customer, count in begun if customer == "globex"))
        with Session(engine) as session, session.begin():
            print(len(called), "calls:", Jobs(session, tenant="initech").why(calls[0].id)[0].code)
            resumed = monotonic()
            Tasks(session).resume(call_the_bank)
        while len(called) < 6:
            worker.drain(timeout=30)
        print("6 calls, two at once and 20 a second:", called[-1] - resumed >= 4 / 20)

# Output:
# the one document of initech was among the first ten: True
# globex had so many at work, at most: 2
# 0 calls: task_paused
# 6 calls, two at once and 20 a second: True
