"""A rush: one shop floods a queue, and the others come with little; with limits, and with jobs that have an order."""

import time
import uuid
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from examples.orders.database import operator
from examples.orders.ledger import Rush
from examples.orders.shops import Shop
from examples.orders.tasks import (
    InvoiceFor,
    Movement,
    Product,
    call_courier,
    move_stock,
    reindex_product,
    resize_photo,
)
from jobforge_sa import Jobs, Queues, Task, Tenants, bind_tenant

FLOODS, BESIDE, CAPPED, ORDERLY = Shop.BOOKSHOP, Shop.BAKERY, Shop.FLORIST, Shop.TOOLSHOP
AT_ONCE = 3  # so many jobs of CAPPED run at a time
COURIER, RATE, BURST = "demo-courier", 20, 5  # of this queue so many begin in a second, and at once
LINES = ("hammer", "plane")


def limit(engine: Engine, *, at_once: int | None = AT_ONCE, rate: float | None = RATE) -> None:
    """Say the limits, while workers run; with None they are taken away."""
    with operator(engine) as session:
        Tenants(session).limit(CAPPED.tenant, max_running=at_once)
        Queues(session).limit(COURIER, rate=rate, burst=BURST if rate else None)
        session.commit()


def come(engine: Engine, rush: Rush) -> None:
    """All come, and the guests one by one while the flood runs."""
    rush.flood = bring(engine, FLOODS, reindex_product, (Product(sku=f"flood-{n:04}") for n in range(2000)))
    rush.photos = bring(engine, CAPPED, resize_photo, (Product(sku=f"photo-{n:02}") for n in range(48)))
    rush.parcels = bring(engine, ORDERLY, call_courier, (InvoiceFor(order_id=n) for n in range(20)))
    moves = [Movement(product=product, number=n) for n in range(1, 9) for product in LINES]
    moved = bring(engine, ORDERLY, move_stock, moves)
    rush.lines = {product: moved[place :: len(LINES)] for place, product in enumerate(LINES)}
    for n in range(6):
        with Session(engine) as session:
            bind_tenant(session, BESIDE.tenant)
            job = Jobs(session).enqueue(reindex_product, Product(sku=f"guest-{n}"))
            session.commit()
            rush.guests[job.id] = session.scalars(select(func.jobforge.now())).one()
        time.sleep(0.05)


def bring(engine: Engine, shop: Shop, task: Task[Any, Any], payloads: Iterable[BaseModel]) -> list[uuid.UUID]:
    with Session(engine) as session:
        bind_tenant(session, shop.tenant)
        ids = [job.id for job in Jobs(session).enqueue_many(map(task.new, payloads))]
        session.commit()
    return ids
