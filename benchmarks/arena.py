"""The server, and a fresh database for each run: no system inherits the bloat or the caches of another."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any, Self

import psycopg
import sqlalchemy as sa

from benchmarks.systems.system import Database, System
from jobforge_sa.testing.server import EmbeddedServer

URL_VARIABLE = "JOBFORGE_DATABASE_URL"
Fill = Callable[[Database], None]


class Arena:
    """One server, with a template for each system and each filling: made when it is first asked for. For the block."""

    def __init__(self, url: sa.URL, pid: int | None = None) -> None:
        self.pid = pid  # of the postmaster, where the server is ours
        self._url = url
        self._stack = contextlib.ExitStack()
        self._templates: dict[tuple[str, str], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def template(self, system: System, what: str = "", fill: Fill | None = None) -> str:
        """A database of this system, filled, vacuumed and analyzed.

        Args:
            system: Whose schema.
            what: How it is filled, in a few words: the same words give the same template.
            fill: Fills it.
        """
        key = (system.name, what)
        if key not in self._templates:
            base = self.template(system) if fill else "template0"
            name = self._create(base)
            if self.pid is None:  # our own server goes as a whole, and ten databases of a million jobs take a minute
                self._stack.callback(self._drop, name)
            database = self._database(name)
            (fill or system.install)(database)
            database.vacuum()
            self._templates[key] = name
        return self._templates[key]

    def filled(self, system: System, jobs: int) -> str:
        """The template with so many jobs of the system's own filling."""
        return self.template(system, f"{jobs} jobs", lambda database: system.fill(database, jobs))

    @contextlib.contextmanager
    def fresh(self, template: str) -> Iterator[Database]:
        """A copy of a template; the disk has nothing left to do for those before."""
        name = self._create(template)
        try:
            with self._admin() as admin:
                admin.execute("checkpoint")
            yield self._database(name)
        finally:
            self._drop(name)

    def facts(self) -> dict[str, str]:
        """The server's version, and the settings that matter here."""
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "data_checksums", "wal_level",
                 "shared_buffers", "max_wal_size", "autovacuum")  # fmt: skip
        with self._admin() as admin:
            return {name: str((admin.execute(f"show {name}".encode()).fetchone() or ("?",))[0]) for name in names}

    def _create(self, template: str) -> str:
        name = f"jobforge_bench_{secrets.token_hex(4)}"
        with self._admin() as admin:
            admin.execute(f"create database {name} template {template} strategy file_copy".encode())
        return name

    def _drop(self, name: str) -> None:
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
    # SQLAlchemy's URL, and the one of libpq that others understand, name a socket's folder in different ways
    with EmbeddedServer(durable=True) as server, Arena(sa.make_url(server.url), server.pid) as arena:
        yield arena
