"""Run our revisions by Alembic's own command, on a database of one's choice.

The command needs no alembic.ini: pyproject.toml says where this folder is, and the database is named by one
of the ways that `_target` lists. A run is one transaction, all or nothing; offline (`--sql`) it is the same
text.
"""

from __future__ import annotations

import logging

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import OperationalError

from jobforge_sa.db import ddl, migrate  # noqa: F401  ddl registers the operations that the revisions use

_NO_URL = (
    "no database given: use `alembic -x url=postgresql://...`, set sqlalchemy.url in an alembic.ini, "
    "or set JOBFORGE_DATABASE_URL or DATABASE_URL"
)


def _target() -> Engine | Connection:
    """Choose the database; what is nearer to the command wins."""
    url = context.get_x_argument(as_dictionary=True).get("url")
    given: Engine | Connection | None = context.config.attributes.get("connection")
    if url is None and given is not None:
        return given
    config = context.config
    written = config.file_config.get(config.config_ini_section, "sqlalchemy.url", fallback=None)
    try:
        chosen = migrate.database_url(url, written)
    except LookupError as error:
        raise CommandError(_NO_URL) from error
    return create_engine(chosen, poolclass=NullPool)


def _moves() -> bool:
    """Tell upgrade, downgrade and stamp, which have a destination, from current and check, which look."""
    try:
        context.get_revision_argument()
    except KeyError:
        return False
    return True


def _online() -> None:
    try:
        _run()
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) is not None:  # the server speaks: that is its own story
            raise
        raise CommandError(f"no connection to the database: {error.orig}") from error


def _run() -> None:
    with migrate.connected(_target()) as connection:
        if _moves():
            context.configure(
                connection=connection,
                version_table_schema=migrate.SCHEMA,
                on_version_apply=migrate.say_what_stays,
            )
            with migrate.entered(context.get_context()):
                context.run_migrations()
        else:
            with migrate.reading(connection):
                _look(connection)


def _look(connection: Connection) -> None:
    """Report, and change nothing. There is no metadata to compare with: the SQL files are the schema."""
    context.configure(
        connection=connection,
        version_table_schema=migrate.SCHEMA,
        dont_mutate=True,
    )
    context.run_migrations()


def _offline() -> None:
    context.configure(
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},  # with another one each % would be written twice
        literal_binds=True,
        version_table_schema=migrate.SCHEMA,
    )
    with context.begin_transaction(), migrate.entered(context.get_context()):
        context.run_migrations()


def _log_steps() -> None:
    """Show each step on stderr when a person runs the command; an application has its own logging."""
    if context.config.cmd_opts is not None:
        logging.basicConfig(format="%(message)s")
        logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)
        logging.getLogger("jobforge_sa.migrations").setLevel(logging.INFO)


_log_steps()
if context.is_offline_mode():
    _offline()
else:
    _online()
