"""`Delivery`: an attempt to deliver a webhook, mapped to the view `jobforge.all_deliveries`."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING

from sqlalchemy import DateTime, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from jobforge_sa.models.base import Base

if TYPE_CHECKING:
    from jobforge_sa.models.job import Job


class Delivery(Base):
    """One attempt to deliver a webhook, and what became of it: delivered, failed, gone, blocked or skipped."""

    __tablename__ = "all_deliveries"
    __table_args__ = ({"info": {"is_view": True}},)

    job_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    run: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int]
    url: Mapped[str] = mapped_column(Text)
    event_id: Mapped[str] = mapped_column(Text)
    event_type: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    status: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Text)
    duration_ms: Mapped[int | None]
    preview: Mapped[str | None] = mapped_column(Text)
    at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))

    job: Mapped[Job] = relationship(
        "Job", primaryjoin="foreign(Delivery.job_id) == Job.id", viewonly=True, back_populates="deliveries"
    )
