"""One job from the database as a replay bundle."""

from __future__ import annotations

import hashlib
import json
import platform
import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from typing import Any

from jobforge_sa.db import calls
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.ops import records
from jobforge_sa.ops.reader import Reader
from jobforge_sa.ops.replay import bundle
from jobforge_sa.redaction import Redactor
from jobforge_sa.tasks import JobForge, Task

PACKAGES = ("jobforge_sa", "sqlalchemy", "psycopg", "pydantic", "alembic")


def collect(reader: Reader, job_id: uuid.UUID, forge: JobForge | None, names: Sequence[str]) -> dict[str, Any]:
    """The body of a job's bundle.

    Args:
        reader: Sees the job.
        job_id: The job.
        forge: Where its task is, if known: for the versions of the application's own packages.
        names: Of keys whose values are secret, beside those that are known to be.

    Raises:
        JobNotFound: there is none.
    """
    job, attempts = reader.job(job_id), reader.attempts(job_id)
    revision, *_ = reader.session.execute(calls.SCHEMA_VERSION).one()
    task = forge.tasks.get(job.type) if forge is not None else None
    redactor = Redactor(names)
    body = {
        "format": bundle.FORMAT,
        "origin": {
            "database": identity(reader),
            "revision": revision,
            "tenant_id": job.tenant_id,
            "job_id": job.id,
        },
        "versions": versions(task),
        "job": bundle.clean_job(redactor, plain(records.job(job))),
        "attempts": [
            one | {"error": redactor.clean(one["error"], f"/attempts/{number}/error")}
            for number, one in enumerate(plain([records.attempt(one) for one in attempts]))
        ],
        "enqueued": [
            {"type": kind, "keyed": keyed}
            for kind, keyed in reader.session.execute(
                calls.ENQUEUED_BY, {"job_id": str(job.id), "tenant_id": job.tenant_id}
            )
        ],
        "payload_schema": None if task is None else schema_of(task),
        "redacted": {"names": sorted(set(names)), "places": redactor.places},
    }
    return dict(plain(body))


def identity(reader: Reader) -> str:
    """Which database this is; the same after a restart."""
    return hashlib.sha256(str(reader.session.scalar(calls.IDENTITY)).encode()).hexdigest()


def plain(value: Any) -> Any:
    """The value as JSON has it."""
    return json.loads(records.line({"value": value}))["value"]


def versions(task: Task[Any, Any] | None) -> dict[str, str]:
    """The versions of what a job's outcome may hang on; of the application, where the task is known."""
    return {"python": platform.python_version()} | dict(_installed([*PACKAGES, *_distributions(task)]))


def schema_of(task: Task[Any, Any]) -> str | None:
    """A hash of what the task takes; None where that has no JSON schema."""
    schema = task.payload_schema()
    return None if schema is None else hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()


def _distributions(task: Task[Any, Any] | None) -> Sequence[str]:
    if task is None:
        return []
    root = task.handler.__module__.partition(".")[0]
    return sorted(set(_packages().get(root, [])))


@cache
def _packages() -> Mapping[str, Sequence[str]]:
    return metadata.packages_distributions()  # reads the lists of files of all that is installed: half a second


def _installed(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in dict.fromkeys(names):
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def require_home(found: bundle.Bundle, reader: Reader, *, foreign: bool) -> None:
    """Refuse a bundle of another database, and one that gives a job to a tenant whose it is not.

    Raises:
        ConfigurationError: it is one; for the first nobody has said that this is meant.
    """
    if not foreign and found.origin.database != identity(reader):
        raise ConfigurationError(
            "the bundle comes from another database",
            cure="name the one that it was exported from: --url; or, if another one is meant: --foreign",
        )
    whose = reader.session.scalar(calls.TENANT_OF, {"job_id": str(found.origin.job_id)}) if reader.admin else None
    if whose not in (None, found.origin.tenant_id):  # forged: its seal is one that anybody can make
        raise ConfigurationError("the job is not of the tenant that the bundle says", cure=bundle.AGAIN)
