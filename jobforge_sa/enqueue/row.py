"""A row as an argument of a job: stored as its key and version, loaded again by the handler, under its tenant."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeVar

import pydantic
from pydantic_core import core_schema
from sqlalchemy import inspect
from sqlalchemy.orm import Mapper, Session, scoped_session
from sqlalchemy.types import TypeDecorator

from jobforge_sa.enqueue.subject import table_of
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.types import Discard

T = TypeVar("T")
S = TypeVar("S")  # an instance's class; pyright does not solve that of the class for `Row.of`

Missing = Literal["discard", "fail"]
Stale = Literal["run", "discard", "fail"]


class RowMissing(LookupError):
    """The row that a job is about is not there, or is not this tenant's to see."""


class RowStale(Exception):
    """The row that a job is about was changed since the job was enqueued."""


class Row(Generic[T]):
    """A field of a payload that is a row of a mapped class.

    Example:
        ```python
        class Ship(BaseModel):
            order: Row[Order]


        jobs.enqueue(ship, Ship(order=Row.of(order)))  # {"order": {"table": "orders", "key": [42], "version": 3}}


        @forge.task()
        def ship(ctx: Context, payload: Ship) -> None:
            order = payload.order.load(ctx.session)
        ```

    Attributes:
        key: The parts of its primary key.
        version: Its version, where the mapper has a `version_id_col`.
    """

    __slots__ = ("entity", "key", "version")

    def __init__(self, entity: type[T], key: tuple[Any, ...], version: object = None) -> None:
        self.entity = entity
        self.key = key
        self.version = version

    @classmethod
    def of(cls, instance: S) -> Row[S]:
        """The row of a mapped instance that has its key.

        Raises:
            ValueError: it has none yet.
        """
        return _row(type(instance), instance)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Row) and (self.entity, self.key, self.version) == (
            other.entity,
            other.key,
            other.version,
        )

    def __hash__(self) -> int:
        return hash((self.entity, self.key))

    def __repr__(self) -> str:
        return f"Row({self.entity.__name__}, {self.key}, version={self.version!r})"

    def load(self, session: Session, *, missing: Missing = "discard", stale: Stale = "run") -> T:
        """Load the row. In an async handler: `await ctx.session.run_sync(payload.order.load)`.

        Args:
            session: The handler's: it sees what the job's tenant sees.
            missing: What a row that is gone means: with "discard" the job is dead at once, "fail" is an attempt that
                failed, and may be repeated.
            stale: What a row of another version means; "run" takes it as it is. Needs a `version_id_col`.

        Raises:
            Discard: by those policies. RowMissing, RowStale: by "fail". ConfigurationError: it is no `Session`.
        """
        given: object = session
        if not isinstance(given, Session | scoped_session):  # awaited, what an AsyncSession gives would pass as the row
            raise ConfigurationError(
                f"a row is loaded through a Session, not a {type(given).__name__}",
                cure="in an async handler: await ctx.session.run_sync(payload.row.load)",
            )
        found = session.get(self.entity, self.key)
        if found is None:
            fault: Exception = RowMissing(f"{self} is not there")
            raise Discard(str(fault)) if missing != "fail" else fault
        if stale != "run" and _version(found) != self.version:
            fault = RowStale(f"{self} has the version {_version(found)!r} by now")
            raise Discard(str(fault)) if stale == "discard" else fault
        return found

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, _handler: pydantic.GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Takes instances of the class, and what was stored; gives what is stored."""
        entity = next(iter(typing.get_args(source)), None)
        if not isinstance(entity, type):
            raise TypeError("write Row[Order], with the mapped class")

        def validate(value: object) -> Row[Any]:
            if isinstance(value, Row) and issubclass(value.entity, entity):
                return Row(entity, value.key, value.version)
            return _row(entity, value)

        def serialize(row: Row[Any]) -> dict[str, Any]:
            stored = {"table": table_of(_mapper(entity)), "key": [*row.key]}
            return stored if row.version is None else {**stored, "version": row.version}

        return core_schema.no_info_plain_validator_function(
            validate, serialization=core_schema.plain_serializer_function_ser_schema(serialize)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: core_schema.CoreSchema, _handler: pydantic.GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {"table": {"type": "string"}, "key": {"type": "array"}, "version": {}},
            "required": ["table", "key"],
        }


def _row(entity: type[T], value: object) -> Row[T]:
    mapper = _mapper(entity)
    if isinstance(value, entity):
        own = mapper.primary_key_from_instance(value)
        if None in own:
            raise ValueError("the row has no key yet: flush, or pass the payload as a function")
        return Row(entity, tuple(own), _version(value))
    if not isinstance(value, Mapping) or value.get("table") != table_of(mapper):
        raise ValueError(f"it must be a {entity.__name__}")
    key = value.get("key")
    if not isinstance(key, list | tuple) or len(key) != len(mapper.primary_key):
        raise ValueError(f"the key of a {entity.__name__} has {len(mapper.primary_key)} parts")
    parts = (_part(column, part) for column, part in zip(mapper.primary_key, key, strict=True))
    version, column = value.get("version"), mapper.version_id_col
    return Row(entity, tuple(parts), version if version is None or column is None else _part(column, version))


def _part(column: Any, part: object) -> Any:
    return pydantic.TypeAdapter(_kind(column.type)).validate_python(part, strict=False)  # JSON has no UUIDs, no dates


def _kind(type_: Any) -> Any:
    try:
        kind = type_.python_type
    except NotImplementedError:
        kind = object
    if kind is object:  # it does not say
        return _kind(type_.impl_instance) if isinstance(type_, TypeDecorator) else Any
    return kind


def _version(instance: object) -> object:
    mapper = _mapper(type(instance))
    column = mapper.version_id_col
    return None if column is None else mapper.get_property_by_column(column).class_attribute.__get__(instance, None)


def _mapper(entity: type[Any]) -> Mapper[Any]:
    return typing.cast("Mapper[Any]", inspect(entity))
