"""Databases for tests: a template that is migrated once, and a clone of it in a tenth of a second.

Made by the fixtures of the plugin; our own suite makes its databases here too.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.rows import dict_row

from jobforge_sa.errors import ConfigurationError
from jobforge_sa.testing.clock import make_settable

ADMIN = "postgres"  # stands for whoever the admin URL names
TESTER = "jobforge_tester"  # the application's login in the tests of a user
AUDIT_TIMEOUT = "60s"

Migrate = Callable[[sa.Engine], object]
Logins = Mapping[str, Sequence[str]]  # a login → the roles that it is granted, each with its `with ...`, if any

# what an application's login has of the tables that its own migrations made: TRUNCATE and TRIGGER are no part of that
_SCHEMAS = sa.text(
    "select quote_ident(nspname) from pg_namespace "
    "where nspname !~ '^pg_' and nspname not in ('information_schema', 'jobforge')"
)
# a database is made with nothing at or above this oid, FirstNormalObjectId
_MADE = sa.text(
    "select exists (select from pg_class where oid >= 16384) or exists (select from pg_proc where oid >= 16384)"
)
_RIGHTS = (
    "grant usage on schema {schema} to {login}",
    "grant select, insert, update, delete on all tables in schema {schema} to {login}",
    "grant usage, select on all sequences in schema {schema} to {login}",
)


class Database:
    """A database of one test, or of several, and the ways into it."""

    def __init__(self, admin_url: sa.URL, name: str) -> None:
        self._admin_url = admin_url
        self._engines: list[sa.Engine] = []
        self.name = name

    def url(self, user: str = ADMIN) -> sa.URL:
        """The URL for a login; default: the superuser."""
        # All logins share the admin's password: a real server given for tests gets no weaker secret from us.
        url = self._admin_url.set(database=self.name)
        return url if user == ADMIN else url.set(username=user)

    def engine(self, user: str = ADMIN, **options: Any) -> sa.Engine:
        """An engine for a login, closed together with the database; `options` are those of `create_engine`."""
        engine = sa.create_engine(self.url(user), **options)
        self._engines.append(engine)
        return engine

    def dsn(self, user: str = ADMIN) -> str:
        """Give what libpq understands: for psycopg.connect, psql, a worker in a process of its own."""
        return self.url(user).set(drivername="postgresql").render_as_string(hide_password=False)

    def dispose(self) -> None:
        """Close all connections of its engines."""
        for engine in self._engines:
            engine.dispose()

    def audit(self) -> list[str]:
        """Ask the auditor, in a snapshot of its own, for jobs that do not stand in exactly one place."""
        with psycopg.Connection[dict[str, Any]].connect(
            self.dsn(), autocommit=True, row_factory=dict_row
        ) as connection:
            if connection.execute("select where to_regprocedure('jobforge.audit()') is not null").rowcount == 0:
                return []
            connection.execute(f"set statement_timeout = '{AUDIT_TIMEOUT}'".encode())
            return [str(row) for row in connection.execute("select * from jobforge.audit()")]


@contextmanager
def fresh(admin_url: sa.URL, template: str = "template0", kind: str = "test") -> Iterator[Database]:
    """A database for the block: a clone of the template under a name that nobody has."""
    # file_copy: a median of 70 ms per test on PG 18 (90 on 15) where wal_log takes 82 (96); the drop takes 8. Through
    # psycopg: SQLAlchemy asks each new engine's server several questions first.
    name = f"jobforge_{kind}_{secrets.token_hex(4)}"
    database = Database(admin_url, name)
    server = Database(admin_url, admin_url.database or ADMIN).dsn()
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"create database {name} template {template} strategy file_copy".encode())
    try:
        yield database
    finally:
        database.dispose()
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(f"drop database {name} with (force)".encode())


@contextmanager
def template(
    admin_url: sa.URL, logins: Logins, migrate: Migrate | None = None, *, for_users: bool = False
) -> Iterator[str]:
    """The name of a migrated database to clone, for the block; the logins exist.

    Args:
        admin_url: The superuser's URL of the server.
        logins: What each login is granted.
        migrate: Makes tables, as superuser. Where it does not make our schema, that is made behind it.
        for_users: The logins may use all tables that `migrate` made, and the clock can be set.
    """
    from jobforge_sa.db.migrate import upgrade  # here, so that unit tests run while the database side is broken

    with fresh(admin_url, kind="template") as database:
        engine = database.engine(poolclass=sa.NullPool)
        if migrate is not None:
            migrate(engine)
            if migrate is not nothing:
                _check_made(engine)
        with engine.connect() as connection:
            ours = connection.scalar(sa.text("select to_regnamespace('jobforge') is not null"))
        if not ours:
            upgrade(engine)
        with autocommit(admin_url) as admin:
            make_logins(admin, admin_url.password, logins)
        if for_users:
            make_settable(engine)
            _open_tables(engine, logins)
        yield database.name


@contextmanager
def autocommit(admin_url: sa.URL) -> Iterator[sa.Connection]:
    """A connection in autocommit, for the block."""
    engine = sa.create_engine(admin_url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


def with_driver(url: str) -> sa.URL:
    """A server's URL for psycopg, whatever driver it names."""
    # `postgresql://` means psycopg2 to SQLAlchemy 2.0 and psycopg to 2.1.
    return sa.make_url(url).set(drivername="postgresql+psycopg")


