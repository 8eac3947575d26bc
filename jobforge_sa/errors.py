"""Every error of the library, and the table from the SQL contract's codes to its classes.

The tree::

    JobForgeError
    ├── ConfigurationError      an option or an argument that cannot work
    ├── InvalidJob              JF003  a job that must not be stored: its options
    │   └── InvalidPayload      JF004  ... its payload
    ├── TenantError
    │   ├── TenantRequired      JF001  no tenant is set
    │   ├── TenantConflict      JF002  two different tenants are set
    │   └── TokenRejected       JF006  the tenant's token is forged, expired, or of an unknown key
    ├── QuotaExceeded           JF007  the tenant has as many waiting jobs as it may
    ├── WrongIsolation          JF005  this call runs at READ COMMITTED only
    ├── LeaseLost                      the run belongs to somebody else by now
    ├── NoResult                       the job ended without a result
    │   ├── JobDead                    ... it failed for good
    │   └── JobCanceled                ... it was canceled
    ├── ResultTimeout                  the job has not ended yet
    ├── InvalidResult                  the result is not what the task returns any more
    ├── JobNotFound                    no such job, or another tenant's
    ├── WrongState              JF008  the job's state does not allow that
    ├── ArtifactTooLarge        JF009  an artifact has more bytes than the database takes
    ├── ArtifactNotStored              the place where artifacts go did not take one
    ├── ArtifactNotFound               no such artifact, or another tenant's
    ├── SecretUnavailable              a secret that a handler needs is not there, or does not open, at the moment
    ├── RowHasJobs                     a row that is deleted has jobs, and its class refuses that
    ├── SchemaMismatch                 the database's schema and this code do not fit
    ├── AccessDenied            42501  the role lacks a right; names the GRANT
    ├── RowSecurityOff                 the login is bound by no policy, and strict_rls asks for it
    ├── ServerUnavailable              no connection
    ├── Blocked                        a request that must not leave: by its URL, its address, its headers
    ├── Unreachable                    no answer came; `sent` says whether the other side may have seen the request
    │   ├── RequestTimedOut            ... within the time that was given
    │   └── BadAnswer                  ... that could be read
    ├── WebhookRejected                what came is no webhook of the sender's
    │   ├── SignatureWrong             ... no secret of the receiver's made its signature
    │   ├── TimestampWrong             ... it is too old, or of the future
    │   └── WebhookReplayed            ... it came before
    └── ReadOnly                       the mapped classes are for reading

    UserWarning
    ├── JobsDroppedWarning             a session was closed before a flush had enqueued its jobs
    └── SecurityWarning
        ├── RowSecurityOffWarning      the login is bound by no policy
        ├── TokensUncheckedWarning     tenants are signed, and the database does not look
        ├── TokensVisibleWarning       tenants are signed, and the driver writes tokens into statements
        ├── PoolNotSealedWarning       tenants are signed, and their connections are handed on as they are
        └── PreparedBehindPoolerWarning  statements are prepared through a pooler
"""

from __future__ import annotations

PAGE = "docs/errors.md"  # where each of them has its causes, its cures and an example


def page_of(kind: type[BaseException]) -> str:
    """Where a class of this module, or one that an application derives from it, is explained."""
    known = next(base for base in kind.__mro__ if base.__module__ == __name__)
    return f"{PAGE}#{known.__name__.lower()}"


def _told(kind: type[BaseException], message: str, cure: str) -> str:
    return "\n  ".join([message, *([f"cure: {cure}"] if cure else []), f"more: {page_of(kind)}"])


class JobForgeError(Exception):
    """Something that jobforge_sa refuses or cannot do. As text: what it is, the cure, and where more stands.

    Attributes:
        message: What is wrong.
        cure: What to do about it, where one thing is known to help.
    """

    cure: str = ""

    def __init__(self, message: str, *, cure: str | None = None) -> None:
        if cure is not None:
            self.cure = cure
        self.message = message
        super().__init__(_told(type(self), message, self.cure))


class ConfigurationError(JobForgeError, ValueError):
    """An option or an argument that cannot work."""


class InvalidJob(JobForgeError, ValueError):
    """A job that must not be stored, because of its options. Nothing was enqueued."""


