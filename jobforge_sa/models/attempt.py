"""`Attempt`: a run that has ended, mapped to the view `jobforge.all_attempts`."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from jobforge_sa.models.base import Base
from jobforge_sa.models.json import SafeJSON

if TYPE_CHECKING:
    from jobforge_sa.models.job import Job


class Attempt(Base):
    """One run of a job, and how it ended."""

    __tablename__ = "all_attempts"
    __table_args__ = ({"info": {"is_view": True}},)

    job_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    run: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int]
    outcome: Mapped[str] = mapped_column(Text)
    worker_id: Mapped[uuid.UUID]
    claimed_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
    run_ms: Mapped[int | None]
    error: Mapped[dict[str, Any] | None] = mapped_column(SafeJSON)

    job: Mapped[Job] = relationship(
        "Job", primaryjoin="foreign(Attempt.job_id) == Job.id", viewonly=True, back_populates="attempts"
    )
