"""A database per test, made as the plugin makes them for users, and an auditor that looks at it afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from jobforge_sa.testing import database as databases
from jobforge_sa.testing.database import ADMIN, Database, autocommit, fresh
from jobforge_sa.testing.server import ServerError, describe

__all__ = ["ADMIN", "ROLES", "Database", "make_logins"]

URL_ENV = ("JOBFORGE_TEST_DATABASE_URL",)
LONG = {"faults": "JOBFORGE_FAULTS", "flat": "JOBFORGE_FLAT"}  # a marker, and what lets its tests run
ROLES = {
    "jf_app": ["jobforge_app"],
    "jf_worker": ["jobforge_worker"],
    "jf_admin": ["jobforge_admin"],
    "jf_one": ["jobforge_app", "jobforge_worker", "jobforge_admin"],  # the one login of a small application
    "jf_stranger": [],
}


@pytest.fixture(scope="session")
def admin_url(jobforge_server: sa.URL) -> sa.URL:
    """The superuser's URL of the server of this run."""
    return jobforge_server


@pytest.fixture(scope="session")
def template(admin_url: sa.URL) -> Iterator[str]:
    """The name of a migrated database to clone; the login roles of the tests exist."""
    with databases.template(admin_url, ROLES) as name:
        yield name


def make_logins(server: sa.Engine) -> None:
    """Make the logins of the tests on a server of the test's own, whose schema stands."""
    with server.execution_options(isolation_level="AUTOCOMMIT").connect() as admin:
        databases.make_logins(admin, None, ROLES)


@pytest.fixture
def database(request: pytest.FixtureRequest, admin_url: sa.URL, template: str) -> Iterator[Database]:
    """A migrated database; every job in it must stand in exactly one place when the test is over."""
    with fresh(admin_url, template) as database:
        yield database
        database.dispose()
        if marker := request.node.get_closest_marker("no_audit"):
            print(f"not audited: {marker.kwargs.get('reason') or marker.args[0]}")
        elif rows := database.audit():
            pytest.fail("\n  ".join(["the auditor found:", *rows]), pytrace=False)


@pytest.fixture
def bare_database(admin_url: sa.URL) -> Iterator[Database]:
    """An empty database, not migrated."""
    with fresh(admin_url, kind="bare") as database:
        yield database


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "no_audit(reason): leaves jobs where the auditor complains, for that reason")
    for name in LONG:
        config.addinivalue_line("markers", f"{name}: takes long: only with {LONG[name]}, as in `make {name}`")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for name in (name for name, said in LONG.items() if not os.environ.get(said)):
        for item in items:
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"takes long: make {name}"))


def pytest_report_header() -> str:
    return f"server: {_server()}; SQLAlchemy {sa.__version__}"


def _server() -> str:
    try:
        said = describe(URL_ENV)
        if given := os.environ.get(URL_ENV[0]):
            with autocommit(databases.with_driver(given)) as admin:
                said = f"Postgres {admin.scalar(sa.text('show server_version'))}, {said}"
    except (ServerError, sa.exc.SQLAlchemyError) as error:
        return f"none ({str(error).splitlines()[0]})"  # tests without a database run all the same
    return said