class InvalidPayload(InvalidJob):
    """A job that must not be stored, because of its payload. Nothing was enqueued."""


class TenantError(JobForgeError):
    """The tenant is missing or not the one it should be."""


class TenantRequired(TenantError):
    """No tenant is set where one is needed."""

    cure = (
        "name it: Jobs(session, tenant=...); or once for the session: bind_tenant(session, ...); or, with a single "
        "tenant, once for all: bind_tenant(sessionmaker, ...), and for enqueues alone: JobForge(tenant=...), "
        "Connectors(tenant=...)"
    )


SIGN = (
    "this database takes signed tenants only: key = TenantKey.from_environment(); "
    "bind_tenant(session, key.tenant(...)) or Jobs(session, tenant=key.tenant(...))"
)


class TenantConflict(TenantError):
    """Two different tenants are set for one transaction."""

    cure = "use one session for each tenant, and leave the argument out where the session is bound"


class TokenRejected(TenantError):
    """The tenant's token was not accepted: forged, expired, or signed with a key that the database does not know."""


class QuotaExceeded(JobForgeError):
    """The tenant has as many waiting jobs as its quota allows. Nothing was enqueued; worth showing to its users."""

    cure = "wait until some have run; or an administrator raises it: Tenants(session).limit(TENANT, max_waiting=N)"


class WrongIsolation(JobForgeError):
    """Claims and rescues run at READ COMMITTED only."""


class LeaseLost(JobForgeError):
    """The run's lease is gone: another worker may run the job. Nothing of this run counts any more."""


class NoResult(JobForgeError):
    """The job that was waited for ended without a result."""


class JobDead(NoResult):
    """The job failed for good.

    Attributes:
        error: What is on record of its last attempt: type, message, perhaps a traceback; empty, if nothing is.
    """

    def __init__(self, message: str, error: dict[str, str]) -> None:
        super().__init__(message, cure="jobforge jobs show tells all its attempts; jobforge jobs retry brings it back")
        self.error = error


class JobCanceled(NoResult):
    """The job was canceled."""


class ResultTimeout(JobForgeError, TimeoutError):
    """The job has not ended within the time that was given. It goes on."""


class InvalidResult(JobForgeError, ValueError):
    """The result that was kept is not what the task's annotation says (any more)."""


class JobNotFound(JobForgeError, LookupError):
    """There is no such job, or it is another tenant's: the two look the same."""


class WrongState(JobForgeError):
    """The job's state does not allow what was asked."""


class ArtifactTooLarge(JobForgeError):
    """An artifact has more bytes than the database takes. Nothing was stored."""


class ArtifactNotStored(JobForgeError):
    """The place where artifacts go did not take one, for now: a full disk, a bucket that cannot be reached."""


class ArtifactNotFound(JobForgeError, LookupError):
    """There is no such artifact, or it is another tenant's: the two look the same."""


class SecretUnavailable(JobForgeError, LookupError):
    """A secret that a built-in handler needs is not there, or cannot be opened, at the moment."""


class RowHasJobs(JobForgeError):
    """A row that is to be deleted has jobs that have not ended, and its class refuses that."""


class SchemaMismatch(JobForgeError):
    """The database's schema is missing, or older or newer than this code can work with."""


class AccessDenied(JobForgeError, PermissionError):
    """The connection's role lacks a right. The cure is the GRANT.

    Attributes:
        role: The role of jobforge's that is missing, where it is one of these.
    """

    role: str = ""


class RowSecurityOff(JobForgeError):
    """The login is a superuser or has BYPASSRLS: Postgres applies no policy to it."""

    cure = (
        "connect as a login of the application's own: create role myapp login; grant jobforge_app to myapp; "
        "jobforge's functions and mapped classes keep to the tenant all the same, other queries do not"
    )


class ServerUnavailable(JobForgeError, ConnectionError):
    """The database cannot be reached."""


class Blocked(JobForgeError, ValueError):
    """A request that must not leave, and never will: by its URL, the address behind its name, a header. Final."""


