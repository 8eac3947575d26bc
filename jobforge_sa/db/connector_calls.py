"""The calls of the connectors' functions, built as those in `calls`: configuration, secrets, webhooks."""

from __future__ import annotations

from sqlalchemy import Boolean, DateTime, Integer, Text, column
from sqlalchemy.dialects.postgresql import ARRAY

from jobforge_sa.db.calls import Call

_CONNECTOR = (
    column("tenant_id", Text()),
    column("type", Text()),
    column("config", Text()),
    column("updated_at", DateTime(timezone=True)),
)
SET_CONNECTOR = Call("set_connector", {"tenant_id": "text", "config": "json", "type": "text"}, _CONNECTOR)
DROP_CONNECTOR = Call("drop_connector", {"tenant_id": "text", "type": "text"}, _CONNECTOR)
LIST_CONNECTORS = Call("list_connectors", {"tenant_id": "text"}, _CONNECTOR)

_SECRET = (
    *(column(name, Text()) for name in ("tenant_id", "name", "kind")),
    column("hosts", ARRAY(Text())),
    *(column(name, DateTime(timezone=True)) for name in ("previous_until", "updated_at")),
)
SET_SECRET = Call(
    "set_secret",
    {"tenant_id": "text", "name": "text", "kind": "text", "value": "text", "hosts": "text[]", "overlap": "interval"},
    _SECRET,
)
DROP_SECRET = Call("drop_secret", {"tenant_id": "text", "name": "text"}, _SECRET)
LIST_SECRETS = Call("list_secrets", {"tenant_id": "text"}, _SECRET)

# in the handler's own transaction
CONNECTOR_OF_RUN = Call(
    "connector_of_run",
    {"job_id": "uuid", "lease_token": "uuid", "type": "text", "secrets": "text[]"},
    (
        column("config", Text()),
        column("secrets", Text()),
        column("at", DateTime(timezone=True)),
        column("unsure", Boolean()),
    ),
)
LOG_DELIVERY = Call(
    "log_delivery",
    {
        "job_id": "uuid",
        "lease_token": "uuid",
        "url": "text",
        "event_id": "text",
        "event_type": "text",
        "outcome": "text",
        "status": "int4",
        "error": "text",
        "duration_ms": "int4",
        "preview": "text",
        "disable_after": "int4",
        "disable_after_time": "interval",
    },
    (column("failures", Integer()), column("disabled_at", DateTime(timezone=True))),
)

_ENDPOINT = (
    column("tenant_id", Text()),
    column("url", Text()),
    column("failures", Integer()),
    column("first_failed_at", DateTime(timezone=True)),
    column("disabled_at", DateTime(timezone=True)),
    column("reason", Text()),
)
LIST_WEBHOOKS = Call("list_webhooks", {"url": "text", "limit": "int4"}, _ENDPOINT)
ENABLE_WEBHOOK = Call("enable_webhook", {"url": "text"}, _ENDPOINT)
DISABLE_WEBHOOK = Call("disable_webhook", {"url": "text", "reason": "text"}, _ENDPOINT)
