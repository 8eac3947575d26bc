"""A replay bundle: one job as it was asked, run and ended, without its secrets, in a sealed file.

The seal is a SHA-256 over the rest of the file, and finds accidents and honest changes: whoever forges a bundle makes
a new seal. With a key, which only those have who may make bundles, there is an HMAC-SHA256 as well: a proof.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from jobforge_sa.errors import ConfigurationError
from jobforge_sa.redaction import Redactor
from jobforge_sa.types import JobInfo

FORMAT = "jobforge-replay/1"
KEY_VARIABLE = "JOBFORGE_BUNDLE_KEY"
MIN_KEY = 32  # characters
MAX_BYTES = 64 << 20  # of a file: a payload and a result have a quarter of a megabyte, an error has 64 kB
SECRETIVE = (
    "result",
    "trace",
    "idempotency_key",
    "unique_key",
    "ordering_key",
    "subject",
)  # what may hold secrets beside the payload

AGAIN = "export it again: jobforge replay export JOB_ID"


class Origin(pydantic.BaseModel):
    """Where a bundle comes from."""

    database: str  # what stays when the server is restarted: calls.IDENTITY
    revision: str
    tenant_id: str
    job_id: uuid.UUID


class RecordedJob(pydantic.BaseModel):
    """A job under the names of `JobInfo`; what only tells is not listed."""

    model_config = pydantic.ConfigDict(extra="allow")

    type: str
    queue: str
    priority: int
    payload: dict[str, Any]
    max_attempts: int
    timeout: dt.timedelta | None  # in the file in seconds
    retry: dict[str, Any] | None
    ordering_key: str | None = None  # bundles made before there were any have none
    subject: str | None
    trace: Any
    state: str
    run: int
    result: Any
    run_at: dt.datetime
    created_at: dt.datetime
    idempotency_key: str | None
    parent_id: uuid.UUID | None


class RecordedAttempt(pydantic.BaseModel):
    """An ended run under the names of `Attempt`."""

    model_config = pydantic.ConfigDict(extra="allow")

    run: int
    attempt: int
    outcome: str
    claimed_at: dt.datetime
    error: Any


class Enqueued(pydantic.BaseModel):
    """A job that the handler enqueued."""

    type: str
    keyed: bool  # it has an idempotency or a unique key: enqueued again, it may be there already


class Redacted(pydantic.BaseModel):
    """What was left out."""

    names: list[str]  # of keys, beside those that are known to be secret
    places: list[str]  # as JSON pointers


class Bundle(pydantic.BaseModel):
    """The file, but for its seal."""

    format: str
    origin: Origin
    versions: dict[str, str]
    job: RecordedJob
    attempts: list[RecordedAttempt]
    enqueued: list[Enqueued]
    payload_schema: str | None
    redacted: Redacted

    @property
    def payload_is_whole(self) -> bool:
        """Whether nothing of the payload was left out."""
        return not any(place == "/job/payload" or place.startswith("/job/payload/") for place in self.redacted.places)

    @property
    def last(self) -> RecordedAttempt | None:
        """How the last run ended that is on record."""
        return self.attempts[-1] if self.attempts else None

    def matches(self, payload: Any) -> bool:
        """Whether a payload is the one of which this bundle has the redacted copy."""
        return bool(clean_payload(Redactor(self.redacted.names), payload) == self.job.payload)

    def item(self, payload: dict[str, Any], original: JobInfo | None) -> dict[str, Any]:
        """The job as an item of `enqueue_jobs`: like the original while that is there, else without what it lacks."""
        gone = {"ordering_key", "subject", "trace"} & {
            place.removeprefix("/job/").partition("/")[0] for place in self.redacted.places
        }
        job = original or self.job.model_copy(update=dict.fromkeys(gone))
        return {
            "type": job.type, "payload": payload, "queue": job.queue, "priority": job.priority,
            "max_attempts": job.max_attempts, "retry": job.retry, "subject": job.subject,
            "timeout": None if job.timeout is None else f"{job.timeout.total_seconds():.6f} seconds",
            "ordering_key": job.ordering_key, "trace": job.trace if isinstance(job.trace, dict) else None,
        }  # fmt: skip


def clean_payload(redactor: Redactor, payload: Any) -> Any:
    """A payload without its secrets; one that cannot be decoded is no key and no value, and goes as a whole."""
    return redactor.clean(payload if isinstance(payload, dict) else {"secret": payload}, "/job/payload")


def clean_job(redactor: Redactor, job: Mapping[str, Any]) -> dict[str, Any]:
    """A job, as plain values, without its secrets."""
    cleaned = {**job, "payload": clean_payload(redactor, job["payload"])}
    return cleaned | {name: redactor.clean(job[name], f"/job/{name}") for name in SECRETIVE}


# -- the file --------------------------------------------------------------------------


def sealed(body: Mapping[str, Any]) -> str:
    """The text of the file: the one that there is for this body, so that any other is a changed one."""
    text = _canonical(body)
    seal = {"sha256": hashlib.sha256(text.encode()).hexdigest()}
    if key := _key():
        seal["hmac_sha256"] = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return _canonical({**body, "seal": seal})


def read(file: Path) -> tuple[Bundle, Sequence[str]]:
    """A bundle whose seal is whole, and what should be said of it.

    Raises:
        ConfigurationError: it cannot be read, has another format, was changed, or is not signed with our key.
    """
    text = _text(file)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{file} is no replay bundle: it is no JSON", cure=AGAIN) from error
    given = found.get("format") if isinstance(found, dict) else None
    if not isinstance(given, str) or not given.startswith("jobforge-replay/"):
        raise ConfigurationError(f"{file} is no replay bundle", cure=AGAIN)
    if given != FORMAT:
        raise ConfigurationError(
            f"{file} has the format {given[:40]!r}, and this version of jobforge reads {FORMAT}",
            cure=f"use a version that reads it, or {AGAIN}",
        )
    seal = found.pop("seal", None)
    if not isinstance(seal, dict) or text != _canonical({**found, "seal": seal}):
        raise _changed(file)
    body = _canonical(found).encode()
    if not _same(hashlib.sha256(body).hexdigest(), seal.get("sha256")):
        raise _changed(file)
    said = _prove(file, body, seal.get("hmac_sha256"))
    try:
        return Bundle.model_validate(found), said
    except pydantic.ValidationError as error:
        raise ConfigurationError(f"{file} lacks what a replay bundle has", cure=AGAIN) from error


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ConfigurationError(f"{file} is too large to be a replay bundle", cure=AGAIN)
        return file.read_text(encoding="ascii")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror or error}", cure="name the file") from error
    except UnicodeDecodeError as error:
        raise _changed(file) from error


def _prove(file: Path, body: bytes, signature: object) -> Sequence[str]:
    key = _key()
    if key is None:
        return [f"its signature was not looked at: {KEY_VARIABLE} is not set"] if signature is not None else []
    if signature is None:
        raise ConfigurationError(
            f"{file} is not signed, and {KEY_VARIABLE} is set: anybody may have made it",
            cure="export it again where the variable is set; or, if you trust it as it is, unset the variable",
        )
    if not _same(hmac.new(key, body, hashlib.sha256).hexdigest(), signature):
        raise ConfigurationError(
            f"{file} was changed, or signed with another key", cure=f"compare {KEY_VARIABLE}; or {AGAIN}"
        )
    return []


def _key() -> bytes | None:
    text = os.environ.get(KEY_VARIABLE)
    if not text:
        return None
    if len(text) < MIN_KEY:
        raise ConfigurationError(
            f"{KEY_VARIABLE} has {len(text)} characters, {MIN_KEY} are needed", cure="make one: openssl rand -hex 32"
        )
    return text.encode()


def _canonical(value: object) -> str:
    """JSON in the one way that we write it. The order of keys is the payload's own: a handler may see it."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, indent=1) + "\n"


def _same(ours: str, given: object) -> bool:
    return isinstance(given, str) and hmac.compare_digest(ours.encode(), given.encode())


def _changed(file: Path) -> ConfigurationError:
    return ConfigurationError(f"{file} was changed since it was written: its seal is broken", cure=AGAIN)
