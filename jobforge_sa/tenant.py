"""A tenant as the application names it: plainly, or signed, so that SQL injection cannot name another one."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Self, TypeAlias

from jobforge_sa.errors import ConfigurationError

KEY_VARIABLE = "JOBFORGE_TENANT_KEY"
MIN_BYTES = 32
LIFETIME = 15 * 60  # seconds; a token only has to be good when its transaction begins

_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True, slots=True)
class SignedTenant:
    """A tenant that proves itself to the database with a token. Made by `TenantKey.tenant`.

    Attributes:
        id: The tenant, as the database knows it.
        sign: Makes a token; called for each transaction.
    """

    id: str
    sign: Callable[[], str]


Tenant: TypeAlias = str | int | uuid.UUID | SignedTenant
Named: TypeAlias = str | SignedTenant  # a tenant whose name was checked


class TenantKey:
    """A key that signs tenants: the application has it in its configuration, the database knows it by its id.

    Where tenancy is signed (`jobforge tenancy`), the database takes no tenant without a token of such a key, so that
    whoever injects SQL into the application's connection is left with the tenant of that transaction. Where it is
    plain, tokens do no harm: switch the applications first, the database then.

    Args:
        key_id: 1 to 40 of A-Z a-z 0-9 _ -.
        secret: At least 32 random bytes.

    Raises:
        ConfigurationError: one of them cannot work.

    Example:
        >>> key = TenantKey.from_environment()
        >>> bind_tenant(session, key.tenant(user.tenant_id))
    """

    def __init__(self, key_id: str, secret: bytes) -> None:
        if not _KEY_ID.fullmatch(key_id):
            raise ConfigurationError(f"{key_id[:50]!r} is no id of a key", cure="use 1 to 40 of A-Z a-z 0-9 _ -")
        if len(secret) < MIN_BYTES:
            raise ConfigurationError(
                f"the tenant key {key_id} has {len(secret)} bytes, {MIN_BYTES} are needed",
                cure="jobforge tenancy add-key makes one that the database knows",
            )
        self.id = key_id
        self.secret = secret

    @classmethod
    def generate(cls, key_id: str) -> Self:
        """A new random key."""
        return cls(key_id, secrets.token_bytes(MIN_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """A key from `text()`.

        Raises:
            ConfigurationError: it is none. The message does not hold it.
        """
        key_id, colon, secret = text.strip().partition(":")
        cure = "copy it as `jobforge tenancy add-key` printed it: ID:SECRET"
        if not (colon and _KEY_ID.fullmatch(key_id)):  # what stands there may be the secret: it is not shown
            raise ConfigurationError("the tenant key does not begin with its id and a colon", cure=cure)
        try:
            raw = base64.b64decode(secret + "=" * (-len(secret) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigurationError("the tenant key cannot be read", cure=cure) from error
        return cls(key_id, raw)

    @classmethod
    def from_environment(cls, variable: str = KEY_VARIABLE) -> Self:
        """The key in an environment variable.

        Raises:
            ConfigurationError: it is not set, or holds no key.
        """
        text = os.environ.get(variable)
        if not text:
            raise ConfigurationError(f"{variable} is not set", cure="jobforge tenancy add-key prints what it takes")
        return cls.parse(text)

    def text(self) -> str:
        """The key as one word for a configuration: its id, a colon, the secret. Keep it secret."""
        return f"{self.id}:{base64.urlsafe_b64encode(self.secret).rstrip(b'=').decode()}"

    def __repr__(self) -> str:
        return f"<TenantKey {self.id}>"

    def tenant(self, tenant: str | int | uuid.UUID) -> SignedTenant:
        """A tenant that signs itself, for `bind_tenant`, `Jobs(tenant=...)` and `JobForge(tenant=...)`."""
        name = name_of(tenant)
        return SignedTenant(name, lambda: self.token(name))

    def token(self, tenant: str, lifetime: float = LIFETIME) -> str:
        """A token for `set_config('jobforge.tenant_token', ..., true)`, good for transactions of the next 15 minutes.

        This is the one time that a client's clock decides: one that is behind by more than `lifetime` seconds makes
        tokens that have expired already.
        """
        head = f"{self.id}.{int(time.time() + lifetime)}"
        mac = hmac.new(self.secret, f"{head}.{tenant}".encode(), hashlib.sha256).hexdigest()
        return f"{head}.{mac}.{tenant}"


def is_key(value: object) -> bool:
    """Whether a unique or an ordering key can be this."""
    return isinstance(value, str) and 1 <= len(value) <= 200 and "\x00" not in value and is_text(value)


def is_text(text: str) -> bool:
    """Whether a str can be sent: half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def name_of(tenant: Tenant) -> str:
    """The tenant as the database knows it: text of 1 to 200 characters.

    Raises:
        ConfigurationError: it is none.
    """
    if isinstance(tenant, SignedTenant):
        return tenant.id
    if type(tenant) is str:
        return _fit(tenant)
    if isinstance(tenant, Enum):
        tenant = tenant.value  # str() of a text enum's member is its name
    if isinstance(tenant, bool) or not isinstance(tenant, str | int | uuid.UUID):
        raise ConfigurationError(
            f"a tenant is a str, an int or a UUID, not {type(tenant).__name__}", cure="pass the tenant's id"
        )
    return _fit(str(tenant))


@lru_cache(maxsize=1000)
def _fit(name: str) -> str:
    if "\x00" in name or not is_text(name):
        raise ConfigurationError(f"the tenant {name[:40]!r} holds a character that Postgres cannot", cure="pass its id")
    if not 1 <= len(name) <= 200:
        raise ConfigurationError(f"a tenant has 1 to 200 characters, this one has {len(name)}", cure="pass its id")
    return name


def named(tenant: Tenant) -> Named:
    """The tenant with its name checked.

    Raises:
        ConfigurationError: it is none.
    """
    return tenant if isinstance(tenant, SignedTenant) else name_of(tenant)
