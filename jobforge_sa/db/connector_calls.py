"""The calls of the connectors' functions, built as those in `calls`: configuration, secrets, what a run needs."""

from __future__ import annotations

from sqlalchemy import DateTime, Text, column
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
    (column("config", Text()), column("secrets", Text()), column("at", DateTime(timezone=True))),
)
