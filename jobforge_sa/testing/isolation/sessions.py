"""Sessions that act as a tenant, or as nobody, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from jobforge_sa.db.calls import SCHEMA_VERSION
from jobforge_sa.enqueue.tenant import bind_tenant
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.tenant import Tenant, name_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

# A test whose own open transaction holds the rows that we try to touch must fail, and not hang.
_PATIENCE = text("select set_config('lock_timeout', '5s', true)")

# What injected SQL can say of a tenant without a key: the plain setting, and the claims of a JWT, wherever in them
# an application's policy may look.
_INJECTION = text(
    "select set_config('jobforge.tenant_id', :tenant, true), set_config('request.jwt.claims', json_build_object("
    "'tenant_id', cast(:tenant as text), 'sub', cast(:tenant as text), 'app_metadata', json_build_object('tenant_id', "
    "cast(:tenant as text)), 'user_metadata', json_build_object('tenant_id', cast(:tenant as text)))::text, true)"
)


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

    def signed(self) -> bool:
        """Whether the database takes a tenant with a token only; a login that may not ask meets no such policies."""
        try:
            with self.engine.connect() as connection:
                return bool(connection.execute(SCHEMA_VERSION).one().tenancy == "signed")
        except DBAPIError:
            return False

    @contextmanager
    def injected(self, tenant: Tenant, other: Tenant) -> Iterator[Session]:
        """A session of the tenant in which injected SQL has named the other one, as far as SQL can."""
        with self.of(tenant) as session:
            inject(session, other)
            yield session

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


def inject(session: Session, other: Tenant) -> None:
    """Name another tenant as injected SQL would, behind the tenant that the session has."""
    session.execute(_INJECTION, {"tenant": name_of(other)})


def _refuse_autocommit(connection: Connection) -> None:
    if getattr(connection.connection.dbapi_connection, "autocommit", False):
        raise ConfigurationError(
            "this engine is in AUTOCOMMIT: a tenant is set for one transaction, and there is none",
            cure="give another: engine.execution_options(isolation_level='READ COMMITTED')",
        )
