"""A migrator needs no superuser; where a right is missing, the error holds the command that grants it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic.util import CommandError

from jobforge_sa.db import migrate
from jobforge_sa.testing.server import EmbeddedServer, ServerError
from tests.fix_postgres import Database
from tests.migration.projects import alembic, snapshot, start_alembic


@pytest.fixture
def cluster() -> Iterator[EmbeddedServer]:
    """A server of its own: roles belong to the cluster, and here they must not exist yet."""
    server = EmbeddedServer()
    try:
        server.start()
    except ServerError as error:
        pytest.skip(f"needs a cluster of its own: {error}")
    yield server
    server.stop()


@pytest.fixture
def expected(database: Database) -> str:
    return snapshot(database.engine())


def dba(cluster: EmbeddedServer, *statements: str) -> None:
    engine = sa.create_engine(
        cluster.url_for("app" if "create database" not in statements[0] else "postgres"),
        poolclass=sa.NullPool,
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def engine_of(cluster: EmbeddedServer, user: str) -> sa.Engine:
    return sa.create_engine(cluster.url_for("app", user), poolclass=sa.NullPool)


def hint(said: str) -> str:
    """The SQL in the error's hint."""
    found = re.search(r"^HINT: .*? runs once: (.*)$", said, re.MULTILINE)
    assert found, said
    return found[1]


def refused(engine: sa.Engine) -> str:
    with pytest.raises(CommandError) as refusal:
        migrate.upgrade(engine)
    assert "CONTEXT" not in str(refusal.value)
    return hint(str(refusal.value))


def test_a_migrator_with_createrole_needs_no_dba(cluster: EmbeddedServer, expected: str) -> None:
    dba(cluster, "create database app", "create role migrator login createrole")
    dba(cluster, "alter database app owner to migrator")
    engine = engine_of(cluster, "migrator")

    migrate.upgrade(engine)
    assert snapshot(engine) == expected
    assert migrate.current(engine) == migrate.head()
    assert alembic("current", DATABASE_URL=cluster.url_for("app", "migrator"))[0].startswith(migrate.head())

    migrate.downgrade(engine, "base")
    migrate.upgrade(engine)
    assert snapshot(engine) == expected


def test_a_migrator_without_createrole_learns_what_the_dba_has_to_run(cluster: EmbeddedServer, expected: str) -> None:
    dba(cluster, "create database app", "create role migrator login")
    engine = engine_of(cluster, "migrator")

    dba(cluster, *refused(engine).split("; "))  # the roles, and to be their owner
    dba(cluster, refused(engine))  # the schema
    migrate.upgrade(engine)

    assert snapshot(engine) == expected


def test_a_second_migrator_is_let_in_by_the_command_of_the_hint(cluster: EmbeddedServer, expected: str) -> None:
    dba(cluster, "create database app")
    migrate.upgrade(engine_of(cluster, "postgres"), "0001")
    dba(cluster, "create role second login")
    engine = engine_of(cluster, "second")

    dba(cluster, refused(engine))
    migrate.upgrade(engine)

    assert snapshot(engine) == expected
    assert migrate.current(engine) == migrate.head()


def test_the_command_prints_the_hint_and_no_traceback(cluster: EmbeddedServer) -> None:
    dba(cluster, "create database app", "create role migrator login")
    running = start_alembic("upgrade", "head", DATABASE_URL=cluster.url_for("app", "migrator"))
    _, said = running.communicate(timeout=60)

    assert "Traceback" not in said
    assert "create role jobforge_owner" in hint(said)
