"""The fixtures for pytest: `isolation`, and what it is made of. Loaded in every run of pytest, so it imports nothing.

Override `jobforge_engine`, and `jobforge_tenants` where the application's tenants are no text. See docs/testing.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from jobforge_sa.tenant import Tenant
    from jobforge_sa.testing.isolation import Isolation

_MISSING = """\
the fixture "isolation" does not know your database. Write into conftest.py:

    @pytest.fixture(scope="session")
    def jobforge_engine():
        return sqlalchemy.create_engine("postgresql+psycopg://your_app@localhost/your_test_database")

The login is the one that your application has in production: no superuser, and not the owner of the tables."""


@pytest.fixture(scope="session")
def jobforge_engine() -> Engine:
    """Override it: an engine logged in as your application is in production."""
    pytest.fail(_MISSING, pytrace=False)


@pytest.fixture(scope="session")
def jobforge_tenants() -> tuple[Tenant, Tenant]:
    """Override it where your tenants are no text, such as UUIDs that your table of tenants has, or are signed.

    Where tenancy is signed: `key = TenantKey.from_environment()`, and `key.tenant("tenant-a"), key.tenant("tenant-b")`.
    """
    return "tenant-a", "tenant-b"


@pytest.fixture
def isolation(jobforge_engine: Engine, jobforge_tenants: tuple[Tenant, Tenant]) -> Isolation:
    """Act as a tenant; assert that a model or a query is isolated, that a function refuses a foreign tenant."""
    from jobforge_sa.testing.isolation import Isolation

    return Isolation(jobforge_engine, jobforge_tenants)
