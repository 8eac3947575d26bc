"""The fixtures for pytest. Loaded in every run of pytest, so it imports nothing before a fixture is asked for.

`jobs` drains, asserts and owns the clock; `isolation` asserts that tenants are apart. Both work on a Postgres that is
found or started, and on a database that `jobforge_migrate` makes: override that one, and `jobforge_tasks`. Who has a
test database already overrides `jobforge_engine` instead. See docs/testing.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.orm import Session

    from jobforge_sa.tasks import JobForge
    from jobforge_sa.tenant import Tenant
    from jobforge_sa.testing.database import Database
    from jobforge_sa.testing.isolation import Isolation
    from jobforge_sa.testing.jobs import JobsUnderTest

_NO_TASKS = """\
the fixture "jobs" does not know your tasks. Write into conftest.py:

    @pytest.fixture(scope="session")
    def jobforge_tasks():
        return your_application.forge

It is the JobForge with which your tasks are declared."""
_NO_SERVER = """\
{}

Or, with a test database of your own, write into conftest.py:

    @pytest.fixture(scope="session")
    def jobforge_engine():
        return sqlalchemy.create_engine("postgresql+psycopg://your_app@localhost/your_test_database")

The login is the one that your application has in production: no superuser, and not the owner of the tables."""


# -- to be overridden ------------------------------------------------------------------


@pytest.fixture(scope="session")
def jobforge_migrate() -> Callable[[Engine], object]:
    """Override it: a function that makes your tables, by your own migrations, with the superuser's engine."""
    from jobforge_sa.testing.database import nothing

    return nothing


@pytest.fixture(scope="session")
def jobforge_tasks() -> JobForge:
    """Override it: the registry of your tasks."""
    pytest.fail(_NO_TASKS, pytrace=False)


@pytest.fixture(scope="session")
def jobforge_engine(jobforge_shared: Database) -> Engine | AsyncEngine:
    """Override it where you have a test database: an engine logged in as your application is in production."""
    from jobforge_sa.testing.database import TESTER

    return jobforge_shared.engine(TESTER)


@pytest.fixture(scope="session")
def jobforge_tenants() -> tuple[Tenant, Tenant]:
    """Override it where your tenants are no text, such as UUIDs that your table of tenants has, or are signed.

    Where tenancy is signed: `key = TenantKey.from_environment()`, and `key.tenant("tenant-a"), key.tenant("tenant-b")`.
    """
    return "tenant-a", "tenant-b"


# -- to be used ------------------------------------------------------------------------


@pytest.fixture
def jobs(jobforge_session: Session, request: pytest.FixtureRequest) -> JobsUnderTest:
    """The jobs of `jobforge_session`: drain them, assert what was enqueued, run them inline, move their clock."""
    from jobforge_sa.testing.jobs import JobsUnderTest

    return JobsUnderTest(jobforge_session, lambda: request.getfixturevalue("jobforge_tasks"))


@pytest.fixture
def jobforge_session(jobforge_connection: Connection) -> Iterator[Session]:
    """A session of your application's, in a transaction that is rolled back; its commits end savepoints."""
    from sqlalchemy.orm import Session

    with Session(jobforge_connection, join_transaction_mode="create_savepoint") as session:
        yield session


@pytest.fixture
def jobforge_connection(jobforge_engine: Engine | AsyncEngine) -> Iterator[Connection]:
    """The connection of `jobforge_session`, for sessions that your application makes itself: its bind in a test."""
    from jobforge_sa.testing.isolation.sessions import Sessions

    with Sessions(jobforge_engine).engine.connect() as connection:
        connection.begin()
        yield connection


@pytest.fixture
def isolation(jobforge_engine: Engine | AsyncEngine, jobforge_tenants: tuple[Tenant, Tenant]) -> Isolation:
    """Act as a tenant; assert that a model or a query is isolated, that a function refuses a foreign tenant."""
    from jobforge_sa.testing.isolation import Isolation

    return Isolation(jobforge_engine, jobforge_tenants)


@pytest.fixture
def jobforge_database(jobforge_server: URL, jobforge_template: str) -> Iterator[Database]:
    """A database of this test's own, 0.1 s: for what must be committed, as where a worker runs."""
    from jobforge_sa.testing.database import fresh

    with fresh(jobforge_server, jobforge_template) as database:
        yield database


# -- what they stand on ----------------------------------------------------------------


@pytest.fixture(scope="session")
def jobforge_shared(jobforge_server: URL, jobforge_template: str) -> Iterator[Database]:
    """The database of all tests that roll back, made as `jobforge_database` is."""
    from jobforge_sa.testing.database import fresh

    with fresh(jobforge_server, jobforge_template, "shared") as database:
        yield database


@pytest.fixture(scope="session")
def jobforge_template(jobforge_server: URL, jobforge_migrate: Callable[[Engine], object]) -> Iterator[str]:
    """The name of the database that the others are clones of: migrated once, and with a clock that tests can set."""
    from jobforge_sa.testing.database import template, tester

    with template(jobforge_server, tester(jobforge_server), jobforge_migrate, for_users=True) as name:
        yield name


@pytest.fixture(scope="session")
def jobforge_server() -> Iterator[URL]:
    """The superuser's URL of a Postgres: JOBFORGE_TEST_DATABASE_URL's, else one in Docker, of a wheel, or local."""
    from jobforge_sa.testing.database import with_driver
    from jobforge_sa.testing.server import ServerError, provide

    with ExitStack() as stack:
        try:
            url = stack.enter_context(provide(("JOBFORGE_TEST_DATABASE_URL",)))
        except ServerError as error:
            pytest.fail(_NO_SERVER.format(error), pytrace=False)
        yield with_driver(url)
