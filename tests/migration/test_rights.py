"""A migrator needs no superuser; where a right is missing, the error holds the command that grants it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
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


LATER = (
    "create function jobforge.later() returns integer language sql set search_path = pg_catalog, pg_temp as 'select 1'"
)


def becomes_owner_and_makes(cluster: EmbeddedServer, user: str, statement: str) -> None:
    """What a later revision would do, by the way that migrations go."""
    with engine_of(cluster, user).begin() as connection, migrate.entered(MigrationContext.configure(connection)):
        connection.exec_driver_sql(statement)


def calls_later(cluster: EmbeddedServer, user: str) -> object:
    with engine_of(cluster, user).connect() as connection:
        return connection.exec_driver_sql("select jobforge.later()").scalar_one()


@pytest.mark.parametrize("how", ["superuser", "createrole", "hint"])
def test_a_function_of_a_later_revision_is_nobodys_until_it_is_granted(cluster: EmbeddedServer, how: str) -> None:
    """Whoever migrates: the default privileges are those of jobforge_owner, and in no schema only."""
    migrator = "postgres" if how == "superuser" else "migrator"
    dba(cluster, "create database app", "create role stranger login", "create role app login")
    if how != "superuser":
        dba(cluster, f"create role migrator login {'createrole' if how == 'createrole' else ''}")
        dba(cluster, "grant create on database app to migrator")
    if how == "hint":
        dba(cluster, *refused(engine_of(cluster, migrator)).split("; "))
    migrate.upgrade(engine_of(cluster, migrator))
    dba(cluster, "grant jobforge_app to app", "grant usage on schema jobforge to stranger")

    becomes_owner_and_makes(cluster, migrator, LATER)
    for user in ("stranger", "app"):
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied for function later"):
            calls_later(cluster, user)
    becomes_owner_and_makes(cluster, migrator, "grant execute on function jobforge.later() to jobforge_app")
    assert calls_later(cluster, "app") == 1


def test_a_second_createrole_migrator_is_let_in_by_the_command_of_the_hint(
    cluster: EmbeddedServer, expected: str
) -> None:
    """From 16 on CREATEROLE gives no hold on roles that another made; before it does, and nothing has to be run."""
    dba(cluster, "create database app", "create role first login createrole", "create role second login createrole")
    dba(cluster, "grant create on database app to first, second")
    migrate.upgrade(engine_of(cluster, "first"), "0001")
    engine = engine_of(cluster, "second")

    if cluster.installation.major >= 16:
        cure = refused(engine)
        assert cure == "grant jobforge_owner to second with inherit false, set true;"
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"), engine.begin() as connection:
            connection.exec_driver_sql(cure)  # it cannot help itself
        with engine_of(cluster, "first").begin() as connection:
            connection.exec_driver_sql(cure)  # whoever made the roles may give them: no superuser is needed
    migrate.upgrade(engine)

    assert snapshot(engine) == expected
    assert migrate.current(engine) == migrate.head()


def test_the_migrations_of_a_superuser_belong_to_the_owner_and_to_no_superuser(cluster: EmbeddedServer) -> None:
    dba(cluster, "create database app")
    engine = engine_of(cluster, "postgres")
    migrate.upgrade(engine)

    owners = (
        "select relowner::regrole::text from pg_class where relnamespace = 'jobforge'::regnamespace union "
        "select proowner::regrole::text from pg_proc where pronamespace = 'jobforge'::regnamespace union "
        "select nspowner::regrole::text from pg_namespace where nspname = 'jobforge'"
    )
    with engine.connect() as connection:
        assert connection.exec_driver_sql(owners).scalars().all() == ["jobforge_owner"]
