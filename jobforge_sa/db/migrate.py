"""Move a database between our revisions: the one implementation behind every door.

Each of our revisions may be reached by `alembic upgrade head` in the repository, by `upgrade(engine)` from
here, and by one line in a revision of the application's own history (`jobforge_sa.migrations`). All of them
enter alike, so all of them end in the same catalog. Alembic, 0.4 s to import, is imported late.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import URL, Connection, Engine, make_url

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext, MigrationInfo, RevisionStep
    from alembic.script import ScriptDirectory

__all__ = ["current", "database_url", "downgrade", "head", "render", "script_location", "upgrade"]

SCHEMA = "jobforge"
URL_VARIABLES = ("JOBFORGE_DATABASE_URL", "DATABASE_URL")

Direction = Literal["upgrade", "downgrade"]

_log = logging.getLogger("jobforge_sa.migrations")

# All names are qualified until the search_path is ours: a migrator has great rights, and what somebody has put into
# `public` may fit better than what is meant. The caller's role and search_path are kept in the transaction itself: so
# it works offline too, and a rollback to a savepoint undoes it together with the rest.
_ENTER = """\
do $$
begin
    perform pg_catalog.set_config('jobforge.caller_role', pg_catalog.current_setting('role'), true),
            pg_catalog.set_config('jobforge.caller_path', pg_catalog.current_setting('search_path'), true),
            pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
end
$$;"""
_BECOME_OWNER = "set local role jobforge_owner;"
# An empty version table means base: it goes as well, or the next `--sql` from base could not create it.
_SWEEP = """\
do $$
begin
    if pg_catalog.to_regclass('jobforge.alembic_version') is not null then
        if not exists (select from jobforge.alembic_version) then
            drop table jobforge.alembic_version;
            raise notice 'jobforge: at base; schema and roles stay, for roles belong to the whole cluster';
        end if;
    end if;
end
$$;"""
_LEAVE = """\
do $$
begin
    perform pg_catalog.set_config('role', pg_catalog.current_setting('jobforge.caller_role'), true),
            pg_catalog.set_config('search_path', pg_catalog.current_setting('jobforge.caller_path'), true);
end
$$;"""
_READ_AS_OWNER = """\
select pg_catalog.set_config('role', 'jobforge_owner', true) from pg_catalog.pg_roles
 where rolname operator(pg_catalog.=) 'jobforge_owner' and pg_catalog.pg_has_role(current_user, oid,
       case when pg_catalog.current_setting('server_version_num')::pg_catalog.int4 operator(pg_catalog.>=) 160000
            then 'SET' else 'MEMBER' end)"""


def script_location() -> Path:
    """Find our Alembic folder: inside the installed package, else beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "alembic", package.parent / "alembic"):
        if (folder / "env.py").is_file():
            return folder
    raise FileNotFoundError(f"jobforge_sa is installed without its alembic folder (looked beside {package})")


def database_url(*given: str | None) -> URL:
    """Take the first URL that is set, here or in the environment, and make it one for psycopg.

    A migration is synchronous: an async application's URL is used with psycopg, which is always installed.
    """
    found = next(filter(None, (*given, *map(os.environ.get, URL_VARIABLES))), None)
    if found is None:
        raise LookupError(f"no database given: set {' or '.join(URL_VARIABLES)}")
    url = make_url(found)
    if url.drivername in {"postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg_async"}:
        return url.set(drivername="postgresql+psycopg")
    return url


def upgrade(target: Engine | Connection, revision: str = "head") -> None:
    """Move the database up to a revision; nothing happens where it is there, or above it, already.

    An engine gets a transaction of its own. A connection's running transaction is used and left open. With an
    async engine: `async with engine.begin() as conn: await conn.run_sync(migrate.upgrade)`.
    """
    _from_python(target, "upgrade", revision)


def downgrade(target: Engine | Connection, revision: str) -> None:
    """Move the database down to a revision, or to `base`: there the roles, which are the cluster's, stay."""
    _from_python(target, "downgrade", revision)


def current(target: Engine | Connection) -> str | None:
    """Read the revision that the database is at, or None."""
    known = (
        "select from pg_catalog.pg_tables where schemaname operator(pg_catalog.=) 'jobforge' "
        "and tablename operator(pg_catalog.=) 'alembic_version'"
    )
    with connected(target) as connection:
        if connection.exec_driver_sql(known).first() is None:
            return None
        with reading(connection):
            row = connection.exec_driver_sql("select version_num from jobforge.alembic_version").first()
            return None if row is None else str(row[0])


def head() -> str:
    """Name the newest revision that this release brings."""
    revision = _directory().get_current_head()
    if revision is None:
        raise LookupError(f"no revisions in {script_location()}")
    return revision


def render(revision: str = "head", *, frm: str = "base") -> str:
    """Write the upgrade as SQL text for psql, as `alembic upgrade --sql` does."""
    from alembic.runtime.migration import MigrationContext

    text = io.StringIO()
    offline = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": text})
    with offline.begin_transaction():
        run(offline, "upgrade", revision, frm)
    return text.getvalue()


def run(host: MigrationContext, direction: Direction, revision: str, frm: str | None = None) -> None:
    """Move along our history on the connection, or into the output, of somebody's migration context.

    Our revisions get an `op` of their own, never `alembic.op`: that is a global of the process, which a
    nested command would take away from the host's revision, and one thread from another.
    """
    from alembic.operations import Operations

    from jobforge_sa.db import ddl  # noqa: F401  registers the operations that the revisions use

    directory = _directory()
    context = _beside(host, directory, direction, revision, frm)
    for script in directory.walk_revisions():
        # each ScriptDirectory loads its modules anew: nobody else sees this one
        vars(script.module)["op"] = Operations(context)
    with entered(context):
        context.run_migrations()


