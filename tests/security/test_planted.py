"""Commands run with great rights, in databases where others may create: none meets what they have planted.

An operator or a function in `public` that fits the types of a statement exactly is taken before one of pg_catalog that
needs a conversion, and psycopg sends text as varchar. In a schema that stands before pg_catalog on the search_path it
is taken always.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobforge_sa.db import migrate
from tests.acceptance.cli import inside
from tests.fix_postgres import Database

FUNCTIONS = [
    "set_config({t}, {t}, boolean)", "current_setting({t})", "current_setting({t}, boolean)", "pg_has_role(oid, {t})",
    "pg_has_role(name, oid, {t})", "to_regclass({t})", "quote_ident({t})", "quote_ident(name)", "quote_literal({t})",
    "to_regnamespace({t})", "to_regproc({t})", "current_schema()", "version()",
]  # fmt: skip
OPERATORS = [("name", "name"), ("name", "{t}"), ("{t}", "{t}"), ("text", "{t}"), ("{t}", "text"), ("oid", "oid")]


def plant(schema: str) -> Iterator[str]:
    """Functions and operators that end whatever meets them."""
    for type_ in ("varchar", "text"):
        for signature in FUNCTIONS:
            yield (
                f"create or replace function {schema}.{signature.format(t=type_)} returns text language plpgsql as "
                f"$$ begin raise exception 'planted: {signature}'; end $$"
            )
        for number, pair in enumerate(OPERATORS):
            left, right = (side.format(t=type_) for side in pair)
            name = f"{schema}.eq_{type_}_{number}"
            yield (
                f"create or replace function {name}({left}, {right}) returns boolean language plpgsql as "
                f"$$ begin raise exception 'planted: {left} = {right}'; end $$"
            )
            yield (
                f"do $d$ begin create operator {schema}.= (function = {name}, leftarg = {left}, rightarg = {right}); "
                "exception when duplicate_function then null; end $d$"
            )


@pytest.fixture(params=["in public", "before pg_catalog"])
def planted(request: pytest.FixtureRequest, database: Database, admin_url: sa.URL) -> Iterator[Database]:
    schema = "public" if request.param == "in public" else "evil"
    with database.engine().begin() as c:
        c.exec_driver_sql(f"create schema if not exists {schema}")
        c.exec_driver_sql(f"grant usage on schema {schema} to public")
        for statement in plant(schema):
            c.exec_driver_sql(statement)
        if schema == "evil":
            c.exec_driver_sql(f'alter database "{database.name}" set search_path = evil, pg_catalog, public')
    for engine in (database.engine(), database.engine("jf_admin")):
        engine.dispose()
    yield database
    engine = sa.create_engine(admin_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as c:  # the auditor is not careful
        c.exec_driver_sql(f'alter database "{database.name}" reset search_path')
    with database.engine().begin() as c:
        c.exec_driver_sql(f"drop schema {schema} cascade; create schema if not exists public")


@pytest.mark.parametrize("planted", ["in public"], indirect=True)
def test_a_statement_that_is_not_careful_meets_them(planted: Database) -> None:
    """Else the test below would show nothing."""
    with pytest.raises(sa.exc.DBAPIError, match="planted: "), planted.engine("jf_admin").connect() as c:
        c.execute(sa.text("select 1 from pg_catalog.pg_roles where rolname = cast(:role as varchar)"), {"role": "x"})


def test_no_command_meets_what_was_planted(planted: Database, tmp_path: Path) -> None:
    admin, owner = planted.url("jf_admin"), planted.url()
    export = ("tenants", "export", "acme", "--out", str(tmp_path / "a.jsonl"))
    commands: list[tuple[sa.URL, tuple[str, ...]]] = [
        (admin, ("jobs", "list")), (admin, ("tenants", "list")), (admin, ("tenants", "pause", "acme")),
        (admin, ("tenants", "resume", "acme")), (admin, ("tenants", "limit", "acme", "--max-waiting", "5")),
        (admin, export),
        (admin, ("tenants", "purge", "acme", "--dry-run")), (admin, ("tenants", "purge", "acme", "--yes")),
        (owner, ("tenancy",)), (owner, ("tenancy", "add-key")), (owner, ("tenancy", "signed")),
        (owner, ("tenancy", "plain", "--yes")), (owner, ("migrate", "--down", "base")), (owner, ("migrate",)),
        (owner, ("migrate",)),
    ]  # fmt: skip
    for url, command in commands:
        assert "planted" not in (done := inside(url, *command)).stderr, done
    assert "planted" not in inside(owner, "doctor").stdout


@pytest.mark.parametrize("planted", ["in public"], indirect=True)  # else an engine's own first questions meet them
def test_no_door_of_a_migration_does(planted: Database) -> None:
    engine = sa.create_engine(planted.url(), poolclass=sa.NullPool)
    migrate.downgrade(engine, "base")
    migrate.upgrade(engine)
    assert migrate.current(engine) == migrate.head()
