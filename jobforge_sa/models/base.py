"""The declarative base of the mapped classes, with a MetaData of its own: no application's autogenerate sees it."""

from __future__ import annotations

from typing import NoReturn

from sqlalchemy import MetaData, event
from sqlalchemy.orm import DeclarativeBase

from jobforge_sa.errors import ReadOnly


class Base(DeclarativeBase):
    """Mapped for reading. Only the functions of the schema change jobs, and only its revisions make tables."""

    metadata = MetaData(schema="jobforge")


@event.listens_for(Base.metadata, "before_create")
@event.listens_for(Base.metadata, "before_drop")
def _refuse_to_change(*_: object, **__: object) -> NoReturn:
    raise ReadOnly("the schema jobforge belongs to its Alembic revisions", cure="run: jobforge migrate")


@event.listens_for(Base, "before_insert", propagate=True)
@event.listens_for(Base, "before_update", propagate=True)
@event.listens_for(Base, "before_delete", propagate=True)
def _refuse_to_write(_mapper: object, _connection: object, target: object) -> NoReturn:
    raise ReadOnly(
        f"{type(target).__name__} is mapped for reading",
        cure="use Jobs(session): enqueue, cancel, retry, reschedule",
    )
