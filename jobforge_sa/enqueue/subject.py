"""The subject of a job: the application's row that it is about, as text, such as `orders:42`."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import ColumnElement, Integer, String, Text, Uuid, cast, inspect, literal
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import Mapper

from jobforge_sa.errors import ConfigurationError, InvalidJob
from jobforge_sa.tenant import is_text

MAX_LENGTH = 300


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
        text = f"{table_of(mapper)}:{','.join(map(str, key))}"
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
    if not all(isinstance(column.type, Integer | String | Uuid) for column in columns):
        raise _unfit(mapper)
    text: ColumnElement[str] = literal(f"{table_of(mapper)}:")
    for position, column in enumerate(columns):
        text = text + "," + cast(column, Text) if position else text + cast(column, Text)
    return text.collate("C")


def table_of(mapper: Mapper[Any]) -> str:
    """The table that a class is stored in; of a hierarchy the first one, so that its key is one everywhere."""
    table: Any = mapper.base_mapper.local_table
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
        f"the key of {mapper.class_.__name__} is not made of numbers, texts and UUIDs",
        cure="name the subject yourself: subject='orders:2026-11'",
    )
