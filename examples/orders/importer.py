"""The import: in batches, each of one shop and in one transaction, the orders together with their jobs."""

import datetime as dt
from collections.abc import Iterator, Sequence

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from examples.orders.ledger import Batch, Ledger, Sale
from examples.orders.models import Order
from examples.orders.rows import Row
from examples.orders.shops import Shop
from examples.orders.tasks import (
    Charge,
    Confirmation,
    Day,
    InvoiceFor,
    Product,
    charge_card,
    confirm_by_mail,
    find_order,
    mail_summary,
    reindex_product,
    write_invoice,
)
from jobforge_sa import Jobs, bind_tenant

BATCH = 20


class PowerCut(Exception):
    """Comes on purpose, after the last order of a batch and before its commit."""


def import_orders(engine: Engine, rows: Sequence[Row], ledger: Ledger) -> Iterator[None]:
    """Import the rows, batch by batch. The florist's first one meets a power cut, and is imported again."""
    for shop in Shop:
        own = [row for row in rows if row.shop is shop]
        for start in range(0, len(own), BATCH):
            batch = own[start : start + BATCH]
            if shop is Shop.FLORIST and start == 0:
                lose_batch(engine, shop, batch, ledger)
            import_batch(engine, shop, batch, ledger)
            yield


def import_batch(engine: Engine, shop: Shop, rows: Sequence[Row], ledger: Ledger) -> None:
    with Session(engine) as session:
        bind_tenant(session, shop.tenant)
        batch = write(session, shop, rows)
        session.commit()
    ledger.batches.append(batch)


def lose_batch(engine: Engine, shop: Shop, rows: Sequence[Row], ledger: Ledger) -> None:
    try:
        with Session(engine) as session, session.begin():
            bind_tenant(session, shop.tenant)
            ledger.lost.append(write(session, shop, rows))
            raise PowerCut
    except PowerCut:
        pass  # and with the transaction went all that it wrote


def write(session: Session, shop: Shop, rows: Sequence[Row]) -> Batch:
    sales = [place(session, row) for row in rows]
    today = rows[0].placed_at.date()
    summary = Jobs(session).enqueue(
        mail_summary,
        Day(date=today),
        delay=dt.timedelta(hours=1),
        idempotency_key=f"summary {today}",  # each batch asks for it; the first makes it, the others get the same job
    )
    return Batch(shop, sales, summary)


def place(session: Session, row: Row) -> Sale:
    """Store an order and enqueue its jobs. The key of the order is known after a flush, and `enqueue` flushes."""
    jobs = Jobs(session)
    order = Order(**row.model_dump(exclude={"shop"}))  # the shop is the tenant of the session
    session.add(order)
    invoice = jobs.enqueue(write_invoice, lambda: InvoiceFor(order_id=order.id))
    charge = jobs.enqueue(charge_card, Charge(card=order.card, amount=order.total))
    confirmation = jobs.enqueue(confirm_by_mail, Confirmation(email=order.email, number=order.number))
    return Sale(row, order.id, invoice.id, charge.id, confirmation.id)


def look_around(engine: Engine, ledger: Ledger) -> None:
    """Each shop has handlers look for an order of its own, and for one of each other shop's."""
    orders = {batch.shop: batch.sales[0].order_id for batch in ledger.batches}
    for shop in orders:
        with Session(engine) as session:
            bind_tenant(session, shop.tenant)
            for owner, order_id in orders.items():
                job = Jobs(session).enqueue(find_order, InvoiceFor(order_id=order_id))
                ledger.looks[job.id] = (shop, owner)
            session.commit()


def reindex(engine: Engine, shop: Shop, products: int, ledger: Ledger) -> None:
    """Enqueue many jobs at once: one statement, whatever their number."""
    with Session(engine) as session:
        bind_tenant(session, shop.tenant)
        new = (reindex_product.new(Product(sku=f"{shop}-{n:04}")) for n in range(products))
        ledger.products |= {job.id for job in Jobs(session).enqueue_many(new)}
        session.commit()
