"""A cluster of a test's own, for what belongs to a cluster and not to a database: roles, logins, who may connect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row

from jobforge_sa.testing.server import EmbeddedServer, ServerError
from tests.support import Connection


class Cluster:
    """A server without our roles, which trusts everybody who reaches its socket."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server

    def engine(self, database: str, user: str = "postgres") -> sa.Engine:
        """The way of a login into a database."""
        return sa.create_engine(self.server.url_for(database, user), poolclass=sa.NullPool)

    def dsn(self, database: str, user: str = "postgres") -> str:
        """The same for libpq."""
        url = sa.make_url(self.server.url_for(database, user)).set(drivername="postgresql")
        return url.render_as_string(hide_password=False)

    @contextmanager
    def connect(self, database: str, user: str = "postgres") -> Iterator[Connection]:
        """A connection in autocommit; `with connection.transaction()` makes one of the application's."""
        with psycopg.connect(self.dsn(database, user), row_factory=dict_row, autocommit=True) as connection:
            yield connection

    def run(self, *statements: str, database: str = "postgres", user: str = "postgres") -> None:
        """Run statements, each for itself, as superuser if not said otherwise: to set up, never to attack."""
        with self.connect(database, user) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@contextmanager
def own_cluster() -> Iterator[Cluster]:
    """Start one and stop it; skip where that cannot be done."""
    server = EmbeddedServer()
    try:
        server.start()
    except ServerError as error:
        pytest.skip(f"needs a cluster of its own: {error}")
    try:
        yield Cluster(server)
    finally:
        server.stop()


@contextmanager
def acting(connection: Connection, tenant: str) -> Iterator[Connection]:
    """A transaction of that tenant."""
    with connection.transaction():
        connection.execute("select set_config('jobforge.tenant_id', %s, true)", [tenant])
        yield connection
