"""The application's own tables. Nothing in them knows of jobs.

Each row is a shop's: the tenant's of the transaction that writes it. `policies.sql` has Postgres see to that.
"""

import datetime as dt
import uuid
from decimal import Decimal

from sqlalchemy import DateTime, ForeignKeyConstraint, MetaData, Numeric, UniqueConstraint, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = "demo_orders"


class Base(DeclarativeBase):
    metadata = MetaData(schema=SCHEMA)


class OfShop:
    shop: Mapped[str] = mapped_column(server_default=func.jobforge.current_tenant())


class Order(OfShop, Base):
    __tablename__ = "orders"
    __table_args__ = (UniqueConstraint("shop", "number"), UniqueConstraint("shop", "id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[str]
    placed_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
    email: Mapped[str]
    product: Mapped[str]
    quantity: Mapped[int]
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    card: Mapped[str]

    @property
    def total(self) -> Decimal:
        return self.quantity * self.price


class Invoice(OfShop, Base):
    """No unique key on `order_id`: that there is one invoice for each order is the queue's doing alone."""

    __tablename__ = "invoices"
    # with the shop: foreign keys pass by row level security, and an invoice is of its order's shop
    __table_args__ = (ForeignKeyConstraint(["shop", "order_id"], [Order.shop, Order.id]),)

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int]
    total: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    job_id: Mapped[uuid.UUID]


class Problem(Base):
    """A line of the file that is no order, and why."""

    __tablename__ = "problems"

    line: Mapped[int] = mapped_column(primary_key=True)
    reason: Mapped[str]
