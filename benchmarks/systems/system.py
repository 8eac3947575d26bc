"""What a queue must be able to do to take part: be installed, be filled, enqueue, work, and count what is done."""

from __future__ import annotations

import abc
import asyncio
import enum
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from typing import Any, ClassVar, Protocol

import psycopg.conninfo
import sqlalchemy as sa

from benchmarks.board import Heard
from benchmarks.orders import ANYONE, Order, order

Mark = Callable[[int], object]  # is told an order's number


class Purpose(enum.StrEnum):
    """What a worker is set up for. Ours has its defaults for each; a peer what its documentation says is best."""

    DRAIN = "drain"
    LATENCY = "latency"
    FIFTY = "fifty"  # fifty handlers at once


@dataclass(frozen=True)
class Database:
    """A database of one run, and the ways into it."""

    url: str  # for SQLAlchemy; acts as a role that policies bind, as an application does
    dsn: str  # for libpq, as the owner of all

    def engine(self) -> sa.Engine:
        """An application's engine without a pool: every connection begins cold, and closes."""
        return sa.create_engine(self.url, poolclass=sa.NullPool)

    def connect(self) -> psycopg.Connection[Any]:
        """A plain connection in autocommit."""
        return psycopg.connect(self.dsn, autocommit=True)

    @property
    def name(self) -> str:
        """The database's."""
        return str(psycopg.conninfo.conninfo_to_dict(self.dsn)["dbname"])

    def elsewhere(self) -> psycopg.Connection[Any]:
        """A connection to the same server, but to another database: it leaves no trace in the counters of this one."""
        return psycopg.connect(self.dsn, dbname="postgres", autocommit=True)

    def value(self, query: str) -> Any:
        """The first column of a query's first row."""
        with self.connect() as connection:
            row = connection.execute(query.encode()).fetchone()
        return row and row[0]

    def vacuum(self) -> None:
        """VACUUM and ANALYZE all tables: nobody inherits bloat, and everybody has statistics of a full queue."""
        with self.connect() as connection:
            connection.execute("vacuum analyze")


class Producer(Protocol):
    """Enqueues, over a connection that stands."""

    def each(self, orders: Iterable[Order], before: Mark = ..., after: Mark = ...) -> None:
        """Enqueue one by one, in a transaction each; `after` is called when its commit is answered."""

    def many(self, orders: Sequence[Order]) -> None:
        """Enqueue all at once, as fast as it is offered."""


def nothing(_number: int) -> None:
    """Mark nothing."""


@dataclass(frozen=True)
class Plain:
    """A producer of plain functions."""

    one: Callable[[Order], object]
    all: Callable[[Sequence[Order]], object]

    def each(self, orders: Iterable[Order], before: Mark = nothing, after: Mark = nothing) -> None:
        """One by one."""
        for item in orders:
            before(item.number)
            self.one(item)
            after(item.number)

    def many(self, orders: Sequence[Order]) -> None:
        """All at once."""
        self.all(orders)


@dataclass(frozen=True)
class Async:
    """A producer of coroutines. They run on one loop, so that nobody pays for starting it."""

    runner: asyncio.Runner
    one: Callable[[Order], Awaitable[object]]
    all: Callable[[Sequence[Order]], Awaitable[object]]

    def each(self, orders: Iterable[Order], before: Mark = nothing, after: Mark = nothing) -> None:
        """One by one."""

        async def run() -> None:
            for item in orders:
                before(item.number)
                await self.one(item)
                after(item.number)

        self.runner.run(run())

    def many(self, orders: Sequence[Order]) -> None:
        """All at once."""

        async def run() -> None:
            await self.all(orders)

        self.runner.run(run())


class System(abc.ABC):
    """A queue, set up as its documentation says it is best."""

    name: ClassVar[str]
    package: ClassVar[str]  # on PyPI
    settings: ClassVar[str]  # what was chosen, and why: for the report
    completed: ClassVar[str]  # the query that counts what is done
    bulk: ClassVar[int] = 50_000  # jobs of one bulk; fewer where a bulk is a loop of INSERTs, so that it ends today
    channel: ClassVar[str] = ""  # on which a worker is woken, where that is counted
    copies: ClassVar[dict[str, dict[str, str]]] = {}  # see `multiply`

    @abc.abstractmethod
    def install(self, database: Database) -> None:
        """Make the schema."""

    @abc.abstractmethod
    def producer(self, database: Database) -> AbstractContextManager[Producer]:
        """Connect, for the block."""

    @abc.abstractmethod
    def work(self, database: Database, heard: Heard, purpose: Purpose) -> None:
        """Run a worker in this process until it is killed."""

    def fill(self, database: Database, jobs: int) -> None:
        """Put so many jobs there: one as it is enqueued, the others as copies of its rows, or it would take hours."""
        with self.producer(database) as producer:
            producer.each([order(ANYONE)])
        multiply(database, self.copies, jobs - 1)

    @property
    def version(self) -> str:
        """Of the package."""
        return metadata.version(self.package)


def multiply(database: Database, tables: dict[str, dict[str, str]], times: int) -> None:
    """Copy the only row of each table.

    Args:
        database: Where.
        tables: For each table the columns that are not copied: an expression in which n is the copy's number, or
            nothing where the table makes the value.
        times: How often.
    """
    with database.connect() as connection:
        connection.execute("set session_replication_role = replica")  # no triggers: a million notifications are no job
        for table, keys in tables.items():
            found = connection.execute(
                "select quote_ident(attname) from pg_attribute where attrelid = %s::regclass"
                " and attnum > 0 and not attisdropped and attgenerated = ''", (table,),
            )  # fmt: skip
            columns = {name: keys.get(name, name) for (name,) in found if keys.get(name, name)}
            connection.execute(
                f"insert into {table} ({', '.join(columns)}) select {', '.join(columns.values())}"
                f" from {table}, generate_series(1, {times}) n".encode()
            )


def sequential(kind: int = 0) -> str:
    """An expression for the uuid of a copy: one after the other, as UUIDv7 are; of several kinds."""
    return f"('{kind:08x}' || lpad(to_hex(n), 24, '0'))::uuid"
