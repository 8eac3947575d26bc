"""An artifact: a file that a run makes, what is known of one that is kept, and one that was read again."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import uuid
from dataclasses import dataclass, field

from jobforge_sa.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that is to be kept.

    Attributes:
        name: 1 to 100 of `A-Z a-z 0-9 _ . -`, not beginning with `. -`: it becomes a file's name.
        media_type: Such as `text/csv` or `text/html; charset=utf-8`.
        body: Its bytes.

    Raises:
        ConfigurationError: the name is none.
    """

    name: str
    media_type: str
    body: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"{self.name[:100]!r} is no name of an artifact",
                cure="use 1 to 100 of A-Z a-z 0-9 _ . - and do not begin with . or -",
            )

    @property
    def sha256(self) -> str:
        """Of its bytes, in lower-case hex."""
        return hashlib.sha256(self.body).hexdigest()


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """An artifact that was kept, as a handler's result may name it.

    Attributes:
        name: Its name within its job.
        media_type: As it was given.
        size: In bytes.
        sha256: Of its bytes, in lower-case hex.
        location: Where the bytes are; None: in the database, for `Artifacts.get`.
    """

    name: str
    media_type: str
    size: int
    sha256: str
    location: str | None = None


@dataclass(frozen=True, slots=True)
class ArtifactInfo:
    """What is known of an artifact that is kept; with its bytes where one was read that stands in the database."""

    job_id: uuid.UUID
    name: str
    tenant_id: str
    media_type: str
    size: int
    sha256: str
    location: str | None
    created_at: dt.datetime
    body: bytes | None = field(default=None, repr=False)
