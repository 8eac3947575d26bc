"""Whichever door a migration comes through, the same catalog stands behind it."""

from __future__ import annotations

import asyncio
import io
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy.ext.asyncio import create_async_engine

from jobforge_sa.db import ddl, migrate
from tests.fix_postgres import Database
from tests.migration.projects import Host, alembic, snapshot, start_alembic

NASTY = """\
create table jobforge.one (a text default '100%', b text default ':not_a_bind');\r
do $$\nbegin\n\tperform format('%s %% %1$s \\n', ':x');  -- it's "quoted" :y\nend\n$$;
"""


@pytest.fixture(scope="session")
def expected(template: str, admin_url: sa.URL) -> str:
    engine = sa.create_engine(admin_url.set(database=template), poolclass=sa.NullPool)
    return snapshot(engine)


@pytest.fixture
def host(tmp_path: Path, bare_database: Database) -> Host:
    return Host(tmp_path, bare_database.url())


def tables(database: Database) -> dict[str, str]:
    with database.engine().connect() as connection:
        rows = connection.exec_driver_sql(
            "select schemaname || '.' || tablename, tableowner from pg_tables "
            "where schemaname not in ('pg_catalog', 'information_schema')"
        )
        return {str(name): str(owner) for name, owner in rows}


def execute(database: Database, script: str) -> None:
    with psycopg.connect(database.dsn(), autocommit=True) as connection:
        connection.execute(script.encode())


# --- the command -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["JOBFORGE_DATABASE_URL", "DATABASE_URL"])
def test_the_command_takes_its_database_from_the_environment(
    bare_database: Database, expected: str, variable: str
) -> None:
    _, said = alembic("upgrade", "head", **{variable: bare_database.dsn()})

    assert f"-> {migrate.head()}" in said
    assert snapshot(bare_database.engine()) == expected
    assert set(tables(bare_database).values()) == {"jobforge_owner"}


