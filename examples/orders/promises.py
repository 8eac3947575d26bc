"""What was promised, looked up in the database and compared with the ledger."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from examples.orders.database import operator
from examples.orders.ledger import Ledger
from examples.orders.models import Invoice, Order, Problem
from examples.orders.services import BUSY, DECLINED, GREYLISTED
from examples.orders.shops import PREFIX, Shop
from examples.orders.tasks import mail_summary, write_invoice
from jobforge_sa import bind_tenant
from jobforge_sa.models import Attempt, Job


@dataclass(frozen=True)
class Promise:
    text: str
    expected: object
    found: object

    @property
    def kept(self) -> bool:
        return self.expected == self.found


def check(engine: Engine, ledger: Ledger) -> list[Promise]:
    with operator(engine) as session:
        promises = [
            *_of_orders(session, ledger),
            _of_the_worker(session),
            *_of_a_rollback(session, ledger),
            *_of_failures(session, ledger),
            *_of_waiting(session, ledger),
        ]
        faults = list(session.scalars(text("select fault from jobforge.audit()")))
    return [
        *promises,
        *_of_tenants(engine),
        Promise("jobforge.audit(): each job stands in exactly one place", [], faults),
    ]


def _of_orders(session: Session, ledger: Ledger) -> Iterator[Promise]:
    stored = set(session.scalars(select(Order.id)))
    problems = session.scalar(select(func.count()).select_from(Problem)) or 0
    yield Promise(
        f"{ledger.lines} lines read: each is an order or a problem on record", ledger.lines, len(stored) + problems
    )
    yield Promise(f"{len(ledger.orders)} orders committed, and no other is there", ledger.orders, stored)
    yield Promise(
        f"{len(ledger.jobs):,} jobs committed with them, and no other is there", ledger.jobs, _job_ids(session)
    )
    invoices = session.execute(select(Invoice.order_id, func.count()).group_by(Invoice.order_id))
    yield Promise(
        f"{len(ledger.orders)} invoices written, exactly one for each order",
        {(order, 1) for order in ledger.orders},
        {(order, count) for order, count in invoices},
    )


def _of_the_worker(session: Session) -> Promise:
    last = select(func.max(Job.created_at)).where(Job.type == write_invoice.name).scalar_subquery()
    counts = select(func.count().filter(Attempt.finished_at < last), func.count())
    early, runs = session.execute(counts.where(Attempt.tenant_id.startswith(PREFIX))).one()
    return Promise(f"{early:,} of {runs:,} runs had ended before the last order came in", True, early > 0)


def _of_a_rollback(session: Session, ledger: Ledger) -> Iterator[Promise]:
    orders = set[int]().union(*(batch.orders for batch in ledger.lost))
    jobs = set[uuid.UUID]().union(*(batch.jobs for batch in ledger.lost))
    yield Promise(
        f"the batch rolled back on purpose: its {len(orders)} orders and {len(jobs)} jobs never were",
        (set(), set()),
        (orders.intersection(session.scalars(select(Order.id))), jobs & _job_ids(session)),
    )


def _of_failures(session: Session, ledger: Ledger) -> Iterator[Promise]:
    greylisted = next(sale for sale in ledger.sales if sale.row.email == GREYLISTED)
    yield Promise(
        "the mail that was refused twice went out at the third attempt",
        ["MailRefused", "MailRefused", "succeeded"],
        _history(session, greylisted.confirmation),
    )
    busy = next(sale for sale in ledger.sales if sale.row.number == BUSY)
    yield Promise(
        "an attempt that failed after writing its invoice left none behind",
        (["OfficeBusy", "succeeded"], 1),
        (_history(session, busy.invoice), _invoices(session, busy.order_id)),
    )
    declined = next(sale for sale in ledger.sales if sale.row.card == DECLINED)
    yield Promise(
        "the card that is declined: dead after 2 attempts, both errors on record",
        ("dead", ["CardDeclined", "CardDeclined"]),
        (session.scalar(select(Job.state).where(Job.id == declined.charge)), _history(session, declined.charge)),
    )
    states = session.execute(
        select(Job.state, func.count()).where(Job.tenant_id.startswith(PREFIX)).group_by(Job.state)
    )
    rest = len(ledger.jobs) - len(ledger.summaries) - 1
    yield Promise(
        f"the other {rest:,} jobs succeeded",
        {"succeeded": rest, "dead": 1, "scheduled": len(ledger.summaries)},
        dict(states.all()),
    )


def _of_waiting(session: Session, ledger: Ledger) -> Iterator[Promise]:
    done = select(Job.id).where(Job.id.in_(ledger.products), Job.state == "succeeded")
    yield Promise(
        f"{len(ledger.products):,} jobs of one bulk enqueue: all done", ledger.products, set(session.scalars(done))
    )
    summaries = select(Job.id).where(Job.tenant_id.startswith(PREFIX), Job.type == mail_summary.name)
    first = {batch.summary.id for batch in ledger.batches if batch.summary.created}
    yield Promise(
        f"{len(ledger.batches)} enqueues with {len(first)} idempotency keys: a repeat got the original job",
        first,
        ledger.summaries | set(session.scalars(summaries)),
    )
    waiting = summaries.where(Job.state == "scheduled", Job.run_at > func.jobforge.now())
    yield Promise(
        f"{len(first)} jobs scheduled for later: they wait for their hour",
        ledger.summaries,
        set(session.scalars(waiting)),
    )


def _of_tenants(engine: Engine) -> Iterator[Promise]:
    yield Promise(
        "each shop, as role jobforge_app, reads its own jobs and none of another's",
        {shop.tenant: {shop.tenant} for shop in Shop},
        {shop.tenant: _visible(engine, shop.tenant) for shop in Shop},
    )
    yield Promise("without a tenant it reads nothing", set(), _visible(engine, None))


def _visible(engine: Engine, tenant: str | None) -> set[str]:
    """Whose jobs a login sees that is no more than jobforge_app."""
    with Session(engine) as session:
        if tenant is not None:
            bind_tenant(session, tenant)
        session.execute(text("set local role jobforge_app"))
        return set(session.scalars(select(Job.tenant_id)))


def _job_ids(session: Session) -> set[uuid.UUID]:
    return set(session.scalars(select(Job.id).where(Job.tenant_id.startswith(PREFIX))))


def _invoices(session: Session, order_id: int) -> int:
    return session.scalar(select(func.count()).where(Invoice.order_id == order_id)) or 0


def _history(session: Session, job_id: uuid.UUID) -> list[str]:
    """How the attempts of a job ended: the name of the error, or of the outcome."""
    attempts = session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.run))
    return [attempt.error["type"] if attempt.error else attempt.outcome for attempt in attempts]
