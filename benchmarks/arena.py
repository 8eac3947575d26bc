"""The server, and a fresh database for each run: no contender inherits the bloat or the caches of another."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import psycopg
import sqlalchemy as sa

from benchmarks import by_hand
from jobforge_sa.db import migrate
from jobforge_sa.testing.server import EmbeddedServer

URL_VARIABLE = "JOBFORGE_DATABASE_URL"
# one role for both sides of a queue; without it everything would run as the superuser, whom no policy binds
ROLE = """do $$ begin
    create role jobforge_bench in role jobforge_app, jobforge_worker;
exception when duplicate_object then null; end $$;
grant jobforge_bench to current_user"""


@dataclass(frozen=True)
class Database:
    """A database of one run, and the ways into it."""

    url: str  # for SQLAlchemy; acts as a role that policies bind, as an application does
    dsn: str  # for libpq

    def engine(self) -> sa.Engine:
        """An application's engine without a pool: every connection begins cold, and closes."""
        return sa.create_engine(self.url, poolclass=sa.NullPool)

    def connect(self) -> psycopg.Connection[Any]:
        """A plain connection in autocommit."""
        return psycopg.connect(self.dsn, autocommit=True)

    def value(self, query: str) -> Any:
        """The first column of a query's first row."""
        with self.connect() as connection:
            row = connection.execute(query.encode()).fetchone()
        return row and row[0]

    def vacuum(self) -> None:
        """VACUUM and ANALYZE the tables of both sides."""
        tables = self.value("""select string_agg(oid::regclass::text, ', ') from pg_class where relkind = 'r'
                                and relnamespace in ('jobforge'::regnamespace, 'yard'::regnamespace)""")
        with self.connect() as connection:
            connection.execute(f"vacuum analyze {tables}".encode())


class Arena:
    """One server, with a migrated database to copy from. For the block."""

    def __init__(self, url: sa.URL) -> None:
        self._url = url
        self._stack = contextlib.ExitStack()
        self._base = ""

    def __enter__(self) -> Self:
        self._base = self._stack.enter_context(self._made("template0"))
        database = self._database(self._base)
        owner = self._url.set(database=self._base, drivername="postgresql+psycopg")
        migrate.upgrade(sa.create_engine(owner, poolclass=sa.NullPool))
        with database.connect() as connection:
            connection.execute(ROLE)
            connection.execute(by_hand.SCHEMA)
            connection.execute("grant usage on schema yard to jobforge_bench")
            connection.execute("grant all on all tables in schema yard to jobforge_bench")
        database.vacuum()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def filled(self, fill: Callable[[Database], None] | None) -> Iterator[str]:
        """A template: our schema and the tables of the hand-written side, filled, vacuumed and analyzed."""
        if fill is None:
            yield self._base
            return
        with self._made(self._base) as name:
            fill(self._database(name))
            self._database(name).vacuum()
            yield name

    @contextlib.contextmanager
    def fresh(self, template: str) -> Iterator[Database]:
        """A copy of a template; the disk has nothing left to do for those before."""
        with self._made(template) as name:
            with self._admin() as admin:
                admin.execute("checkpoint")
            yield self._database(name)

    def facts(self) -> dict[str, str]:
        """The server's version, and the settings that matter here."""
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "data_checksums", "wal_level",
                 "shared_buffers", "max_wal_size")  # fmt: skip
        with self._admin() as admin:
            return {name: str((admin.execute(f"show {name}".encode()).fetchone() or ("?",))[0]) for name in names}

    @contextlib.contextmanager
    def _made(self, template: str) -> Iterator[str]:
        name = f"jobforge_bench_{secrets.token_hex(4)}"
        with self._admin() as admin:
            admin.execute(f"create database {name} template {template} strategy file_copy".encode())
        try:
            yield name
        finally:
            with self._admin() as admin:
                admin.execute(f"drop database {name} with (force)".encode())

    def _admin(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._database(self._url.database or "postgres").dsn, autocommit=True)

    def _database(self, name: str) -> Database:
        plain = self._url.set(database=name, drivername="postgresql")
        acting = plain.set(drivername="postgresql+psycopg").update_query_dict({"options": "-c role=jobforge_bench"})
        return Database(acting.render_as_string(hide_password=False), plain.render_as_string(hide_password=False))


@contextlib.contextmanager
def provide() -> Iterator[Arena]:
    """The server that the environment names; else one started here that waits for the disk, as a real one does."""
    if url := os.environ.get(URL_VARIABLE):
        with Arena(sa.make_url(url)) as arena:
            yield arena
        return
    with EmbeddedServer(durable=True) as server, Arena(sa.make_url(server.url)) as arena:
        yield arena
