"""A JSON column that is fetched as text and decoded row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Dialect, Text, cast, type_coerce
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.types import TypeDecorator

from jobforge_sa.db.jsontext import decode


class SafeJSON(TypeDecorator[Any]):
    """JSON whose undecodable values arrive as their text. See `jobforge_sa.db.jsontext` for why."""

    impl = JSON
    cache_ok = True

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Fetch the text."""
        return type_coerce(cast(column, Text), self)  # the type, or nothing would call the processor

    def result_processor(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, _dialect: Dialect, _coltype: object
    ) -> Callable[[Any], Any]:
        """Decode it here, and not in the driver."""
        return decode
