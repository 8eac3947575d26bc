"""The subject of a job: the application's row that it is about, as text, such as `orders:42`."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import CHAR, ColumnElement, Dialect, Enum, Integer, String, Text, Uuid, cast, func, inspect, literal
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import Mapper
from sqlalchemy.types import TypeDecorator

from jobforge_sa.errors import ConfigurationError, InvalidJob
from jobforge_sa.tenant import is_text

MAX_LENGTH = 300
_DIALECT: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]


def name_of(subject: object) -> str:
    """The subject of a mapped instance that has its key; text stays as it is.

    Raises:
        InvalidJob: it is not mapped, has no key yet, or one that is no number, text or UUID.
    """
    if isinstance(subject, str):
        text = subject
    else:
        mapper = _mapper(subject)
        key = mapper.primary_key_from_instance(subject)
        if None in key:
            raise InvalidJob(
                f"this {type(subject).__name__} has no key yet",
                cure="add it to the session of the jobs, whose flush gives it one; nothing was enqueued",
            )
        if not all(isinstance(part, str | int | uuid.UUID) and not isinstance(part, bool) for part in key):
            raise _unfit(mapper)
        parts = map(str, key) if len(key) == 1 else (_escaped(str(part)) for part in key)
        text = f"{table_of(mapper)}:{','.join(parts)}"
    if not 1 <= len(text) <= MAX_LENGTH or "\x00" in text or not is_text(text):
        raise InvalidJob(
            f"the subject {text[:40]!r} cannot be one",
            cure=f"it has 1 to {MAX_LENGTH} characters without NUL; nothing was enqueued",
        )
    return text


def expression(mapper: Mapper[Any]) -> ColumnElement[str]:
    """The same in SQL, of the rows of a mapped class.

    Raises:
        ConfigurationError: its key is not made of numbers, texts and UUIDs.
    """
    columns = mapper.primary_key
    if not all(_is_fit(column) for column in columns):
        raise _unfit(mapper)
    text: ColumnElement[str] = literal(f"{table_of(mapper)}:")
    for position, column in enumerate(columns):
        part: ColumnElement[str] = cast(column, Text)
        if len(columns) > 1:
            part = func.replace(func.replace(part, "\\", "\\\\"), ",", "\\,")
        text = text + "," + part if position else text + part
    return text.collate("C")


def _escaped(part: str) -> str:
    """Where a key has several parts: `a,b` and `c` are not `a` and `b,c`."""
    return part.replace("\\", "\\\\").replace(",", "\\,")


def _is_fit(column: ColumnElement[Any]) -> bool:
    """Whether Postgres writes the value as Python does. It pads a CHAR, and knows an Enum by its name."""
    kind: Any = column.type
    if isinstance(kind, TypeDecorator):
        plain = type(kind).process_bind_param is TypeDecorator.process_bind_param
        kind = kind.load_dialect_impl(_DIALECT)
        if not plain and not isinstance(kind, Uuid):  # it may store something else; a UUID has one text only
            return False
    if isinstance(kind, Uuid):
        return bool(kind.native_uuid)
    return isinstance(kind, Integer | String) and not isinstance(kind, CHAR | Enum)


def table_of(mapper: Mapper[Any]) -> str:
    """The table that a class is stored in; of a hierarchy the first one, so that its key is one everywhere."""
    while mapper.inherits is not None and not mapper.concrete:  # a concrete one has its keys for itself
        mapper = mapper.inherits
    table: Any = mapper.local_table
    return str(getattr(table, "fullname", table.name))


def _mapper(instance: object) -> Mapper[Any]:
    try:
        mapper: Mapper[Any] = inspect(instance).mapper
    except (NoInspectionAvailable, AttributeError) as error:
        raise InvalidJob(
            f"a {type(instance).__name__} cannot be the subject of a job",
            cure="pass a mapped instance, or text; nothing was enqueued",
        ) from error
    return mapper


def _unfit(mapper: Mapper[Any]) -> ConfigurationError:
    return ConfigurationError(
        f"the key of {mapper.class_.__name__} is not made of numbers, texts and UUIDs, each with one text only",
        cure="leave HasJobs out, and name the subject of its jobs yourself: subject='orders:2026-11'",
    )
