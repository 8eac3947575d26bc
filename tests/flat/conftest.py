"""What the tests of flatness have in common: they take minutes each, and run one by one with `make flat`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from tests.flat.field import Field
from tests.support import one_database


@pytest.fixture
def field(admin_url: sa.URL, template: str) -> Iterator[Field]:
    """A database of the test's own."""
    with one_database(admin_url, template) as database:
        field = Field(database)
        yield field
        field.close()


@pytest.fixture
def many() -> int:
    """How many jobs are many."""
    return int(os.environ["JOBFORGE_FLAT"])
