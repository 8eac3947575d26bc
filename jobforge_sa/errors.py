"""Every error of the library, and the table from the SQL contract's codes to its classes.

The tree::

    JobForgeError
    ├── ConfigurationError      an option or an argument that cannot work
    ├── InvalidJob              JF003  a job that must not be stored: its options
    │   └── InvalidPayload      JF004  ... its payload
    ├── TenantError
    │   ├── TenantRequired      JF001  no tenant is set
    │   └── TenantConflict      JF002  two different tenants are set
    ├── WrongIsolation          JF005  this call runs at READ COMMITTED only
    ├── LeaseLost                      the run belongs to somebody else by now
    ├── JobNotFound                    no such job, or another tenant's
    ├── WrongState              JF008  the job's state does not allow that
    ├── SchemaMismatch                 the database's schema and this code do not fit
    ├── AccessDenied            42501  the role lacks a right; names the GRANT
    ├── ServerUnavailable              no connection
    └── ReadOnly                       the mapped classes are for reading
"""

from __future__ import annotations


class JobForgeError(Exception):
    """Something that jobforge_sa refuses or cannot do. `message` says what, `cure` what to do about it."""

    cure: str = ""

    def __init__(self, message: str, *, cure: str | None = None) -> None:
        if cure is not None:
            self.cure = cure
        self.message = message
        super().__init__(f"{message}\n  cure: {self.cure}" if self.cure else message)


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
        "name it: Jobs(session, tenant=...); or once for the session: bind_tenant(session, ...); "
        "or, with a single tenant, once for all: JobForge(tenant=...)"
    )


class TenantConflict(TenantError):
    """Two different tenants are set for one transaction."""

    cure = "use one session for each tenant, and leave the argument out where the session is bound"


class WrongIsolation(JobForgeError):
    """Claims and rescues run at READ COMMITTED only."""


class LeaseLost(JobForgeError):
    """The run's lease is gone: another worker may run the job. Nothing of this run counts any more."""


class JobNotFound(JobForgeError, LookupError):
    """There is no such job, or it is another tenant's: the two look the same."""


class WrongState(JobForgeError):
    """The job's state does not allow what was asked."""


class SchemaMismatch(JobForgeError):
    """The database's schema is missing, or older or newer than this code can work with."""


class AccessDenied(JobForgeError, PermissionError):
    """The connection's role lacks a right. The cure is the GRANT."""


class ServerUnavailable(JobForgeError, ConnectionError):
    """The database cannot be reached."""


class ReadOnly(JobForgeError, TypeError):
    """The mapped classes are for reading: only the functions change jobs."""


BY_SQLSTATE: dict[str, type[JobForgeError]] = {
    "JF001": TenantRequired,
    "JF002": TenantConflict,
    "JF003": InvalidJob,
    "JF004": InvalidPayload,
    "JF005": WrongIsolation,
    "JF008": WrongState,
}
