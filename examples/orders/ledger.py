"""What the program believes it has committed. At the end the database must say the same."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from examples.orders.rows import Row
from examples.orders.shops import Shop
from jobforge_sa import Enqueued


@dataclass(frozen=True)
class Sale:
    """An order and its three jobs."""

    row: Row
    order_id: int
    invoice: uuid.UUID
    charge: uuid.UUID
    confirmation: uuid.UUID


@dataclass(frozen=True)
class Batch:
    """What one transaction has written."""

    shop: Shop
    sales: list[Sale]
    summary: Enqueued

    @property
    def orders(self) -> set[int]:
        return {sale.order_id for sale in self.sales}

    @property
    def jobs(self) -> set[uuid.UUID]:
        own = {job for sale in self.sales for job in (sale.invoice, sale.charge, sale.confirmation)}
        return own | {self.summary.id}


@dataclass
class Rush:
    """What came when everybody came at once."""

    flood: Sequence[uuid.UUID] = ()
    guests: dict[uuid.UUID, dt.datetime] = field(default_factory=dict)  # when their enqueue had been committed
    photos: Sequence[uuid.UUID] = ()
    parcels: Sequence[uuid.UUID] = ()
    lines: dict[str, Sequence[uuid.UUID]] = field(default_factory=dict)  # by what they move, in order

    @property
    def jobs(self) -> set[uuid.UUID]:
        return {*self.flood, *self.guests, *self.photos, *self.parcels}.union(*self.lines.values())


@dataclass
class Ledger:
    lines: int = 0
    batches: list[Batch] = field(default_factory=list)
    lost: list[Batch] = field(default_factory=list)  # rolled back
    products: set[uuid.UUID] = field(default_factory=set)  # the jobs of the bulk enqueue
    looks: dict[uuid.UUID, tuple[Shop, Shop]] = field(default_factory=dict)  # which shop's job looks for whose order
    rush: Rush = field(default_factory=Rush)

    @property
    def sales(self) -> list[Sale]:
        return [sale for batch in self.batches for sale in batch.sales]

    @property
    def orders(self) -> set[int]:
        return {sale.order_id for sale in self.sales}

    @property
    def summaries(self) -> set[uuid.UUID]:
        """The jobs that wait for their hour."""
        return {batch.summary.id for batch in self.batches}

    @property
    def jobs(self) -> set[uuid.UUID]:
        return self.products.union(self.looks, self.rush.jobs, *(batch.jobs for batch in self.batches))

    def waiting(self, paused: Shop) -> set[uuid.UUID]:
        """The jobs of a shop that is paused."""
        looks = {job for job, (shop, _) in self.looks.items() if shop is paused}
        return looks.union(*(batch.jobs for batch in self.batches if batch.shop is paused)) - self.summaries
