"""What a user of the plugin overrides, as our own suite does here."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from jobforge_sa import JobForge
from tests.testing import shop


@pytest.fixture(scope="session")
def jobforge_migrate() -> Callable[[sa.Engine], object]:
    from jobforge_sa.db import migrate

    def make(engine: sa.Engine) -> None:
        migrate.upgrade(engine)  # the policy names its function
        with engine.begin() as connection:
            for statement in shop.TABLES.split(";\n"):
                connection.exec_driver_sql(statement)

    return make


@pytest.fixture(scope="session")
def jobforge_tasks() -> JobForge:
    return shop.forge
