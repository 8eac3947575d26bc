"""Connectors, for administrators: what built-in handlers may do for a tenant, and with which secrets; and endpoints.

In the caller's own transaction. A secret is sealed here, before it is sent: the database never sees it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session, scoped_session

from jobforge_sa.admin import AdminCalls
from jobforge_sa.db import connector_calls
from jobforge_sa.db.jsontext import decode
from jobforge_sa.egress.policy import Egress
from jobforge_sa.enqueue.jobs import Jobs
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.secrets import SecretKeys
from jobforge_sa.tasks import NAME, Task
from jobforge_sa.tenant import Tenant, name_of

OWN = frozenset({"enabled", "disable_after", "disable_after_seconds"})  # of a configuration; the rest narrows egress
MAX_SECRET = 32_768  # bytes; sealed and in base64 it is a third longer
MAX_OVERLAP = dt.timedelta(days=365)


@dataclass(frozen=True, slots=True)
class ConnectorConfig:
    """What an administrator has said of a tenant's connector; of type None: of every connector."""

    tenant_id: str
    type: str | None
    config: Mapping[str, Any]
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """A secret of a tenant's, without its value: that leaves the database for a run of the tenant's only.

    Attributes:
        tenant_id: Whose it is.
        name: What payloads call it.
        kind: "sealed" or "reference".
        hosts: Where it may go in a header; empty: nowhere.
        previous_until: So long the one that it replaced is valid, too; None: it is not.
        updated_at: When it was set.
    """

    tenant_id: str
    name: str
    kind: str
    hosts: Sequence[str]
    previous_until: dt.datetime | None
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint of webhooks that fails, or is disabled. One of which there is nothing to say is not known."""

    tenant_id: str
    url: str
    failures: int  # in a row
    first_failed_at: dt.datetime | None  # of that row
    disabled_at: dt.datetime | None
    reason: str | None


class ConnectorSettings(AdminCalls):
    """What the built-in handlers may do for tenants, through an administrator's session or connection. Never commits.

    A configuration narrows what the operator's program allows (`Egress`), and can widen nothing. Its keys: `schemes`,
    `ports`, `methods`, `allow_hosts`, `deny_hosts`, `deny_networks`, `timeout` (seconds), `max_bytes`,
    `max_request_bytes`; `enabled` (false: nothing goes out); for webhooks `disable_after` (failures in a row) and
    `disable_after_seconds` (as long as they must last).

    Every method may raise what those of `Tenants` do.

    Example:
        >>> with Session(engine) as session, session.begin():
        ...     ConnectorSettings(session).set("acme", {"allow_hosts": ["api.example.com"], "timeout": 10})
    """

    def set(
        self, tenant: Tenant, config: Mapping[str, Any], *, type: str | Task[Any, Any] | None = None  # noqa: A002 - the contract's word
    ) -> ConnectorConfig:  # fmt: skip
        """Say what a connector may do for a tenant, in place of what was said before; of type None: every connector.

        A connector of which something is said itself has that, key by key, over what is said of all.
        """
        checked(config)
        text = json.dumps(dict(config), allow_nan=False)
        (row,) = self._rows(connector_calls.SET_CONNECTOR, tenant_id=name_of(tenant), config=text, type=_name(type))
        return _config(row)

    def drop(self, tenant: Tenant, *, type: str | Task[Any, Any] | None = None) -> bool:  # noqa: A002 - the contract's word
        """Forget what was said of a connector. Gives whether something was."""
        return bool(self._rows(connector_calls.DROP_CONNECTOR, tenant_id=name_of(tenant), type=_name(type)))

    def list(self, tenant: Tenant | None = None) -> Sequence[ConnectorConfig]:
        """What was said, of a tenant or of all."""
        name = None if tenant is None else name_of(tenant)
        return [_config(row) for row in self._rows(connector_calls.LIST_CONNECTORS, tenant_id=name)]


class TenantSecrets(AdminCalls):
    """The secrets of tenants, through a session or connection of an administrator's. Never commits.

    Args:
        session: The administrator's.
        keys: They seal. Default: JOBFORGE_SECRET_KEYS.

    Every method may raise what those of `Tenants` do.

    Example:
        >>> with Session(engine) as session, session.begin():
        ...     TenantSecrets(session).set("acme", "billing", token, hosts=["api.example.com"])
    """

    def __init__(self, session: Session | scoped_session[Any] | Connection, keys: SecretKeys | None = None) -> None:
        super().__init__(session)
        self._keys = keys

    def set(
        self, tenant: Tenant, name: str, value: str, *,
        hosts: Sequence[str] | None = None, overlap: dt.timedelta | None = None,
    ) -> SecretInfo:  # fmt: skip
        """Seal a secret and keep it.

        Args:
            tenant: Whose it is.
            name: What payloads call it: 1 to 100 of A-Z a-z 0-9 _ . : -.
            value: The secret, 1 to 32,768 bytes.
            hosts: Where it may go in a header: `api.example.com`, `*.example.com`. None: as before; at first nowhere.
            overlap: So long the one that it replaces stays valid, 0 to 365 days. None: it is gone at once.

        Raises:
            ConfigurationError: one of them cannot work, or there are no keys. The message does not hold the value.
        """
        given: object = value
        if not isinstance(given, str) or not 1 <= len(given.encode("utf-8", "replace")) <= MAX_SECRET:
            raise ConfigurationError(
                f"a secret is a text of 1 to {MAX_SECRET:,} bytes", cure="keep larger ones where a reference leads"
            )
        _check_name(name)
        keys = self._keys or SecretKeys.from_environment()
        sealed = keys.seal(value, tenant=name_of(tenant), name=name)
        return self._keep(tenant, name, "sealed", sealed, hosts, overlap)

    def refer(
        self, tenant: Tenant, name: str, reference: str, *,
        hosts: Sequence[str] | None = None, overlap: dt.timedelta | None = None,
    ) -> SecretInfo:  # fmt: skip
        """Keep a reference in place of a secret: the `resolver` that the workers are given resolves it for each run.

        Args and Raises: as `set`.
        """
        _check_name(name)
        return self._keep(tenant, name, "reference", reference, hosts, overlap)

    def drop(self, tenant: Tenant, name: str) -> bool:
        """Forget a secret, and the one that it replaced. Gives whether there was one."""
        return bool(self._rows(connector_calls.DROP_SECRET, tenant_id=name_of(tenant), name=name))

    def list(self, tenant: Tenant | None = None) -> Sequence[SecretInfo]:
        """The secrets of a tenant, or of all, without their values."""
        wanted = None if tenant is None else name_of(tenant)
        return [SecretInfo(*row) for row in self._rows(connector_calls.LIST_SECRETS, tenant_id=wanted)]

    def _keep(
        self, tenant: Tenant, name: str, kind: str, value: str,
        hosts: Sequence[str] | None, overlap: dt.timedelta | None,
    ) -> SecretInfo:  # fmt: skip
        if overlap is not None and not dt.timedelta(0) <= overlap <= MAX_OVERLAP:
            raise ConfigurationError(f"an overlap is 0 to 365 days, not {overlap}", cure="leave it out for none")
        wanted = None if hosts is None else list(Egress(allow_hosts=tuple(hosts)).allow_hosts or ())
        (row,) = self._rows(
            connector_calls.SET_SECRET, tenant_id=name_of(tenant), name=name, kind=kind, value=value, hosts=wanted,
            overlap=overlap,
        )  # fmt: skip
        return SecretInfo(*row)


class Webhooks:
    """The endpoints of one tenant's webhooks, through a session or connection of the application's. Never commits.

    Args:
        session: A `Session`, a `scoped_session`, or a bare `Connection`.
        tenant: The tenant. Default: as in `Jobs`. Administrators: `Tenants(session).act_for("acme")` first.

    Every method may raise what those of `Jobs` do. What was sent is `select(Delivery)` of `jobforge_sa.models`.

    Example:
        >>> with Session(engine) as session, session.begin():
        ...     Webhooks(session, tenant="acme").enable("https://hooks.example.com/orders")
    """

    def __init__(self, session: Session | scoped_session[Any] | Connection, *, tenant: Tenant | None = None) -> None:
        self._jobs = Jobs(session, tenant=tenant)

    def list(self) -> Sequence[Endpoint]:
        """Those that fail or are disabled, the disabled ones first; 10,000 at most."""
        return self._endpoints(connector_calls.LIST_WEBHOOKS, limit=10_000)

    def get(self, url: str) -> Endpoint | None:
        """One of them; None: nothing is said of it, and webhooks go there."""
        return next(iter(self._endpoints(connector_calls.LIST_WEBHOOKS, url=url)), None)

    def enable(self, url: str) -> Endpoint | None:
        """Let webhooks go there again, its failures forgotten. Gives what was said of it, if anything was."""
        return next(iter(self._endpoints(connector_calls.ENABLE_WEBHOOK, url=url)), None)

    def disable(self, url: str, reason: str | None = None) -> Endpoint:
        """Send nothing more there, from the next run on: its jobs are canceled, and can be retried later."""
        return self._endpoints(connector_calls.DISABLE_WEBHOOK, url=url, reason=reason)[0]

    def _endpoints(self, call: Any, **values: object) -> Sequence[Endpoint]:
        return [Endpoint(*row) for row in self._jobs._rows(call, **values)]


def checked(config: Mapping[str, Any]) -> None:
    """Refuse a configuration that could not work, before the database does: it knows less of hosts and networks.

    Raises:
        ConfigurationError: a key is unknown, or a value cannot work.
    """
    given: object = config
    if not isinstance(given, Mapping):
        raise ConfigurationError("a configuration is a mapping", cure='pass {"allow_hosts": ["api.example.com"]}')
    if "allow_networks" in config:
        raise ConfigurationError(
            "networks that are not public are allowed by the operator's program only",
            cure="Connectors(egress=Egress(allow_networks=...)), for all tenants",
        )
    Egress().narrowed({name: value for name, value in config.items() if name not in OWN})


def _check_name(name: str) -> None:
    given: object = name
    if not isinstance(given, str) or not NAME.fullmatch(given):
        raise ConfigurationError(
            f"{str(name)[:50]!r} is no name for a secret",
            cure="use 1 to 100 of A-Z a-z 0-9 _ . : - and do not begin with . : -",
        )


def _name(type_: str | Task[Any, Any] | None) -> str:
    return type_.name if isinstance(type_, Task) else type_ or ""


def _config(row: Any) -> ConnectorConfig:
    return ConnectorConfig(row.tenant_id, row.type or None, decode(row.config), row.updated_at)