@contextmanager
def entered(context: MigrationContext) -> Iterator[None]:
    """Be `jobforge_owner`, so that all objects are its, and hold the lock of all migrations; then be who we were."""
    from jobforge_sa.db.ddl import read_sql, run_script

    run_script(context, _ENTER)
    _bootstrap(context)
    run_script(context, _BECOME_OWNER)
    _check_owner(context)
    run_script(context, read_sql("privileges"))
    yield
    run_script(context, _SWEEP)
    run_script(context, _LEAVE)


@contextmanager
def reading(connection: Connection) -> Iterator[None]:
    """Read as `jobforge_owner` where we may; changes nothing and takes no lock."""
    before = connection.exec_driver_sql("select pg_catalog.current_setting('role')").scalar_one()
    connection.exec_driver_sql(_READ_AS_OWNER)
    yield
    connection.exec_driver_sql(f"set local role {connection.dialect.identifier_preparer.quote(before)}")


@contextmanager
def connected(target: Engine | Connection) -> Iterator[Connection]:
    """Give a connection in a transaction; commit it if it was begun here."""
    if isinstance(target, Engine):
        # above READ COMMITTED whoever waited for the lock would still see the catalog from before
        with target.execution_options(isolation_level="READ COMMITTED").begin() as connection:
            yield connection
    elif target.in_transaction():
        yield target
    else:
        with target.begin():
            yield target


def say_what_stays(
    ctx: MigrationContext,
    step: MigrationInfo,  # noqa: ARG001
    heads: Collection[Any],
    run_args: Mapping[str, Any],  # noqa: ARG001
) -> None:
    """Log, at base, what a downgrade leaves behind (Alembic's `on_version_apply`)."""
    if not heads and not ctx.as_sql:
        _log.info("At base. The schema and the roles jobforge_* stay: roles belong to the whole cluster.")


def _from_python(target: Engine | Connection, direction: Direction, revision: str) -> None:
    from alembic.runtime.migration import MigrationContext

    with connected(target) as connection:
        run(MigrationContext.configure(connection), direction, revision)


def _directory() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(script_location()))


def _beside(
    host: MigrationContext, directory: ScriptDirectory, direction: Direction, revision: str, frm: str | None
) -> MigrationContext:
    """Configure our context on the host's connection: same transaction, version table of our own."""
    from alembic.runtime.migration import MigrationContext
    from alembic.util import CommandError

    if host.dialect.name != "postgresql":
        raise CommandError(f"jobforge_sa needs Postgres, and this is {host.dialect.name}")
    opts: dict[str, Any] = {
        "fn": _plan(directory, direction, revision),
        "script": directory,
        "version_table_schema": SCHEMA,
        "on_version_apply": (say_what_stays,),
    }
    if not host.as_sql:
        return MigrationContext.configure(host.connection, opts=opts)
    opts |= {"as_sql": True, "literal_binds": True, "output_buffer": host.output_buffer}
    opts["starting_rev"] = _start(directory, direction, revision, frm)
    # not the host's dialect: with its paramstyle each % of our text would be written twice
    return MigrationContext.configure(dialect_name="postgresql", dialect_opts={"paramstyle": "named"}, opts=opts)


def _start(directory: ScriptDirectory, direction: Direction, revision: str, frm: str | None) -> str:
    """Know offline where the database is: only the first upgrade needs not be told."""
    from alembic.util import CommandError

    if frm is not None:
        return frm
    if direction == "upgrade" and directory.get_revision(revision).down_revision is None:
        return "base"
    raise CommandError(
        f"offline (--sql) the database cannot be asked where it is: say {direction}({revision!r}, frm=...)"
    )


def _plan(
    directory: ScriptDirectory, direction: Direction, revision: str
) -> Callable[[Sequence[str], MigrationContext], list[RevisionStep]]:
    """Choose the steps; our history is a line, so a position is a number."""
    from alembic.runtime.migration import MigrationStep

    history = list(directory.walk_revisions())[::-1]
    scripts = directory.revision_map

    def position(name: str | None) -> int:
        script = directory.get_revision(name) if name else None
        return 0 if script is None else history.index(script) + 1

    def steps(heads: Sequence[str], _: MigrationContext) -> list[RevisionStep]:
        at, to = position(heads[0] if heads else None), position(revision)
        if direction == "upgrade":
            return [MigrationStep.upgrade_from_script(scripts, step) for step in history[at:to]]
        return [MigrationStep.downgrade_from_script(scripts, step) for step in reversed(history[to:at])]

    return steps


def _bootstrap(context: MigrationContext) -> None:
    """Make roles and schema; a refusal is the DBA's to read, so it comes without stack, SQL and context."""
    from alembic.util import CommandError

    from jobforge_sa.db.ddl import read_sql, run_script

    try:
        run_script(context, read_sql("bootstrap"))
    except Exception as error:
        cause = getattr(error, "orig", error)  # asyncpg's own errors come bare
        if not (getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)):
            raise
        raise CommandError(str(cause).partition("\nCONTEXT:")[0].strip()) from error


def _check_owner(context: MigrationContext) -> None:
    """Refuse a connection in autocommit: there SET LOCAL is forgotten at once, and so is all or nothing."""
    from alembic.util import CommandError

    if context.as_sql or context.connection is None:
        return
    user = context.connection.exec_driver_sql("select current_user").scalar_one()
    if user != "jobforge_owner":
        raise CommandError(
            f"jobforge migrates as jobforge_owner, inside a transaction, and this connection stayed {user}: "
            "is it in AUTOCOMMIT?"
        )
