"""The tenant of a transaction: the one statement that sets it, and what may be a tenant."""

from __future__ import annotations

import uuid
from enum import Enum

from sqlalchemy import text

from jobforge_sa.errors import ConfigurationError
from jobforge_sa.types import Tenant

# transaction-local, always: a setting of the session would reach the next user of a pooled connection
SET_TENANT = text("select set_config('jobforge.tenant_id', :tenant_id, true)")


def is_text(text: str) -> bool:
    """Whether a str can be sent: half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def tenant_id(tenant: Tenant) -> str:
    """The tenant as the database knows it: text of 1 to 200 characters.

    Raises:
        ConfigurationError: it is none.
    """
    if isinstance(tenant, Enum):
        tenant = tenant.value  # str() of a text enum's member is its name
    if isinstance(tenant, bool) or not isinstance(tenant, str | int | uuid.UUID):
        raise ConfigurationError(
            f"a tenant is a str, an int or a UUID, not {type(tenant).__name__}", cure="pass its key"
        )
    name = str(tenant)
    if not 1 <= len(name) <= 200 or "\x00" in name or not is_text(name):
        raise ConfigurationError(
            f"a tenant has 1 to 200 characters and no NUL, this one has {len(name)}", cure="pass its key"
        )
    return name
