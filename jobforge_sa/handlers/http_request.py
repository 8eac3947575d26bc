"""`connector.http.request`: one request, made safely, its answer kept as far as it is wanted, its failures judged.

A request that may have had an effect is not made twice, unless the other side can tell that it is the same one: by its
method, which says so, or by a key that is sent with it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import pydantic
from pydantic import Field

from jobforge_sa.context import Context
from jobforge_sa.egress import headers as rules
from jobforge_sa.egress import target
from jobforge_sa.egress.policy import host_fits
from jobforge_sa.errors import Blocked, SecretUnavailable, Unreachable
from jobforge_sa.handlers import answer
from jobforge_sa.handlers.echo import Echo
from jobforge_sa.handlers.ground import NO_TIME, Ground, Means
from jobforge_sa.redaction import GONE, Redactor
from jobforge_sa.tasks import JobForge, Task
from jobforge_sa.types import Discard, Retry

if TYPE_CHECKING:
    from jobforge_sa.egress.client import Client, Response

NAME = "connector.http.request"
KEY = "Idempotency-Key"
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
SECRET_HEADERS = frozenset(
    {"authorization", "cookie", "x-api-key", "api-key", "apikey", "x-auth-token", "x-access-token"}
)
TOO_MANY = 429
MOST_PREVIEW = 32_768  # a result has 256 kB at most, and each of these may take three
MOST_KEPT = 50  # headers of an answer, and 500 characters of each
REASON = 500  # characters of an answer in the error of a job that failed by it

SecretName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}$")]


class SecretHeader(pydantic.BaseModel):
    """A header whose value is a secret of the tenant's. The payload holds its name; the worker reads the value.

    Attributes:
        secret: The name (`jobforge secrets set`). It goes to no host but those that it was set for.
        prefix: What stands in front of it, such as "Bearer ".
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    secret: SecretName
    prefix: str = Field(default="", pattern=r"^[ -~]{0,100}$")


