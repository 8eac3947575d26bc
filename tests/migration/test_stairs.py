"""Up, down, and up again: each step ends in the same catalog."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from jobforge_sa.db import introspect, migrate
from tests.fix_postgres import Database

HISTORY = [script.revision for script in ScriptDirectory(str(migrate.script_location())).walk_revisions()][::-1]
OURS = """
select c.relname from pg_class c where relnamespace = 'jobforge'::regnamespace
union all select proname from pg_proc where pronamespace = 'jobforge'::regnamespace
union all select typname from pg_type where typnamespace = 'jobforge'::regnamespace
"""


@pytest.mark.parametrize("revision", HISTORY)
def test_a_revision_goes_down_to_where_it_came_from(bare_database: Database, revision: str) -> None:
    before = HISTORY[HISTORY.index(revision) - 1] if revision != HISTORY[0] else "base"
    with bare_database.engine().connect() as connection:
        migrate.upgrade(connection, HISTORY[0])  # the snapshot at base is one of a schema that was in use
        migrate.downgrade(connection, "base")
        if before != "base":
            migrate.upgrade(connection, before)
        below = introspect.snapshot(connection)

        migrate.upgrade(connection, revision)
        above = introspect.snapshot(connection)
        migrate.downgrade(connection, before)
        assert introspect.snapshot(connection) == below
        migrate.upgrade(connection, revision)
        assert introspect.snapshot(connection) == above


def test_base_leaves_the_schema_and_the_roles_and_nothing_in_them(bare_database: Database) -> None:
    engine = bare_database.engine()
    migrate.upgrade(engine)
    migrate.downgrade(engine, "base")

    with engine.connect() as connection:
        assert list(connection.scalars(sa.text(OURS))) == []
        assert connection.scalar(sa.text("select to_regrole('jobforge_owner') is not null"))


def test_one_connection_climbs_as_often_as_it_likes(bare_database: Database) -> None:
    """psycopg prepares what it has run five times, and a script of many statements cannot be prepared."""
    with bare_database.engine().connect() as connection:
        for _ in range(4):
            migrate.upgrade(connection)
            migrate.downgrade(connection, "base")
