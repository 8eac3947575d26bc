"""Sessions that act as a tenant, or as nobody, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, NullPool, create_engine, text
from sqlalchemy.orm import Session

from jobforge_sa.enqueue.tenant import bind_tenant
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.tenant import Tenant

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

# A test whose own open transaction holds the rows that we try to touch must fail, and not hang.
_PATIENCE = text("select set_config('lock_timeout', '5s', true)")


class Sessions:
    """Opens a session for each look, every one in a transaction of its own."""

    def __init__(self, engine: Engine | AsyncEngine) -> None:
        if isinstance(engine, Engine):
            self.engine = engine
        else:  # the assertions are plain calls: the same database and login, on the driver that works without a loop
            self.engine = create_engine(engine.url.set(drivername="postgresql+psycopg"), poolclass=NullPool)

    @contextmanager
    def of(self, tenant: Tenant | None, *, commit: bool = False) -> Iterator[Session]:
        """A session of the tenant. A commit of the caller's own is undone too, unless `commit` is given."""
        with self.engine.connect() as connection:
            _refuse_autocommit(connection)
            connection.execute(_PATIENCE)
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                if tenant is not None:
                    bind_tenant(session, tenant)
                yield session
                if commit:
                    session.expire_on_commit = False  # what was stored can be read behind the block
                    session.commit()
                    connection.commit()

    @contextmanager
    def untouched(self) -> Iterator[Sessions]:
        """Sessions on connections that never had a tenant.

        Where it was set once, the setting is an empty text for as long as the connection lives, and only before
        that it is NULL: a policy that opens at `is null` looks closed on every used connection.
        """
        engine = Engine(self.engine.pool.recreate(), self.engine.dialect, self.engine.url)
        try:
            yield Sessions(engine)
        finally:
            engine.dispose()


def _refuse_autocommit(connection: Connection) -> None:
    if getattr(connection.connection.dbapi_connection, "autocommit", False):
        raise ConfigurationError(
            "this engine is in AUTOCOMMIT: a tenant is set for one transaction, and there is none",
            cure="give another: engine.execution_options(isolation_level='READ COMMITTED')",
        )
