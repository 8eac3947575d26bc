"""What the database answers: rows as jobs, errors as the library's own."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from jobforge_sa.db import failures
from jobforge_sa.db.jsontext import decode
from jobforge_sa.errors import JobNotFound
from jobforge_sa.impact import Impact, ImpactJob
from jobforge_sa.types import JobInfo, JobState


class translated:  # noqa: N801 - read as a sentence: with translated(connection)
    """Errors of the contract, and missing rights, as the library's own. A class, for a generator takes 2 µs."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, DBAPIError):
            login = self._connection.engine.url.username
            if (better := failures.translate(error, role="jobforge_app", login=login)) is not None:
                raise better from error


def unknown(job_id: uuid.UUID) -> JobNotFound:
    """The refusal of an id that is no job's; another tenant's looks the same."""
    return JobNotFound(
        f"there is no job {job_id} of this tenant",
        cure="look at the id and at the tenant, and whether the transaction that enqueues it was committed",
    )


def info(row: Any) -> JobInfo:
    """A row of `all_jobs`."""
    values = row._asdict()
    values["state"] = JobState(values["state"])
    values |= {name: decode(values[name]) for name in ("payload", "trace", "result")}
    return JobInfo(**values)


def impact_of(rows: Sequence[Any]) -> Impact:
    """Rows of `impact_of_job`, of which there is one at least."""
    jobs = []
    for row in rows:
        values = row._asdict() | {"trace": decode(row.trace)}
        del values["cut"]
        jobs.append(ImpactJob(**values))
    return Impact(next(one.job_id for one in jobs if one.depth == 0), jobs, rows[0].cut)
