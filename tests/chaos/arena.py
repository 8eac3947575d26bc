"""The server of a storm: Postgres on loopback, real logins, the application's tables, and a lossy way to it."""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import psycopg
import sqlalchemy as sa
from psycopg.rows import dict_row

from jobforge_sa.db import migrate
from jobforge_sa.testing.server import EmbeddedServer
from tests.chaos.proxy import Proxy
from tests.fix_postgres import make_logins

TENANTS = ("acme", "bolt", "cord")
DATABASE = "postgres"
LOSE_COMMIT = 0.02
WAY = {"connect_timeout": "3"}  # who meets a black hole while connecting does not wait for minutes
TABLES = """
create table orders (mark text primary key, tenant_id text not null);
create table effects (
    mark text not null, tenant_id text not null, job_id uuid not null, run integer not null, what text not null,
    strangers integer not null, at timestamptz not null default clock_timestamp()
);
create table tallies (tenant_id text primary key, n integer not null);
create table outside (job_id uuid not null, run integer not null);
grant select, insert, update on orders, effects, tallies, outside to jf_app;
"""
WALL = """
alter table {0} enable row level security;
create policy {0}_tenant on {0} to jf_app using (tenant_id = (select jobforge.current_tenant()))
    with check (tenant_id = (select jobforge.current_tenant()));
"""


class Arena:
    """Starts the server and the proxies, for the block.

    Args:
        seed: What the proxies' chance comes from.
        durable: Wait for the disk, as a real server does.
        lose_commit: How often a COMMIT through a proxy is hit.
    """

    def __init__(self, seed: int, *, durable: bool = False, lose_commit: float = LOSE_COMMIT) -> None:
        self._stack = contextlib.ExitStack()
        self._seed, self._durable, self._lose_commit = seed, durable, lose_commit
        self._kept = False

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="chaos-"))
            stack.callback(self._clear)
            self.server = stack.enter_context(EmbeddedServer(tcp=True, durable=self._durable))
            self._prepare()
            chance = random.Random(f"{self._seed} proxies")
            self.workers_way = stack.enter_context(Proxy(self.server.port, chance, self._lose_commit))
            self.enqueuers_way = stack.enter_context(Proxy(self.server.port, chance, self._lose_commit))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def keep(self) -> None:
        """Leave the ledgers and the logs where they are, for somebody to read."""
        self._kept = True
        shutil.copy(self.server.directory / "log", self.folder / "server.log")

    def _clear(self) -> None:
        if not self._kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, login: str, way: Proxy) -> str:
        """The URL of a login through a proxy."""
        url = sa.make_url(self.server.tcp_url_for(DATABASE, login)).set(port=way.port).update_query_dict(WAY)
        return url.render_as_string(hide_password=False)

    def engine(self, login: str) -> sa.Engine:
        """An engine over the socket, where nothing is lost."""
        return sa.create_engine(self.server.url_for(DATABASE, login), poolclass=sa.NullPool)

    def look(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Look at anything, as superuser, in a connection of its own: the server may have restarted."""
        with self._superuser() as connection:
            return connection.execute(query.encode(), values).fetchall()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """Look at everything as it stands at one moment."""
        with self._superuser() as connection:
            connection.execute("begin isolation level repeatable read read only")
            yield connection

    def _superuser(self) -> psycopg.Connection[dict[str, Any]]:
        dsn = sa.make_url(self.server.url).set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(dsn, autocommit=True, row_factory=dict_row)

    def _prepare(self) -> None:
        superuser = sa.create_engine(self.server.url, poolclass=sa.NullPool)
        migrate.upgrade(superuser)
        make_logins(superuser)
        with superuser.begin() as connection:
            connection.exec_driver_sql(TABLES)
            for table in ("orders", "effects", "tallies"):
                connection.exec_driver_sql(WALL.format(table))
            for tenant in TENANTS:
                connection.execute(sa.text("insert into tallies values (:tenant, 0)"), {"tenant": tenant})
            for login in ("jf_app", "jf_worker"):
                connection.exec_driver_sql(f"alter role {login} password '{self.server.password}'")