class HttpRequest(pydantic.BaseModel):
    """What `connector.http.request` takes.

    Attributes:
        url: All of it, as ASCII. It is stored as it stands: a secret belongs into a header.
        method: In capitals.
        headers: By name: a text, or a secret.
        body: A text is sent as it is, anything else as JSON, with its Content-Type unless headers have one; null: none.
        timeout_ms: Milliseconds for all of one attempt; what the operator or an administrator allows is the most.
        idempotency_key: Sent as Idempotency-Key, the same in each attempt: 1 to 200 visible ASCII characters. With it
            a POST or PATCH is tried again; give it to an API that knows the header, or such requests run twice.
        preview_bytes: Characters of the answer's body that the result keeps.
        redact_headers: Of the answer: their values are not kept. Names that say secret are known.
        response_headers: Of the answer: the only ones that are kept. Default: all, 50 at most.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    url: str = Field(max_length=target.MAX_URL)
    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: dict[str, str | SecretHeader] = Field(default_factory=dict, max_length=rules.MOST_HEADERS)
    body: pydantic.JsonValue = None
    timeout_ms: int = Field(default=30_000, ge=100, le=3_600_000)
    idempotency_key: str | None = Field(default=None, pattern=r"^[!-~]{1,200}$")
    preview_bytes: int = Field(default=2048, ge=0, le=MOST_PREVIEW)
    redact_headers: list[str] = Field(default_factory=list, max_length=50)
    response_headers: list[str] | None = Field(default=None, max_length=50)

    @pydantic.field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        _said(lambda: target.parse(url))
        return url

    @pydantic.field_validator("headers")
    @classmethod
    def _are_headers(cls, given: dict[str, str | SecretHeader]) -> dict[str, str | SecretHeader]:
        for name, value in given.items():
            if name.lower() == KEY.lower():
                raise ValueError("set idempotency_key, which sends this header and makes a POST safe to repeat")
            if name.lower() in SECRET_HEADERS and isinstance(value, str):
                raise ValueError(
                    f"the header {name} would stand in the database as plain text; write "
                    '{"secret": "NAME", "prefix": "Bearer "}, and store it: jobforge secrets set'
                )
        _said(lambda: rules.check({name: value if isinstance(value, str) else "x" for name, value in given.items()}))
        return given

    @property
    def secrets(self) -> list[str]:
        """The names of the secrets that it needs."""
        return [value.secret for value in self.headers.values() if isinstance(value, SecretHeader)]

    @property
    def repeatable(self) -> bool:
        """Whether two of it are as good as one."""
        return self.method in IDEMPOTENT or self.idempotency_key is not None


class HttpResponse(pydantic.BaseModel):
    """What a request leaves as its job's result.

    Attributes:
        status: 200 to 299.
        headers: Those that are kept, in small letters; secrets are stars. Of one that came several times the last one.
        preview: How the body began.
        bytes: Bytes of the body that were read.
        truncated: Whether the body went on behind them.
        duration_ms: Milliseconds of this attempt.
    """

    status: int
    headers: dict[str, str]
    preview: str
    bytes: int
    truncated: bool
    duration_ms: int


def register(forge: JobForge, means: Means) -> Task[HttpRequest, HttpResponse]:
    """The task in a registry, with these means."""

    @forge.task(NAME, timeout=means.patience)
    def request_http(ctx: Context, request: HttpRequest) -> HttpResponse | Retry | Discard:
        ctx.check()
        try:
            ground = means.ground(ctx, request.secrets)
            return perform(request, ground, means.client(ground, ctx.job.tenant_id), ground.left(ctx.job))
        except SecretUnavailable as error:  # nothing was sent, and perhaps somebody brings it: it is tried again
            return Retry(f"{error.message}; {error.cure}")
        except Blocked as error:
            return Discard(f"{error.message}; {error.cure}")

    return request_http  # type: ignore[return-value]  # its outcomes are no results


def perform(
    request: HttpRequest, ground: Ground, client: Client, left: dt.timedelta = dt.timedelta(hours=1)
) -> HttpResponse | Retry | Discard:
    """Make the request, and judge what came of it.

    Args:
        request: What is asked.
        ground: What the run may use.
        client: Under the policy that holds for the job's tenant.
        left: How long the run may still take.

    Raises:
        Blocked: it must not leave.
        SecretUnavailable: the tenant has not the secret.
    """
    if ground.unsure and not request.repeatable:
        return Discard(_unsure(request, "an earlier run of this job was lost or stopped while it worked"))
    if left <= dt.timedelta(0):
        return Retry(NO_TIME)
    sent, hidden = _headers(request, ground)
    try:
        body = _body(request)
    except ValueError as error:  # 1e400 is JSON, and no number that we could write down again
        return Discard(f"the body cannot be sent: {error}")
    seconds = min(request.timeout_ms / 1000, left.total_seconds())
    try:
        return _judged(request, client.send(request.method, request.url, sent, body, timeout=seconds), hidden)
    except Unreachable as error:
        if error.sent and not request.repeatable:
            return Discard(_unsure(request, error.message))
        return Retry(error.message)
    except Blocked:
        raise
    except Exception as error:  # a fault of ours, or of what reads answers: the request may be with the other side
        if request.repeatable:
            raise
        return Discard(_unsure(request, f"a {type(error).__name__} came behind the request"))


def _headers(request: HttpRequest, ground: Ground) -> tuple[dict[str, str], Echo]:
    """What is sent, and what of it may be shown nowhere.

    Raises:
        Blocked: a secret is not for the host.
        SecretUnavailable: it is not there.
    """
    sent: dict[str, str] = {}
    hidden: list[str] = []
    for name, value in request.headers.items():
        if isinstance(value, str):
            sent[name] = value
            continue
        secret = ground.secret(value.secret)
        _permit(request, secret.name, secret.hosts)
        sent[name] = value.prefix + secret.value
        hidden += secret.values
    if request.idempotency_key is not None:
        sent[KEY] = request.idempotency_key
    if request.body is not None and not isinstance(request.body, str) and not _has(sent, "content-type"):
        sent["Content-Type"] = "application/json"
    return sent, Echo(hidden)


def _permit(request: HttpRequest, secret: str, hosts: tuple[str, ...]) -> None:
    host = target.parse(request.url).host
    if not host_fits(host, hosts):
        raise Blocked(
            f"the secret {secret} is not for {host}",
            cure="an administrator names the hosts that it is for: jobforge secrets set --host",
        )


def _body(request: HttpRequest) -> bytes:
    if request.body is None:
        return b""
    text = request.body
    if not isinstance(text, str):
        text = json.dumps(text, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()


def _judged(request: HttpRequest, response: Response, hidden: Echo) -> HttpResponse | Retry | Discard:
    status = response.status
    if 200 <= status < 300:
        return _kept(request, response, hidden)
    said = f"{target.parse(request.url)} answered {status}{' (redirects are not followed)' if status < 400 else ''}"
    if preview := answer.preview(response.body, REASON, hidden):
        said = f"{said}: {preview}"
    if status != TOO_MANY and status < 500:
        return Discard(said)
    if not request.repeatable:
        return Discard(_unsure(request, said))
    return Retry(said, after=answer.retry_after(response))


def _kept(request: HttpRequest, response: Response, hidden: Echo) -> HttpResponse:
    return HttpResponse(
        status=response.status,
        headers=_kept_headers(request, response, hidden),
        preview=answer.preview(response.body, request.preview_bytes, hidden),
        bytes=len(response.body),
        truncated=response.truncated,
        duration_ms=int(response.duration * 1000),
    )


def _kept_headers(request: HttpRequest, response: Response, hidden: Echo) -> dict[str, str]:
    wanted = None if request.response_headers is None else {name.lower() for name in request.response_headers}
    redactor, secret = Redactor(), {name.lower() for name in request.redact_headers}
    kept: dict[str, str] = {}
    for name, value in response.headers:
        key = name.lower()
        if (wanted is not None and key not in wanted) or (key not in kept and len(kept) >= MOST_KEPT):
            continue
        gone = key in secret or redactor.is_secret(key)
        kept[key] = GONE if gone else answer.preview(value.encode(), MOST_KEPT * 10, hidden)
    return kept


def _unsure(request: HttpRequest, why: str) -> str:
    return (
        f"{why}; a {request.method} is not sent twice: the other side may have acted on it. "
        "With an idempotency_key it is tried again; to send this one all the same: jobforge replay"
    )


def _has(headers: dict[str, str], name: str) -> bool:
    return any(key.lower() == name for key in headers)


def _said(check: Callable[[], object]) -> None:
    """Pydantic takes a ValueError, and its text."""
    try:
        check()
    except Blocked as error:
        raise ValueError(f"{error.message}; {error.cure}") from None