class Unreachable(JobForgeError, ConnectionError):
    """A request got no answer: its name leads nowhere, nobody listens, TLS fails, the connection broke.

    Attributes:
        sent: Whether a byte of the request may have left. False: the other side has seen nothing of it.
    """

    def __init__(self, message: str, *, sent: bool, cure: str | None = None) -> None:
        super().__init__(message, cure=cure)
        self.sent = sent


class RequestTimedOut(Unreachable, TimeoutError):
    """A request had no whole answer within its time."""


class BadAnswer(Unreachable):
    """What came for a request is no answer: no HTTP, broken off, or a flood."""


class WebhookRejected(JobForgeError, ValueError):
    """What came is no webhook of the sender's: a header is missing or cannot be read. Answer 400, do nothing of it."""


class SignatureWrong(WebhookRejected):
    """None of the receiver's secrets made the signature: forged, changed on its way, or signed with another secret."""

    cure = (
        "verify the body as the bytes that came, before anything parses them; and hold the sender's secret, "
        "both of them while it is changed"
    )


class TimestampWrong(WebhookRejected):
    """The webhook is too old, or of the future: kept and sent again, or one of the two clocks is wrong."""

    cure = "set the receiver's clock (NTP); a tolerance above five minutes lets old webhooks in again"


class WebhookReplayed(WebhookRejected):
    """The webhook came before, byte for byte as signed. Answer 200: whoever sent it has nothing to repeat."""


class ReadOnly(JobForgeError, TypeError):
    """The mapped classes are for reading: only the functions change jobs."""


class JobsDroppedWarning(UserWarning):
    """A session was closed while jobs waited in it for a flush: they were never enqueued."""

    def __init__(self, names: list[str]) -> None:
        shown = ", ".join(sorted(set(names))[:5])
        said = f"a session was closed before its jobs were flushed, and they are gone: {len(names)} ({shown})"
        cure = "commit, or flush, before the session is closed; or roll back, to say that it is meant"
        super().__init__(_told(type(self), said, cure))


class SecurityWarning(UserWarning):
    """The set-up is weaker than it looks."""

    def __init__(self, message: str, cure: str) -> None:
        super().__init__(_told(type(self), message, cure))


class RowSecurityOffWarning(SecurityWarning):
    """The login is bound by no policy. An error with `strict_rls=True`."""

    def __init__(self, message: str) -> None:
        super().__init__(message, RowSecurityOff.cure)


class TokensUncheckedWarning(SecurityWarning):
    """The application signs its tenants, and the database does not look at the tokens."""

    def __init__(self) -> None:
        super().__init__(
            "this database does not check the tokens of tenants: its tenancy is plain",
            "once all applications sign, an owner runs: jobforge tenancy signed",
        )


class TokensVisibleWarning(SecurityWarning):
    """The application signs its tenants, and its driver writes values into the text of statements."""

    def __init__(self) -> None:
        super().__init__(
            "psycopg2 writes values into the text of statements, and sessions of one login see each other's in "
            "pg_stat_activity: a tenant's token can be read there by SQL that another one injects",
            "connect with psycopg or asyncpg, which send values apart: postgresql+psycopg://",
        )


class PoolNotSealedWarning(SecurityWarning):
    """The application signs its tenants, and what one leaves on a connection meets the next one."""

    def __init__(self) -> None:
        super().__init__(
            "tenants are signed, and this engine's connections go from one to the next as they are: SQL that was "
            "injected for one can wait there, and read the next tenant's token",
            "jobforge_sa.seal(engine), right behind create_engine",
        )


class PreparedBehindPoolerWarning(SecurityWarning):
    """Statements are prepared through a pooler: in transaction mode another client's may run in place of one."""

    def __init__(self) -> None:
        super().__init__(
            "a pooler stands between this engine and Postgres, and psycopg prepares statements: in transaction mode "
            "another client's statement may run in place of one of this application's, its tenant set by that",
            "create_engine(url, connect_args={'prepare_threshold': None})",
        )


BY_SQLSTATE: dict[str, type[JobForgeError]] = {
    "JF001": TenantRequired,
    "JF002": TenantConflict,
    "JF003": InvalidJob,
    "JF004": InvalidPayload,
    "JF005": WrongIsolation,
    "JF006": TokenRejected,
    "JF007": QuotaExceeded,
    "JF008": WrongState,
    "JF009": ArtifactTooLarge,
}
