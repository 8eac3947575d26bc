"""Alembic operations that run our versioned SQL files, byte for byte, online and offline.

`op.execute` takes `:name` for a bind parameter and, offline, doubles every `%`: both are wrong inside a
function's body. These operations hand the text to the driver, or to the output, as it stands in the file.
"""

from __future__ import annotations

from typing import Any, Literal

from alembic.operations import MigrateOperation, Operations
from alembic.runtime.migration import MigrationContext

from jobforge_sa.db.migrate import SCHEMA, script_location

__all__ = ["Drop", "RunSQL", "read_sql", "run_script"]


def read_sql(path: str) -> str:
    """Read `alembic/sql/<path>.sql`; as bytes, so that no line ending changes on the way."""
    return (script_location() / "sql" / f"{path}.sql").read_bytes().decode("utf-8")


def run_script(context: MigrationContext, script: str) -> None:
    """Run one or more statements, without parameters and without a parser in between."""
    connection = context.connection
    if context.as_sql or connection is None:
        context.impl.static_output(script)
    elif connection.dialect.driver == "asyncpg":
        # SQLAlchemy has asyncpg prepare each text, and a prepared statement is only one. Another statement
        # goes first, because SQLAlchemy begins asyncpg's transaction with the first that it sees.
        connection.exec_driver_sql("select")
        driver: Any = connection.connection.dbapi_connection
        driver.run_async(lambda asyncpg: asyncpg.execute(script))
    else:
        connection.exec_driver_sql(script, execution_options={"no_parameters": True})


@Operations.register_operation("run_sql")
@Operations.register_operation("create_function")
class RunSQL(MigrateOperation):
    """Run one version of a SQL file."""

    def __init__(self, path: str, version: int) -> None:
        self.path = path
        self.version = version

    @classmethod
    def run_sql(cls, operations: Operations, path: str, version: int) -> None:
        """Run `alembic/sql/<path>/v<version>.sql`."""
        operations.invoke(cls(path, version))

    @classmethod
    def create_function(cls, operations: Operations, name: str, version: int) -> None:
        """Create or replace a function: run `alembic/sql/functions/<name>/v<version>.sql`."""
        operations.invoke(cls(f"functions/{name}", version))


@Operations.register_operation("drop_function")
@Operations.register_operation("drop_relation")
class Drop(MigrateOperation):
    """Drop one object of ours; without CASCADE, so that a wrong order is an error and not a loss."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name

    @classmethod
    def drop_function(cls, operations: Operations, name: str) -> None:
        """Drop a function by its name alone: ours are not overloaded."""
        operations.invoke(cls("function", name))

    @classmethod
    def drop_relation(
        cls, operations: Operations, kind: Literal["table", "view", "sequence", "type"], name: str
    ) -> None:
        """Drop a table, a view, a sequence or a type."""
        operations.invoke(cls(kind, name))


@Operations.implementation_for(RunSQL)
def _run_sql(operations: Operations, operation: RunSQL) -> None:
    run_script(operations.get_context(), read_sql(f"{operation.path}/v{operation.version}"))


@Operations.implementation_for(Drop)
def _drop(operations: Operations, operation: Drop) -> None:
    context = operations.get_context()
    quote = context.dialect.identifier_preparer.quote
    run_script(context, f"drop {operation.kind} {SCHEMA}.{quote(operation.name)};")
