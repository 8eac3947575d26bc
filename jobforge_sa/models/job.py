"""`Job`: every job with its state, mapped to the view `jobforge.all_jobs`."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, SmallInteger, Text
from sqlalchemy.dialects.postgresql import INTERVAL, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from jobforge_sa.models.base import Base
from jobforge_sa.models.json import SafeJSON

if TYPE_CHECKING:
    from jobforge_sa.models.attempt import Attempt
    from jobforge_sa.models.delivery import Delivery
    from jobforge_sa.models.result import Result


class Job(Base):
    """A job: what was asked, and where it stands. See `jobforge_sa.types.JobState` for the states."""

    __tablename__ = "all_jobs"
    __table_args__ = ({"info": {"is_view": True}},)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Text)
    queue: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(SmallInteger)
    payload: Mapped[dict[str, Any]] = mapped_column(SafeJSON)
    run_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
    max_attempts: Mapped[int]
    timeout: Mapped[dt.timedelta | None] = mapped_column(INTERVAL)
    retry: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    idempotency_key: Mapped[str | None] = mapped_column(Text)
    unique_key: Mapped[str | None] = mapped_column(Text)
    ordering_key: Mapped[str | None] = mapped_column(Text)
    subject: Mapped[str | None] = mapped_column(Text)
    parent_id: Mapped[uuid.UUID | None]
    cause: Mapped[str | None] = mapped_column(Text)
    trace: Mapped[dict[str, str] | None] = mapped_column(SafeJSON)
    created_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
    state: Mapped[str] = mapped_column(Text)
    run: Mapped[int]
    attempt: Mapped[int]
    crashes: Mapped[int]
    due_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    worker_id: Mapped[uuid.UUID | None]
    claimed_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    deadline: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))

    attempts: Mapped[list[Attempt]] = relationship(
        "Attempt",
        primaryjoin="Job.id == foreign(Attempt.job_id)",
        order_by="Attempt.run",
        viewonly=True,
        back_populates="job",
    )
    deliveries: Mapped[list[Delivery]] = relationship(
        "Delivery",
        primaryjoin="Job.id == foreign(Delivery.job_id)",
        order_by="Delivery.run",
        viewonly=True,
        back_populates="job",
    )
    result: Mapped[Result | None] = relationship(
        "Result", primaryjoin="Job.id == foreign(Result.job_id)", viewonly=True, uselist=False, back_populates="job"
    )
