"""The artifacts of a tenant's jobs, through a session or connection of the caller's: listed, and read."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session, scoped_session

from jobforge_sa.artifacts.artifact import ArtifactInfo
from jobforge_sa.db import artifact_calls
from jobforge_sa.db.calls import Call
from jobforge_sa.enqueue import fit
from jobforge_sa.enqueue.answers import translated
from jobforge_sa.enqueue.options import identifier
from jobforge_sa.enqueue.tenant import bound_tenant
from jobforge_sa.errors import ArtifactNotFound, ConfigurationError, TenantConflict
from jobforge_sa.tenant import Named, Tenant, name_of, named


class Artifacts:
    """The artifacts of one tenant's jobs. Never commits.

    Args:
        session: A `Session`, a `scoped_session`, or a bare `Connection`. With an `AsyncSession`:
            `await session.run_sync(lambda sync: Artifacts(sync).get(job_id, "report.html"))`.
        tenant: The tenant. Default: the one that the session is bound to, else whatever the application has set in
            this transaction itself.

    Every method may raise what those of `Jobs` do.

    Example:
        >>> page = Artifacts(session, tenant="acme").get(job.id, "usage.html").body
    """

    def __init__(
        self, session: Session | scoped_session[Any] | Connection, *, tenant: Tenant | None = None
    ) -> None:  # fmt: skip
        self._session = session() if isinstance(session, scoped_session) else session
        if not isinstance(self._session, Session | Connection):
            raise ConfigurationError(
                f"Artifacts takes a Session or a Connection, not {type(session).__name__}",
                cure="for an AsyncSession: await session.run_sync(lambda sync: Artifacts(sync)...)",
            )
        asked = None if tenant is None else named(tenant)
        bound = bound_tenant(self._session) if isinstance(self._session, Session) else None
        if bound is not None and asked is not None and name_of(bound) != name_of(asked):
            raise TenantConflict(f"this session is bound to the tenant {name_of(bound)!r}, not {name_of(asked)!r}")
        self._tenant: Named | None = asked if bound is None else bound

    def get(self, job_id: uuid.UUID, name: str) -> ArtifactInfo:
        """One artifact, with its bytes where they stand in the database; else `location` says where they are.

        Raises:
            ArtifactNotFound: there is none of this tenant.
        """
        rows = self._rows(artifact_calls.GET_ARTIFACT, job_id=identifier("job_id", job_id), name=name)
        if not rows:
            raise absent(job_id, name)
        return info(rows[0])

    def list(
        self, job_id: uuid.UUID | None = None, *, limit: int = 50, after: ArtifactInfo | None = None
    ) -> Sequence[ArtifactInfo]:
        """One page of artifacts without their bytes, those of the newest jobs first.

        Args:
            job_id: Of this job only.
            limit: 1 to 1,000.
            after: The last one of the page before.
        """
        cursor = {} if after is None else {"cursor": after.job_id, "cursor_name": after.name}
        asked = None if job_id is None else identifier("job_id", job_id)
        return [info(row) for row in self._rows(artifact_calls.LIST_ARTIFACTS, job_id=asked, limit=limit, **cursor)]

    def _rows(self, call: Call, **values: object) -> Sequence[Any]:
        connection = self._session.connection() if isinstance(self._session, Session) else self._session
        with translated(connection):
            fit.look(connection, strict=False, tenant=self._tenant)
            return connection.execute(call.statement(self._tenant), call.values(self._tenant, **values)).all()


def info(row: Any) -> ArtifactInfo:
    """A row of `list_artifacts` or `get_artifact`."""
    return ArtifactInfo(**row._asdict())


def absent(job_id: uuid.UUID, name: str | None) -> ArtifactNotFound:
    """The refusal of an artifact that is not there; another tenant's looks the same."""
    what = "no artifact" if name is None else f"no artifact {name[:100]!r}"
    return ArtifactNotFound(
        f"job {job_id} of this tenant has {what}",
        cure="look at the id, the name and the tenant: jobforge artifacts list",
    )
