"""Tables like ours, for the side that writes by hand: an enqueue's own rows are looked up, and written again by SQL.

So "the same row" is the same row, whatever the columns are called by now.
"""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from benchmarks.arena import Arena
from benchmarks.orders import order
from benchmarks.systems import ours
from benchmarks.systems.system import Database
from jobforge_sa import Jobs

TABLES: Final = "select relname from pg_class where relnamespace = 'jobforge'::regnamespace and relkind = 'r'"
# what the table makes itself is not written
COLUMNS: Final = """
select attname from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = '' and attidentity = ''
   and coalesce(pg_get_expr(d.adbin, d.adrelid), '') not like 'nextval(%%' order by attnum"""


@dataclass(frozen=True)
class Twin:
    """One table, and the row that an enqueue leaves in its original."""

    table: str
    row: dict[str, Any]
    key: uuid.UUID

    @property
    def columns(self) -> str:
        """For a statement."""
        return ", ".join(self.row)

    def values(self, id_: uuid.UUID, payload: str) -> dict[str, Any]:
        """The row of another job."""
        return self.row | {
            name: id_ if value == self.key else payload
            for name, value in self.row.items()
            if value == self.key or name == "payload"
        }


def template(place: Arena) -> str:
    """A database with our schema and the empty tables beside it."""
    return place.template(ours.SYSTEM, "twins", _install)


def twins(database: Database) -> list[Twin]:
    """The tables in which an enqueue leaves a row; the wide one, with the payload, first."""
    with database.engine().begin() as connection:
        jobs = Jobs(connection, tenant="main")
        jobs.enqueue(ours.nothing, order(0))  # whatever is written once only
        key = jobs.enqueue(ours.nothing, order(1)).id
    with database.connect() as connection:
        found = [_twin(connection, table, key) for (table,) in connection.execute(TABLES).fetchall()]
    return sorted((twin for twin in found if twin), key=lambda twin: "payload" not in twin.row)


def new_id() -> uuid.UUID:
    """A UUIDv7, as ours are: random keys would make the hand-written side's indexes slower than they need be."""
    stamp = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(10))
    return uuid.UUID(int=stamp << 80 | 7 << 76 | (noise >> 68) << 64 | 2 << 62 | noise & ((1 << 62) - 1))


def _twin(connection: psycopg.Connection[Any], table: str, key: uuid.UUID) -> Twin | None:
    columns = ", ".join(name for (name,) in connection.execute(COLUMNS, (f"jobforge.{table}",)))
    cursor = connection.execute(
        f"select {columns} from jobforge.{table} t where strpos(t::text, %s) > 0".encode(), (str(key),)
    )
    row = cursor.fetchone()
    if row is None or cursor.description is None:
        return None
    named = {column.name: value for column, value in zip(cursor.description, row, strict=True)}
    return Twin(f"yard.{table}", named, key)


def _install(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("create schema yard")
        for (table,) in connection.execute(TABLES).fetchall():
            connection.execute(f"create table yard.{table} (like jobforge.{table} including all)".encode())
