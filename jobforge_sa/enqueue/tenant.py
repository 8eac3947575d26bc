"""The tenant of a session, set anew in each of its transactions, so that a pool or pgbouncer can never leak it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction, sessionmaker

from jobforge_sa.db import tenant as settings
from jobforge_sa.enqueue import fit
from jobforge_sa.errors import ConfigurationError, TenantConflict
from jobforge_sa.tenant import Named, SignedTenant, Tenant, name_of, named

TENANT = "jobforge.tenant_id"  # the key in Session.info


class TenantSession(Session):
    """A session that sets its tenant without being told to: its `info` names it."""


def bind_tenant(session: Any, tenant: Tenant) -> None:
    """Bind a session, or a factory of sessions, to a tenant: every transaction that it begins is the tenant's.

    Costs one small statement for each transaction. Row level security of the application's own can use it too:
    `jobforge.current_tenant()`, or, where tenancy is plain, `current_setting('jobforge.tenant_id', true)`.

    Args:
        session: A `Session`, `AsyncSession` or scoped session; or, for an application with a single tenant, its
            `sessionmaker` or `async_sessionmaker`, once.
        tenant: The tenant; a signed one is signed anew for each transaction.

    Raises:
        TenantConflict: the session is bound to another tenant.
        ConfigurationError: the session has begun its transaction already, or it is no session. Later, when a
            transaction begins: its connection is in AUTOCOMMIT, where no setting outlives its statement.
    """
    chosen = named(tenant)
    if isinstance(session, sessionmaker):
        session.configure(info={**(session.kw.get("info") or {}), TENANT: chosen})
        event.listen(session, "after_begin", set_tenant)
    elif hasattr(session, "configure") and hasattr(session, "kw"):  # async_sessionmaker: greenlet may be missing
        _bind_async_factory(session, chosen)
    else:
        _bind_session(_sync(session), chosen)


def _bind_async_factory(factory: Any, tenant: Named) -> None:
    factory.configure(info={**(factory.kw.get("info") or {}), TENANT: tenant})
    base = factory.kw.get("sync_session_class") or factory.class_.sync_session_class
    if isinstance(base, sessionmaker):  # advanced-alchemy's way: a factory stands for the class
        event.listen(base, "after_begin", set_tenant)
    elif not issubclass(base, TenantSession):
        factory.configure(sync_session_class=type(base.__name__, (TenantSession, base), {}))


def _bind_session(session: Session, tenant: Named) -> None:
    bound = bound_tenant(session)
    if bound is not None and name_of(bound) != name_of(tenant):
        raise TenantConflict(f"this session is bound to the tenant {name_of(bound)!r}")
    if bound is not None:
        if isinstance(tenant, SignedTenant):  # from the next transaction on: a plain name may have come first
            session.info[TENANT] = tenant
        return
    if _has_begun(session):
        raise ConfigurationError(
            "this session's transaction has begun without the tenant",
            cure="bind the session before its first statement",
        )
    session.info[TENANT] = tenant
    if not isinstance(session, TenantSession):
        event.listen(session, "after_begin", set_tenant)


def bound_tenant(session: Session) -> Named | None:
    """The tenant that a session is bound to."""
    return session.info.get(TENANT)


def set_tenant(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    """Set the tenant of a transaction that has just begun (listener of `after_begin`)."""
    tenant = bound_tenant(session)
    if tenant is None or transaction.nested:  # a savepoint inherits it, and its rollback restores it
        return
    if autocommits(connection):
        raise ConfigurationError(
            "this session is bound to a tenant, and its connection is in AUTOCOMMIT: a tenant lives as long as a "
            "transaction, and here that ends with each statement",
            cure="bind a session whose engine is not in AUTOCOMMIT; or, for jobs alone, Jobs(connection, tenant=...)",
        )
    if isinstance(tenant, SignedTenant):
        fit.look_at_pool(connection.engine)
    connection.execute(settings.set_tenant(tenant), settings.binds(tenant))


def autocommits(connection: Connection) -> bool:
    """Whether each statement is a transaction of its own here, so that no setting and no lock outlives it."""
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))


event.listen(TenantSession, "after_begin", set_tenant)


def _sync(session: Any) -> Session:
    registry = None if isinstance(session, Session) else getattr(session, "registry", None)
    inner = session if registry is None else registry()  # a scoped session, sync or async
    inner = getattr(inner, "sync_session", inner)
    if isinstance(inner, Session):
        return inner
    raise ConfigurationError(
        f"a {type(session).__name__} cannot be bound to a tenant",
        cure="pass a Session, an AsyncSession or a sessionmaker",
    )


def _has_begun(session: Session) -> bool:
    transaction = session.get_transaction()
    # begin() alone opens no connection; the private attribute is the only place that tells, since SQLAlchemy 0.4
    return transaction is not None and bool(getattr(transaction, "_connections", True))
