"""Where a handler puts what it has made: the protocol, and the database as one such place.

Whatever the place, an artifact is on record by the token of its run, in the transaction of the completion: a run that
was lost, failed or was killed half way has no artifact, though some of its bytes may lie somewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from jobforge_sa.artifacts.artifact import Artifact, ArtifactRef
from jobforge_sa.context import ClaimedJob, Context
from jobforge_sa.db import artifact_calls
from jobforge_sa.enqueue.answers import translated
from jobforge_sa.errors import ArtifactTooLarge, LeaseLost

DATABASE_BYTES = 1_048_576  # what the database takes, unless an administrator says otherwise: limit_artifacts


class Sink(Protocol):
    """A place for artifacts. One of your own puts the bytes somewhere, and notes their location by `note`."""

    def put(self, ctx: Context, artifact: Artifact) -> ArtifactRef:
        """Keep an artifact of the run, and put it on record through the run's session.

        No transaction is open when it is called, and none should be while the bytes travel.

        Raises:
            ArtifactTooLarge: it does not fit, and will not the next time.
            ArtifactNotStored: the place did not take it this time.
            LeaseLost: the run is over: another worker may have the job.
        """
        ...


@dataclass(frozen=True, slots=True)
class DatabaseSink:
    """Keeps artifacts in the database, up to a size: there with the job's completion, gone with the job.

    Attributes:
        max_bytes: Refuse what is larger before it is sent. The database has a limit of its own: 1 MB, unless an
            administrator has said otherwise (`limit_artifacts`).
    """

    max_bytes: int | None = None

    def put(self, ctx: Context, artifact: Artifact) -> ArtifactRef:
        """See `Sink.put`."""
        if self.max_bytes is not None and len(artifact.body) > self.max_bytes:
            raise ArtifactTooLarge(
                f"artifact {artifact.name} has {len(artifact.body)} bytes, {self.max_bytes} are allowed",
                cure="ask for a shorter period, or let artifacts go to files or to a bucket",
            )
        return _record(ctx.session, ctx.job, artifact, None)


def note(ctx: Context, artifact: Artifact, location: str) -> ArtifactRef:
    """Put an artifact on record whose bytes are elsewhere: for sinks, once they are there.

    Raises:
        LeaseLost: the run is over: another worker may have the job.
    """
    return _record(ctx.session, ctx.job, artifact, location)


def _record(session: Session, job: ClaimedJob, artifact: Artifact, location: str | None) -> ArtifactRef:
    given = {"name": artifact.name, "media_type": artifact.media_type}
    if location is None:
        given |= {"body": artifact.body}  # type: ignore[dict-item]
    else:
        given |= {"location": location, "size": len(artifact.body), "sha256": artifact.sha256}  # type: ignore[dict-item]
    call = artifact_calls.STORE_ARTIFACT
    connection: Connection = session.connection()
    with translated(connection):
        values = call.values(None, job_id=job.id, lease_token=job.lease_token, **given)
        row = connection.execute(call.statement(None), values).one_or_none()
    if row is None:
        raise LeaseLost(f"job {job.id}: the lease of run {job.run} is gone")
    return ArtifactRef(row.name, artifact.media_type, row.size, row.sha256, location)
