"""`Result`: what a handler returned, mapped to the view `jobforge.all_results`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from jobforge_sa.models.base import Base
from jobforge_sa.models.json import SafeJSON

if TYPE_CHECKING:
    from jobforge_sa.models.job import Job


class Result(Base):
    """What the handler of a succeeded job returned, unless that was None. It may leave before its job does."""

    __tablename__ = "all_results"
    __table_args__ = ({"info": {"is_view": True}},)

    job_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(Text)
    value: Mapped[Any] = mapped_column(SafeJSON)

    job: Mapped[Job] = relationship(
        "Job", primaryjoin="foreign(Result.job_id) == Job.id", viewonly=True, back_populates="result"
    )
