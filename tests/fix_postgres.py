"""A database per test, cloned from a migrated template, and an auditor that looks at it afterwards."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row

from jobforge_sa.testing.server import ServerError, describe, provide

URL_ENV = ("JOBFORGE_TEST_DATABASE_URL",)
ADMIN = "postgres"  # stands for whoever the admin URL names
ROLES = {
    "jf_app": ["jobforge_app"],
    "jf_worker": ["jobforge_worker"],
    "jf_admin": ["jobforge_admin"],
    "jf_one": ["jobforge_app", "jobforge_worker", "jobforge_admin"],  # the one login of a small application
    "jf_stranger": [],
}
AUDIT_TIMEOUT = "60s"


class Database:
    """A database of one test, and the ways into it."""

    def __init__(self, admin_url: sa.URL, name: str) -> None:
        self._admin_url = admin_url
        self._engines: list[sa.Engine] = []
        self.name = name

    def url(self, user: str = ADMIN) -> sa.URL:
        # All logins share the admin's password: a real server given for tests gets no weaker secret from us.
        url = self._admin_url.set(database=self.name)
        return url if user == ADMIN else url.set(username=user)

    def engine(self, user: str = ADMIN, **options: Any) -> sa.Engine:
        engine = sa.create_engine(self.url(user), **options)
        self._engines.append(engine)
        return engine

    def dsn(self, user: str = ADMIN) -> str:
        """Give what libpq understands: for psycopg.connect, psql, a worker in a process of its own."""
        return self.url(user).set(drivername="postgresql").render_as_string(hide_password=False)

    def dispose(self) -> None:
        for engine in self._engines:
            engine.dispose()

    def audit(self) -> list[str]:
        """Ask the auditor, in a snapshot of its own, for jobs that do not stand in exactly one place."""
        with psycopg.connect(self.dsn(), autocommit=True, row_factory=dict_row) as connection:
            if connection.execute("select where to_regprocedure('jobforge.audit()') is not null").rowcount == 0:
                return []
            connection.execute(f"set statement_timeout = '{AUDIT_TIMEOUT}'".encode())
            return [str(row) for row in connection.execute("select * from jobforge.audit()")]


def _with_driver(given: str) -> sa.URL:
    # `postgresql://` means psycopg2 to SQLAlchemy 2.0 and psycopg to 2.1.
    return sa.make_url(given).set(drivername="postgresql+psycopg")


@contextmanager
def _autocommit(admin_url: sa.URL) -> Iterator[sa.Connection]:
    engine = sa.create_engine(admin_url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


@contextmanager
def _fresh(admin_url: sa.URL, template: str, name: str) -> Iterator[Database]:
    # file_copy: a median of 70 ms per test on PG 18 (90 on 15) where wal_log takes 82 (96); the drop takes 8. Through
    # psycopg: SQLAlchemy asks each new engine's server several questions first.
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


def _name(kind: str) -> str:
    return f"jobforge_{kind}_{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def admin_url() -> Iterator[sa.URL]:
    """The superuser's URL of the server of this run."""
    with provide(URL_ENV) as url:
        yield _with_driver(url)


@pytest.fixture(scope="session")
def template(admin_url: sa.URL) -> Iterator[str]:
    """The name of a migrated database to clone; the login roles of the tests exist."""
    from jobforge_sa.db import migrate  # here, so that unit tests run while the database side is broken

    with _fresh(admin_url, "template0", _name("template")) as database:
        engine = database.engine(poolclass=sa.NullPool)
        migrate.upgrade(engine)
        with _autocommit(admin_url) as admin:
            _make_logins(admin, admin_url.password)
        yield database.name


def make_logins(server: sa.Engine) -> None:
    """Make the logins of the tests on a server of the test's own, whose schema stands."""
    with server.execution_options(isolation_level="AUTOCOMMIT").connect() as admin:
        _make_logins(admin, None)


def _make_logins(admin: sa.Connection, password: str | None) -> None:
    # Roles belong to the cluster: two runs on one server would meet ("tuple concurrently updated").
    admin.exec_driver_sql("select pg_advisory_lock(hashtext('jobforge tests: logins'))")
    present = set(admin.scalars(sa.text("select rolname from pg_roles")))
    for login, granted in ROLES.items():
        if login not in present:
            admin.exec_driver_sql(f"create role {login} login nosuperuser nobypassrls")
        if password is not None:
            literal = admin.scalar(sa.text("select quote_literal(cast(:it as text))"), {"it": password})
            admin.exec_driver_sql(f"alter role {login} password {str(literal).replace('%', '%%')}")
        for role in granted:
            admin.exec_driver_sql(f"grant {role} to {login}")


@pytest.fixture
def database(request: pytest.FixtureRequest, admin_url: sa.URL, template: str) -> Iterator[Database]:
    """A migrated database; every job in it must stand in exactly one place when the test is over."""
    with _fresh(admin_url, template, _name("test")) as database:
        yield database
        database.dispose()
        if marker := request.node.get_closest_marker("no_audit"):
            print(f"not audited: {marker.kwargs.get('reason') or marker.args[0]}")
        elif rows := database.audit():
            pytest.fail("\n  ".join(["the auditor found:", *rows]), pytrace=False)


@pytest.fixture
def bare_database(admin_url: sa.URL) -> Iterator[Database]:
    """An empty database, not migrated."""
    with _fresh(admin_url, "template0", _name("bare")) as database:
        yield database


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "no_audit(reason): leaves jobs where the auditor complains, for that reason")
    config.addinivalue_line("markers", "faults: takes long: only with JOBFORGE_FAULTS=1, as in `make faults`")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("JOBFORGE_FAULTS"):
        for item in items:
            if item.get_closest_marker("faults"):
                item.add_marker(pytest.mark.skip(reason="takes long: make faults"))


def pytest_report_header() -> str:
    return f"server: {_server()}; SQLAlchemy {sa.__version__}"


def _server() -> str:
    try:
        said = describe(URL_ENV)
        if given := os.environ.get(URL_ENV[0]):
            with _autocommit(_with_driver(given)) as admin:
                said = f"Postgres {admin.scalar(sa.text('show server_version'))}, {said}"
    except (ServerError, sa.exc.SQLAlchemyError) as error:
        return f"none ({str(error).splitlines()[0]})"  # tests without a database run all the same
    return said
