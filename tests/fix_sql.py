"""The database as a client sees it: one for each module, for making one costs 70 ms, and empty for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from tests.support import Sql, one_database


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Sql]:
    with one_database(admin_url, template) as database, Sql(database) as sql:
        yield sql


@pytest.fixture
def sql(shared: Sql) -> Iterator[Sql]:
    """All jobs are the test's own; the auditor looks at them afterwards."""
    shared.clean()  # of what tests have left that need no empty one
    yield shared
    shared.clean()
