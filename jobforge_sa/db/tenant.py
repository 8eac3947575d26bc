"""The tenant of a transaction: the settings that name it, and the one statement that sets them."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import TextClause, text

from jobforge_sa.tenant import Named, SignedTenant

# transaction-local, always: a setting of the session would reach the next user of a pooled connection
PLAIN: Final = "pg_catalog.set_config('jobforge.tenant_id', :tenant_id, true)"
# both, so that an application can be switched before its database, and policies of its own may read the name
SIGNED: Final = f"{PLAIN} || pg_catalog.set_config('jobforge.tenant_token', :tenant_token, true)"

_SET_PLAIN = text(f"select {PLAIN}")
_SET_SIGNED = text(f"select {SIGNED}")


def set_tenant(tenant: Named) -> TextClause:
    """The statement that makes the tenant that of the transaction; its binds are `binds(tenant)`."""
    return _SET_SIGNED if isinstance(tenant, SignedTenant) else _SET_PLAIN


def binds(tenant: Named) -> dict[str, Any]:
    """The values of the settings. A token is made now."""
    if isinstance(tenant, SignedTenant):
        return {"tenant_id": tenant.id, "tenant_token": tenant.sign()}
    return {"tenant_id": tenant}
