"""The tenant of a session, set anew in each of its transactions, so that a pool or pgbouncer can never leak it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from jobforge_sa.db.tenant import SET_TENANT, tenant_id
from jobforge_sa.errors import ConfigurationError, TenantConflict
from jobforge_sa.types import Tenant

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session

TENANT = "jobforge.tenant_id"  # the key in Session.info; it may also be given there: Session(info={TENANT: ...})


def bind_tenant(
    session: Session | scoped_session[Any] | AsyncSession | async_scoped_session[Any], tenant: Tenant
) -> None:
    """Bind a session to a tenant, for its lifetime: every transaction that it begins is the tenant's.

    Costs one small statement for each transaction. Row level security of the application's own can use it too:
    `current_setting('jobforge.tenant_id', true)`, or `jobforge.current_tenant()`.

    Raises:
        TenantConflict: the session is bound to another tenant.
        ConfigurationError: the session has begun its transaction already.
    """
    target = _sync(session)
    name = tenant_id(tenant)
    bound = target.info.get(TENANT)
    if bound is not None and bound != name:
        raise TenantConflict(f"this session is bound to the tenant {bound!r}")
    if bound == name and event.contains(target, "after_begin", set_tenant):
        return
    if _has_begun(target):
        raise ConfigurationError(
            "this session's transaction has begun without the tenant",
            cure="bind the session before its first statement",
        )
    target.info[TENANT] = name
    event.listen(target, "after_begin", set_tenant)


def bound_tenant(session: Session) -> str | None:
    """The tenant that a session is bound to."""
    return session.info.get(TENANT)


def set_tenant(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    """Set the tenant of a transaction that has just begun (listener of `after_begin`)."""
    if not transaction.nested:  # a savepoint inherits it, and its rollback restores it
        connection.execute(SET_TENANT, {"tenant_id": session.info[TENANT]})


def _sync(session: Any) -> Session:
    if isinstance(session, Session):
        return session
    if isinstance(session, scoped_session):
        registered: Session = session()
        return registered
    inner = getattr(session, "sync_session", None)
    if isinstance(inner, Session):
        return inner
    raise ConfigurationError(
        f"a {type(session).__name__} cannot be bound to a tenant", cure="pass a Session or an AsyncSession"
    )


def _has_begun(session: Session) -> bool:
    transaction = session.get_transaction()
    # begin() alone opens no connection; the private attribute is the only place that tells, since SQLAlchemy 0.4
    return transaction is not None and bool(getattr(transaction, "_connections", True))
