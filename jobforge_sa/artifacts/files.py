"""Artifacts as files beneath a folder: whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobforge_sa.artifacts import place
from jobforge_sa.artifacts.artifact import Artifact, ArtifactRef
from jobforge_sa.artifacts.sink import note
from jobforge_sa.context import Context
from jobforge_sa.errors import ArtifactNotStored, ArtifactTooLarge

MAX_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileSink:
    """Keeps artifacts as files: `<folder>/<tenant>/<job>/<run>/<name>`. Deleting old ones is the operator's affair.

    Attributes:
        folder: Where; it is made if it is not there. On several machines: a file system that all of them see.
        mode: Of the files; folders get the same for who may read. Default: the owner alone.
        max_bytes: Refuse what is larger.
    """

    folder: Path | str
    mode: int = 0o600
    max_bytes: int = MAX_BYTES

    def put(self, ctx: Context, artifact: Artifact) -> ArtifactRef:
        """See `Sink.put`."""
        if len(artifact.body) > self.max_bytes:
            raise ArtifactTooLarge(
                f"artifact {artifact.name} has {len(artifact.body)} bytes, {self.max_bytes} are allowed",
                cure="ask for less, or raise max_bytes",
            )
        target = Path(os.path.realpath(self.folder)).joinpath(*place.parts(ctx.job, artifact))
        try:
            self._write(target, artifact.body)
        except OSError as error:
            raise ArtifactNotStored(
                f"artifact {artifact.name} cannot be written: {error.strerror or type(error).__name__}",
                cure="look at the folder of the FileSink: its rights, and the room on its disk",
            ) from error
        return note(ctx, artifact, target.as_uri())

    def _write(self, target: Path, body: bytes) -> None:
        # who may read a file must also get to it
        access = self.mode | (self.mode & 0o444) >> 2 | 0o700
        for above in (target.parents[2], target.parents[1], target.parents[0]):
            above.mkdir(mode=access, parents=True, exist_ok=True)
        part = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, self.mode), "wb") as stream:
                stream.write(body)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(target)
            _keep(target.parent)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()


def _keep(folder: Path) -> None:
    """The name too has to survive a power cut: the completion that names it will."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
