"""Where an artifact lies beneath a folder or in a bucket: tenant, job, run and name, as a path that holds no surprise.

A run's number never repeats: a run that lost its lease and goes on writing overwrites nothing of the run that counts.
"""

from __future__ import annotations

import hashlib
import re

from jobforge_sa.artifacts.artifact import Artifact
from jobforge_sa.context import ClaimedJob

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,60}")
_OTHER = re.compile(r"[^A-Za-z0-9_-]+")


def parts(job: ClaimedJob, artifact: Artifact) -> tuple[str, str, str, str]:
    """The folders and the name. None of them is `.` or `..`, or has a separator, or more than 255 bytes."""
    return folder(job.tenant_id), str(job.id), str(job.run), artifact.name


def folder(tenant: str) -> str:
    """A tenant as the name of a folder: itself where it is plain, else what can be read of it, and a hash."""
    if _PLAIN.fullmatch(tenant):
        return tenant
    readable = _OTHER.sub("_", tenant)[:40]
    return f"{readable}.{hashlib.sha256(tenant.encode()).hexdigest()[:16]}"  # a dot: no plain one looks like it