def test_the_command_goes_up_and_down_at_a_url_given_with_x(bare_database: Database, expected: str) -> None:
    here = ("-x", f"url={bare_database.dsn()}")
    wrong = {"JOBFORGE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}

    alembic(*here, "upgrade", "head", **wrong)
    assert snapshot(bare_database.engine()) == expected
    assert migrate.head() in alembic(*here, "current")[0]
    assert migrate.head() in alembic(*here, "history")[0]

    _, said = alembic(*here, "downgrade", "base")
    assert "roles jobforge_* stay" in said
    assert alembic(*here, "current")[0] == ""
    assert tables(bare_database) == {}


def test_the_command_without_a_url_says_how_to_give_one() -> None:
    _, said = start_alembic("current").communicate(timeout=60)

    assert "Traceback" not in said
    for way in ("-x url=", "sqlalchemy.url", *migrate.URL_VARIABLES):
        assert way in said


def test_current_changes_nothing_in_an_empty_database(bare_database: Database) -> None:
    assert alembic("current", DATABASE_URL=bare_database.dsn())[0] == ""
    with bare_database.engine().connect() as connection:
        assert connection.scalar(sa.text("select to_regnamespace('jobforge')")) is None


def test_the_command_writes_sql_that_does_the_same(bare_database: Database, expected: str) -> None:
    script, _ = alembic("upgrade", "head", "--sql")
    assert script == migrate.render()
    execute(bare_database, script)
    assert snapshot(bare_database.engine()) == expected

    execute(bare_database, alembic("downgrade", f"{migrate.head()}:base", "--sql")[0])
    assert tables(bare_database) == {}
    execute(bare_database, script)  # base is base, whichever way it was reached
    assert snapshot(bare_database.engine()) == expected
    assert migrate.current(bare_database.engine()) == migrate.head()


@pytest.mark.skipif(shutil.which("psql") is None, reason="no psql here; psycopg runs the same text")
def test_psql_runs_the_sql_too(bare_database: Database, expected: str) -> None:
    call = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", bare_database.dsn()]
    subprocess.run(call, input=migrate.render(), text=True, check=True, capture_output=True)

    assert snapshot(bare_database.engine()) == expected


def test_every_sql_file_is_in_the_script_byte_for_byte() -> None:
    script = migrate.render()
    for file in sorted((migrate.script_location() / "sql").rglob("*.sql")):
        if file.name in {"bootstrap.sql", "v1.sql"}:
            assert file.read_bytes().decode() in script, file


# --- from Python -------------------------------------------------------------------------------------------


def test_an_engine_is_migrated_in_a_transaction_of_its_own(bare_database: Database, expected: str) -> None:
    engine = bare_database.engine(isolation_level="SERIALIZABLE")
    assert migrate.current(engine) is None

    migrate.upgrade(engine)
    migrate.upgrade(engine)

    assert migrate.current(engine) == migrate.head()
    assert snapshot(engine) == expected


def test_a_running_transaction_is_used_and_left_open(bare_database: Database) -> None:
    with bare_database.engine().connect() as connection:
        connection.exec_driver_sql("create table mine (id int)")
        before = connection.exec_driver_sql("select current_user, current_setting('search_path')").one()
        migrate.upgrade(connection)
        after = connection.exec_driver_sql("select current_user, current_setting('search_path')").one()

        assert after == before
        assert connection.in_transaction()
        connection.rollback()
    assert tables(bare_database) == {}


def test_a_connection_without_a_transaction_gets_one(bare_database: Database) -> None:
    with bare_database.engine().connect() as connection:
        migrate.upgrade(connection)
        assert not connection.in_transaction()
    assert migrate.current(bare_database.engine()) == migrate.head()


def test_autocommit_is_refused_before_anything_is_made(bare_database: Database) -> None:
    engine = bare_database.engine(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, pytest.raises(CommandError, match="AUTOCOMMIT"):
        migrate.upgrade(connection)
    assert tables(bare_database) == {}


def test_upgrade_to_less_and_downgrade_to_more_change_nothing(bare_database: Database, expected: str) -> None:
    engine = bare_database.engine()
    migrate.downgrade(engine, "0001")
    assert migrate.current(engine) is None

    migrate.upgrade(engine)
    migrate.upgrade(engine, "0001")
    assert snapshot(engine) == expected


def test_a_database_newer_than_this_release_is_refused(database: Database) -> None:
    with database.engine().begin() as connection:
        connection.exec_driver_sql("update jobforge.alembic_version set version_num = '9999'")
    with pytest.raises(CommandError, match="9999"):
        migrate.upgrade(database.engine())


def test_psycopg2_migrates_too(bare_database: Database, expected: str) -> None:
    engine = sa.create_engine(bare_database.url().set(drivername="postgresql+psycopg2"), poolclass=sa.NullPool)
    migrate.upgrade(engine)
    assert snapshot(engine) == expected
    migrate.downgrade(engine, "base")


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_async_engines_migrate_by_run_sync(bare_database: Database, expected: str, driver: str) -> None:
    async def steps(*moves: Callable[[sa.Connection], object]) -> None:
        engine = create_async_engine(bare_database.url().set(drivername=f"postgresql+{driver}"))
        for move in moves:
            async with engine.begin() as connection:
                await connection.run_sync(move)
        await engine.dispose()

    asyncio.run(steps(migrate.upgrade))
    assert snapshot(bare_database.engine()) == expected
    asyncio.run(steps(lambda connection: migrate.downgrade(connection, "base"), migrate.upgrade))
    assert snapshot(bare_database.engine()) == expected


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_script_reaches_the_database_as_it_stands_in_the_file(bare_database: Database, driver: str) -> None:
    engine = sa.create_engine(bare_database.url().set(drivername=f"postgresql+{driver}"))
    with engine.connect() as connection:
        connection.exec_driver_sql("create schema jobforge")
        ddl.run_script(MigrationContext.configure(connection), NASTY)
        defaults = connection.exec_driver_sql("select pg_get_expr(adbin, adrelid) from pg_attrdef order by adnum")
        assert list(defaults.scalars()) == ["'100%'::text", "':not_a_bind'::text"]
    engine.dispose()


def test_a_script_reaches_the_output_as_it_stands_in_the_file() -> None:
    output = io.StringIO()
    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": output})
    ddl.run_script(context, NASTY)
    Operations(context).invoke(ddl.Drop("function", "Odd name"))

    assert output.getvalue() == NASTY + '\n\ndrop function jobforge."Odd name";\n\n'


# --- many at once ------------------------------------------------------------------------------------------


def test_fault_049_four_commands_at_once_migrate_once(bare_database: Database, expected: str) -> None:
    running = [start_alembic("upgrade", "head", DATABASE_URL=bare_database.dsn()) for _ in range(4)]
    said = [process.communicate(timeout=60)[1] for process in running]

    assert [process.returncode for process in running] == [0, 0, 0, 0], said
    assert sum("Running upgrade" in text for text in said) == 1
    assert snapshot(bare_database.engine()) == expected


@pytest.mark.parametrize("start", [None, "base", "0001"])
def test_fault_049_four_threads_at_once_migrate_once(bare_database: Database, expected: str, start: str | None) -> None:
    engine = bare_database.engine(pool_size=4, isolation_level="REPEATABLE READ")
    if start:  # where the schema exists, nobody waits for the one who creates it: only the lock is left
        migrate.upgrade(engine, "0001")
        migrate.downgrade(engine, start)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(migrate.upgrade, [engine] * 4)) == [None] * 4
    assert snapshot(engine) == expected


# --- a history of the application's own --------------------------------------------------------------------


def test_a_host_revision_brings_the_same_catalog(host: Host, bare_database: Database, expected: str) -> None:
    host.upgrade()

    engine = bare_database.engine()
    assert snapshot(engine) == expected
    assert migrate.current(engine) == migrate.head()
    owners = tables(bare_database)
    assert owners.pop("public.orders") == owners.pop("public.customers") != "jobforge_owner"
    migrate.upgrade(engine)
    assert snapshot(engine) == expected


def test_a_host_revision_goes_down_and_up_again(host: Host, bare_database: Database, expected: str) -> None:
    host.upgrade()
    host.downgrade("a")
    assert set(tables(bare_database)) == {"public.alembic_version", "public.customers"}
    host.upgrade()
    assert snapshot(bare_database.engine()) == expected


def test_a_host_writes_sql_that_does_the_same(host: Host, bare_database: Database, expected: str) -> None:
    execute(bare_database, host.offline("base:c"))
    assert snapshot(bare_database.engine()) == expected
    assert migrate.current(bare_database.engine()) == migrate.head()

    execute(bare_database, host.offline("c:base"))
    assert set(tables(bare_database)) <= {"public.alembic_version"}  # Alembic before 1.20 drops it here


def test_offline_a_host_has_to_say_where_it_comes_from(host: Host) -> None:
    host.add("d", "c", "pass", 'migrations.downgrade("base")')
    with pytest.raises(CommandError, match="frm="):
        host.offline("d:c")


def test_a_failing_host_revision_takes_everything_back(host: Host, bare_database: Database) -> None:
    host.add("d", "c", 'op.execute("select 1 / 0")')
    with pytest.raises(sa.exc.DBAPIError, match="division by zero"):
        host.upgrade()

    assert tables(bare_database) == {}
    with bare_database.engine().connect() as connection:
        assert connection.scalar(sa.text("select to_regnamespace('jobforge')")) is None


@pytest.mark.parametrize("all_schemas", [False, True])
def test_a_hosts_autogenerate_does_not_see_our_schema(host: Host, all_schemas: bool) -> None:
    host.upgrade()
    command.check(host.config(all=all_schemas))
