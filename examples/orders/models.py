"""The application's own tables. Nothing in them knows of jobs."""

import datetime as dt
import uuid
from decimal import Decimal

from sqlalchemy import DateTime, ForeignKey, MetaData, Numeric, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = "demo_orders"


class Base(DeclarativeBase):
    metadata = MetaData(schema=SCHEMA)


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = (UniqueConstraint("shop", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    shop: Mapped[str]
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


class Invoice(Base):
    """No unique key on `order_id`: that there is one invoice for each order is the queue's doing alone."""

    __tablename__ = "invoices"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey(Order.id))
    total: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    job_id: Mapped[uuid.UUID]


class Problem(Base):
    """A line of the file that is no order, and why."""

    __tablename__ = "problems"

    line: Mapped[int] = mapped_column(primary_key=True)
    reason: Mapped[str]
