"""The calls of artifacts: kept by a run's token, listed and read by who may see them. As in `calls`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, DateTime, Integer, LargeBinary, Text, Uuid, column

from jobforge_sa.db.calls import Call

_ARTIFACT: Final = (
    column("job_id", Uuid()),
    column("name", Text()),
    column("tenant_id", Text()),
    column("media_type", Text()),
    column("size", BigInteger()),
    column("sha256", Text()),
    column("location", Text()),
    column("created_at", DateTime(timezone=True)),
)
# by the token, in the transaction of a run: without a tenant of the call's own
STORE_ARTIFACT: Final = Call(
    "store_artifact",
    {
        "job_id": "uuid",
        "lease_token": "uuid",
        "name": "text",
        "media_type": "text",
        "body": "bytea",
        "location": "text",
        "size": "int8",
        "sha256": "text",
    },
    (_ARTIFACT[1], _ARTIFACT[4], _ARTIFACT[5], _ARTIFACT[7]),
)
GET_ARTIFACT: Final = Call(
    "get_artifact", {"job_id": "uuid", "name": "text"}, (*_ARTIFACT, column("body", LargeBinary()))
)
LIST_ARTIFACTS: Final = Call(
    "list_artifacts", {"job_id": "uuid", "limit": "int4", "cursor": "uuid", "cursor_name": "text"}, _ARTIFACT
)
LIMIT_ARTIFACTS: Final = Call("limit_artifacts", {"max_bytes": "int4"}, (column("r", Integer()),))
