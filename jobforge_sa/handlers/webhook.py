"""`connector.webhook.deliver`: one event to one endpoint, signed, each attempt on record with the end of its run.

A webhook arrives at least once: a worker that dies between the answer and its commit has delivered, and nobody knows.
Each delivery of an event has the same id, by which a receiver tells repetitions.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pydantic
from pydantic import Field
from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError

from jobforge_sa import webhooks
from jobforge_sa.context import Context
from jobforge_sa.db import connector_calls, failures
from jobforge_sa.egress import target
from jobforge_sa.egress.policy import host_fits
from jobforge_sa.enqueue.answers import translated
from jobforge_sa.errors import Blocked, ConfigurationError, LeaseLost, SecretUnavailable, Unreachable
from jobforge_sa.handlers import answer
from jobforge_sa.handlers.ground import NO_TIME, Ground, Means
from jobforge_sa.secrets import Secret
from jobforge_sa.tasks import JobForge, Task
from jobforge_sa.types import Cancel, Delays, Discard, Retry

if TYPE_CHECKING:
    from jobforge_sa.egress.client import Response

NAME = "connector.webhook.deliver"
PREVIEW = 500  # characters of an answer that are kept
GONE = 410
MAX_TURNS = 20  # of a note that clashes with others of its endpoint: one of them gets through in each
MOST_PAUSE = 0.5  # seconds
# half a minute's trouble costs half a minute, a weekend's costs no event; 75 hours in all
DELAYS = Delays(*(dt.timedelta(seconds=s) for s in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)))


class Webhook(pydantic.BaseModel):
    """What `connector.webhook.deliver` takes.

    Attributes:
        target_url: Where it goes: https, whole, as ASCII.
        event_type: What has happened, such as `order.paid`.
        data: The event itself.
        secret_ref: The name of the tenant's secret that signs it (`jobforge secrets set`): a secret of `whsec_...`.
        event_id: The same for each delivery of the event. Default: the job's id.
        timeout_ms: Milliseconds for the whole of one attempt.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    target_url: str = Field(max_length=2048)
    event_type: str = Field(pattern=r"^[!-~]{1,200}$")
    data: pydantic.JsonValue = Field(default_factory=dict)
    secret_ref: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}$")
    event_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_:-]{1,200}$")
    timeout_ms: int = Field(default=10_000, ge=1, le=60_000)

    @pydantic.field_validator("target_url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        try:
            target.parse(url)
        except Blocked as error:
            raise ValueError(f"{error.message}; {error.cure}") from None
        return url


class Delivered(pydantic.BaseModel):
    """What a delivered webhook leaves as its job's result.

    Attributes:
        event_id: The event's.
        status: Of the answer, 200 to 299.
        duration_ms: Milliseconds of this attempt.
        preview: How the answer began, 500 characters at most.
    """

    event_id: str
    status: int
    duration_ms: int
    preview: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one attempt, in the words of the delivery log."""

    outcome: str
    status: int | None = None
    error: str | None = None
    duration_ms: int | None = None
    preview: str | None = None
    after: dt.timedelta | None = None  # when to come again, as the other side asks
    final: bool = False  # no other attempt would end differently


def register(forge: JobForge, means: Means) -> Task[Webhook, Delivered]:
    """The task in a registry, with these means."""

    @forge.task(NAME, max_attempts=len(DELAYS.delays) + 1, retry=DELAYS, timeout=means.patience)
    def deliver_webhook(ctx: Context, webhook: Webhook) -> Delivered | Retry | Discard | Cancel:
        return deliver(means, ctx, webhook)

    return deliver_webhook  # type: ignore[return-value]  # its outcomes are no results


def deliver(means: Means, ctx: Context, webhook: Webhook) -> Delivered | Retry | Discard | Cancel:
    """Make one attempt, and note it in the session that is committed with the run's end.

    Raises:
        LeaseLost: the run is over.
    """
    ctx.check()
    endpoint = _endpoint(ctx, webhook)
    config: Any = {}
    try:
        ground = means.ground(ctx, [webhook.secret_ref])
        config = ground.config
        if endpoint is not None and endpoint.disabled_at is not None:
            attempt = Attempt("skipped", error=f"the endpoint is disabled: {endpoint.reason}")
        else:
            attempt = _send(means, ctx, webhook, ground)
    except SecretUnavailable as error:  # perhaps somebody brings it: it is tried again
        attempt = Attempt("blocked", error=f"{error.message}; {error.cure}")
    return _outcome(event_id(ctx, webhook), attempt, _log(ctx, webhook, attempt, config))


def event_id(ctx: Context, webhook: Webhook) -> str:
    """The event's id: the same in each attempt, whoever enqueued it."""
    return webhook.event_id or str(ctx.job.id)


def _endpoint(ctx: Context, webhook: Webhook) -> Row[Any] | None:
    call, connection = connector_calls.LIST_WEBHOOKS, ctx.session.connection()
    with translated(connection):
        values = call.values(None, url=webhook.target_url)
        return connection.execute(call.statement(None), values).one_or_none()


def _send(means: Means, ctx: Context, webhook: Webhook, ground: Ground) -> Attempt:
    secret = ground.secret(webhook.secret_ref)
    left = ground.left(ctx.job)
    if left <= dt.timedelta(0):
        return Attempt("blocked", error=NO_TIME)
    try:
        body = _body(ctx, webhook)
    except ValueError as error:  # 1e400 is JSON, and no number that we could write down again
        return Attempt("blocked", error=f"the event cannot be sent: {error}", final=True)
    headers = _signed(ctx, webhook, secret, ground, body)
    began = time.monotonic()
    try:
        _permit(webhook, secret)
        client = means.client(ground, ctx.job.tenant_id)
        response = client.send(
            "POST", webhook.target_url, headers | {"Content-Type": "application/json"}, body,
            timeout=min(webhook.timeout_ms / 1000, left.total_seconds()),
            max_bytes=PREVIEW * answer.LOOKED_AT,
        )  # fmt: skip
    except Blocked as error:
        return Attempt("blocked", error=f"{error.message}; {error.cure}", final=True)
    except Unreachable as error:
        return Attempt("failed", error=error.message, duration_ms=int((time.monotonic() - began) * 1000))
    return _judged(webhook, response, [*secret.values, *_signatures(headers)])


def _body(ctx: Context, webhook: Webhook) -> bytes:
    """The same bytes for each delivery: the event's time is its enqueue's; when it is sent stands in the headers."""
    event = {
        "event_type": webhook.event_type,
        "event_id": event_id(ctx, webhook),
        "timestamp": ctx.job.created_at.astimezone(dt.UTC).isoformat(),
        "data": webhook.data,
    }
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _signed(ctx: Context, webhook: Webhook, secret: Secret, ground: Ground, body: bytes) -> dict[str, str]:
    try:
        return webhooks.sign(
            secret.values, event_id(ctx, webhook), ground.now, body, event_type=webhook.event_type, attempt=ctx.job.run
        )
    except ConfigurationError as error:
        raise SecretUnavailable(
            f"the secret {secret.name} signs no webhook: {error.message}", cure=error.cure
        ) from None


def _signatures(headers: dict[str, str]) -> list[str]:
    """What signs this delivery: in no log, not even where the other side says back what it was told."""
    ours = [one.removeprefix("sha256=") for one in headers["X-JobForge-Signature"].split(", ")]
    return [*ours, *(one.removeprefix("v1,") for one in headers["webhook-signature"].split(" "))]


def _permit(webhook: Webhook, secret: Secret) -> None:
    host = target.parse(webhook.target_url).host
    if secret.hosts and not host_fits(host, secret.hosts):
        raise Blocked(
            f"the secret {secret.name} is not for {host}",
            cure="name the host: jobforge secrets set --host; or sign with another secret",
        )


def _judged(webhook: Webhook, response: Response, hidden: list[str]) -> Attempt:
    status = response.status
    outcome = "delivered" if 200 <= status < 300 else "gone" if status == GONE else "failed"
    return Attempt(
        outcome,
        status=status,
        error=None if outcome == "delivered" else f"{target.parse(webhook.target_url)} answered {status}",
        duration_ms=int(response.duration * 1000),
        preview=answer.preview(response.body, PREVIEW, hidden),
        after=answer.retry_after(response),
    )


def _log(ctx: Context, webhook: Webhook, attempt: Attempt, config: Any) -> Row[Any]:
    """Note the attempt, and hear how the endpoint stands.

    Above READ COMMITTED attempts that end at one endpoint at once clash there. The note is repeated here, for a worker
    that repeats the handler's transaction would send the webhook again: of 30 each came twice or thrice.
    """
    for turn in range(MAX_TURNS):
        try:
            return _noted(ctx, webhook, attempt, config)
        except DBAPIError as error:
            if failures.sqlstate(error) not in failures.REPEATABLE:
                raise
        ctx.session.rollback()
        time.sleep(random.random() * min(0.01 * 2.0**turn, MOST_PAUSE))
    return _noted(ctx, webhook, attempt, config)


def _noted(ctx: Context, webhook: Webhook, attempt: Attempt, config: Any) -> Row[Any]:
    call, connection = connector_calls.LOG_DELIVERY, ctx.session.connection()
    seconds = config.get("disable_after_seconds")
    told = {name: getattr(attempt, name) for name in ("outcome", "status", "error", "duration_ms", "preview")}
    values = call.values(
        None, **told, job_id=ctx.job.id, lease_token=ctx.job.lease_token, url=webhook.target_url,
        event_id=event_id(ctx, webhook), event_type=webhook.event_type, disable_after=config.get("disable_after"),
        disable_after_time=None if seconds is None else dt.timedelta(seconds=seconds),
    )  # fmt: skip
    with translated(connection):
        row = connection.execute(call.statement(None), values).one_or_none()
    if row is None:
        raise LeaseLost(f"job {ctx.job.id}: the lease of run {ctx.job.run} is gone")
    return row


def _outcome(event: str, attempt: Attempt, endpoint: Row[Any]) -> Delivered | Retry | Discard | Cancel:
    said = attempt.error or ""
    match attempt.outcome:
        case "delivered":
            return Delivered(
                event_id=event, status=attempt.status or 0, duration_ms=attempt.duration_ms or 0,
                preview=attempt.preview or "",
            )  # fmt: skip
        case "gone":
            return Cancel(f"{said}: the endpoint is disabled; to send again: jobforge webhooks enable")
        case "skipped":
            return Cancel(f"{said}; to send again: jobforge webhooks enable, then jobforge jobs retry")
        case "failed" if endpoint.disabled_at is not None:
            return Discard(f"{said}; {endpoint.failures} failures in a row have disabled the endpoint")
    return Discard(said) if attempt.final else Retry(said, after=attempt.after)
