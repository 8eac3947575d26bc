"""What was promised, looked up in the database and compared with the ledger."""

import uuid
from collections.abc import Iterator

from sqlalchemy import Engine, func, literal, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from examples.orders.database import manage, operator
from examples.orders.ledger import Ledger
from examples.orders.models import Invoice, Order, Problem
from examples.orders.promise import Promise
from examples.orders.rush_promises import of_the_rush
from examples.orders.services import BUSY, DECLINED, GREYLISTED
from examples.orders.shops import PAUSED, PREFIX, Shop
from examples.orders.tasks import InvoiceFor, find_order, mail_summary, write_invoice
from jobforge_sa import Jobs, bind_tenant
from jobforge_sa.db.failures import sqlstate
from jobforge_sa.errors import QuotaExceeded
from jobforge_sa.models import Attempt, Job, Result

STRAY = "stray"  # the number of orders that are never stored


def check(engine: Engine, ledger: Ledger) -> list[Promise]:
    with operator(engine) as session:
        promises = [
            *_of_orders(session, ledger),
            _of_the_worker(session),
            *_of_a_rollback(session, ledger),
            *_of_failures(session, ledger),
            *_of_waiting(session, ledger),
            *_of_handlers(session, ledger),
            *of_the_rush(session, ledger.rush),
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


def _of_handlers(session: Session, ledger: Ledger) -> Iterator[Promise]:
    found = session.execute(select(Result.job_id, Result.value).where(Result.job_id.in_(ledger.looks)))
    yield Promise(
        f"{len(ledger.looks)} handlers looked for an order: only those of its own shop found it",
        {job: shop is owner for job, (shop, owner) in ledger.looks.items()},
        dict(found.all()),
    )
    imported = Attempt.job_id.in_(ledger.jobs - ledger.rush.jobs)
    others = Attempt.tenant_id.in_([shop.tenant for shop in Shop if shop is not PAUSED])
    first, last = (
        session.scalar(select(func.min(Attempt.claimed_at)).where(imported, Attempt.tenant_id == PAUSED.tenant)),
        session.scalar(select(func.max(Attempt.finished_at)).where(imported, others)),
    )
    yield Promise(
        f"the {PAUSED} was paused: its {len(ledger.waiting(PAUSED))} jobs ran after all others' were done",
        True,
        bool(first and last and first > last),
    )


def _of_tenants(engine: Engine) -> Iterator[Promise]:
    yield Promise(
        "each shop, as the same role, reads its own orders and jobs and no other's",
        {shop: [{shop.tenant}] * 3 for shop in Shop},
        {shop: _visible(engine, shop) for shop in Shop},
    )
    yield Promise("without a tenant it reads nothing", [set()] * 3, _visible(engine, None))
    yield Promise(
        "an order inserted for another shop is refused by Postgres; nothing is left",
        ("42501", 0),
        (_smuggle(engine), _strays(engine)),
    )
    yield Promise(
        "a shop over its quota is told so, and its order is rolled back with the job",
        ("JF007", 0),
        (_overdo(engine), _strays(engine)),
    )


def _visible(engine: Engine, shop: Shop | None) -> list[set[str]]:
    """Whose rows the application sees."""
    with Session(engine) as session:
        if shop is not None:
            bind_tenant(session, shop.tenant)
        return [set(session.scalars(select(column))) for column in (Order.shop, Invoice.shop, Job.tenant_id)]


def _stray(**more: str) -> Order:
    fields = {"number": STRAY, "email": "", "product": "", "card": "", "quantity": 1, "price": 1}
    return Order(placed_at=func.now(), **fields, **more)


def _smuggle(engine: Engine) -> str | None:
    """As one shop, insert an order for another."""
    try:
        with Session(engine) as session, session.begin():
            bind_tenant(session, Shop.BAKERY.tenant)
            session.add(_stray(shop=Shop.FLORIST.tenant))
    except DBAPIError as error:
        return sqlstate(error)
    return None


def _overdo(engine: Engine) -> str | None:
    """Take an order, and enqueue its job where the shop may have none waiting."""
    shop = Shop.FLORIST
    manage(engine, func.jobforge.limit_tenant(shop.tenant, literal({"max_waiting": 0}, JSONB)))
    try:
        with Session(engine) as session, session.begin():
            bind_tenant(session, shop.tenant)
            session.add(order := _stray())
            Jobs(session).enqueue(find_order, lambda: InvoiceFor(order_id=order.id))
    except (QuotaExceeded, DBAPIError) as error:
        return sqlstate(error.__cause__ or error)
    finally:
        manage(engine, func.jobforge.limit_tenant(shop.tenant, literal({"max_waiting": None}, JSONB)))
    return None


def _strays(engine: Engine) -> int:
    with operator(engine) as session:
        return session.scalar(select(func.count()).where(Order.number == STRAY)) or 0


def _job_ids(session: Session) -> set[uuid.UUID]:
    return set(session.scalars(select(Job.id).where(Job.tenant_id.startswith(PREFIX))))


def _invoices(session: Session, order_id: int) -> int:
    return session.scalar(select(func.count()).where(Invoice.order_id == order_id)) or 0


def _history(session: Session, job_id: uuid.UUID) -> list[str]:
    """How the attempts of a job ended: the name of the error, or of the outcome."""
    attempts = session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.run))
    return [attempt.error["type"] if attempt.error else attempt.outcome for attempt in attempts]