def make_logins(admin: sa.Connection, password: str | None, logins: Logins) -> None:
    """Make logins, where they are missing, with what each is granted; `admin` is in autocommit."""
    # Roles belong to the cluster: two runs on one server would meet ("tuple concurrently updated").
    admin.exec_driver_sql("select pg_advisory_lock(hashtext('jobforge tests: logins'))")
    present = set(admin.scalars(sa.text("select rolname from pg_roles")))
    for login, granted in logins.items():
        if login not in present:
            admin.exec_driver_sql(f"create role {login} login nosuperuser nobypassrls")
        if password is not None:
            literal = admin.scalar(sa.text("select quote_literal(cast(:it as text))"), {"it": password})
            admin.exec_driver_sql(f"alter role {login} password {str(literal).replace('%', '%%')}")
        for grant in granted:
            role, _, how = grant.partition(" ")
            admin.exec_driver_sql(f"grant {role} to {login} {how}")


def tester(admin_url: sa.URL) -> Logins:
    """The application's login in a user's tests, and its roles.

    It has the rights of jobforge_app. For what `drain` does it may become the worker and look around as administrator;
    from Postgres 16 on the application that is tested has nothing of these two by itself.
    """
    with autocommit(admin_url) as admin:
        tells = admin.scalar(sa.text("select current_setting('server_version_num')::integer >= 160000"))
    lent = " with inherit false, set true" if tells else ""
    return {TESTER: ["jobforge_app", *(role + lent for role in ("jobforge_worker", "jobforge_admin"))]}


def nothing(_engine: sa.Engine) -> None:
    """The migration of who has no tables."""


def _check_made(engine: sa.Engine) -> None:
    """A history that ran against another database would let each test fail at its first table, far from the cause."""
    with engine.connect() as connection:
        made = connection.scalar(_MADE)
    if not made:
        raise ConfigurationError(
            "the fixture jobforge_migrate made nothing in the database of the tests: it may have migrated another one",
            cure="pass on the engine that it is given. Alembic: let env.py use "
            'config.attributes["connection"] where it is there, and not its own URL: docs/testing.md',
        )


def _open_tables(engine: sa.Engine, logins: Logins) -> None:
    with engine.begin() as connection:
        for schema in [*connection.scalars(_SCHEMAS)]:
            for right in _RIGHTS:
                for login in logins:
                    connection.exec_driver_sql(right.format(schema=str(schema).replace("%", "%%"), login=login))
