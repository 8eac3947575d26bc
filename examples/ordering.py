"""The bookings of an account one at a time and in their order, also behind one that is tried again; others go on."""

from datetime import timedelta
from warnings import simplefilter

from pydantic import BaseModel
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Results, Retry, Worker
from jobforge_sa.db import migrate
from jobforge_sa.errors import RowSecurityOffWarning
from jobforge_sa.testing.server import provide

simplefilter("ignore", RowSecurityOffWarning)  # a server of one's own has one login, its superuser
forge = JobForge(tenant="main")
accounts = (
    "drop table if exists accounts; create table accounts as select id, 0 as balance from generate_series(7, 8) id"
)


class Booking(BaseModel):
    account: int
    amount: int


@forge.task(ordering_key=lambda booking: f"account:{booking.account}")
def book(ctx: Context, booking: Booking) -> None:
    change = text("update accounts set balance = balance + :amount where id = :account returning balance")
    balance = ctx.session.execute(change, booking.model_dump()).scalar_one()
    if booking.amount == 100 and ctx.job.attempt == 1:
        raise Retry("the bank does not answer", after=timedelta(seconds=0.5))  # the change is rolled back
    print(f"account {booking.account}: {booking.amount:+} makes {balance}")


with provide(("JOBFORGE_EXAMPLES_URL",)) as url:
    migrate.upgrade(engine := create_engine(url))
    with Session(engine) as session, session.begin():
        session.execute(text(accounts))
        bookings = [(7, 100), (7, -30), (7, -45), (8, 20)]
        jobs = Jobs(session).enqueue_many(book.new(Booking(account=a, amount=n)) for a, n in bookings)
        print("the second waits:", Jobs(session).why(jobs[1].id)[0].code)
    with Worker(engine, forge):
        Results(engine).wait(book, jobs[2], timeout=30)

# Output:
# the second waits: in_line
# account 8: +20 makes 20
# account 7: +100 makes 100
# account 7: -30 makes 70
# account 7: -45 makes 25
