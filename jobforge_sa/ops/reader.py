"""A transaction that only reads: the jobs of one tenant, or with the admin's rights those of all."""

from __future__ import annotations

import datetime as dt
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from sqlalchemy import Connection, DateTime, Engine, Select, func, select
from sqlalchemy.orm import Session

from jobforge_sa.db import calls, role
from jobforge_sa.db import tenant as settings
from jobforge_sa.enqueue import fit
from jobforge_sa.enqueue.answers import translated
from jobforge_sa.enqueue.jobs import Jobs
from jobforge_sa.errors import JobNotFound, TenantRequired
from jobforge_sa.models import Attempt
from jobforge_sa.ops import database
from jobforge_sa.tenant import KEY_VARIABLE, Tenant, TenantKey, name_of, named
from jobforge_sa.types import JobInfo

SNAPSHOT: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class Reader:
    """What a command reads, all of it from one snapshot."""

    def __init__(self, session: Session, tenant: str | None) -> None:
        self.session = session
        self.admin = admin = become_admin(session)
        if admin and tenant is not None:
            session.execute(calls.ACT_FOR, {"tenant_id": name_of(tenant)})
        if tenant is not None and not admin and not os.environ.get(KEY_VARIABLE):
            require_plain(session)
        self._named = None if admin or tenant is None else named(proved(tenant))
        self.jobs = Jobs(session, tenant=self._named)
        self.sees_all = admin and tenant is None
        self.tenant = tenant
        self._now: dt.datetime | None = None

    @property
    def now(self) -> dt.datetime:
        """The time of the database, whose times all others are; read once the schema is known to fit."""
        if self._now is None:
            self._now = moment(self.session)
        return self._now

    def job(self, job_id: uuid.UUID) -> JobInfo:
        """One job as it is now.

        Raises:
            JobNotFound: there is none. TenantRequired: without a tenant this login sees no job at all.
        """
        try:
            return self.jobs.get(job_id)
        except JobNotFound:
            self.require_sight()
            raise

    def rows(self, call: calls.Call, **values: object) -> Sequence[Any]:
        """What a function answers that is no method of `Jobs`, under the tenant."""
        connection = self.session.connection()
        with translated(connection):
            fit.look(connection, strict=False, tenant=self._named)
            return connection.execute(call.statement(self._named), call.values(self._named, **values)).all()

    def mapped(self, query: Select[Any]) -> Sequence[Any]:
        """Rows of a mapped class, under the tenant, which a policy wants set before it shows any."""
        connection = self.session.connection()
        with translated(connection):
            fit.look(connection, strict=False, tenant=self._named)
            if self._named is not None:
                connection.execute(settings.set_tenant(self._named), settings.binds(self._named))
            return self.session.scalars(query).all()

    def attempts(self, job_id: uuid.UUID) -> Sequence[Attempt]:
        """The ended runs of a job, in their order."""
        return self.session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.run)).all()

    def require_proof(self) -> None:
        """Refuse what will be done in the name of a tenant by a session that is no administrator's.

        Raises:
            TenantRequired: tenants are signed, and the environment has no key.
        """
        if not os.environ.get(KEY_VARIABLE):
            require_plain(self.session)

    def require_sight(self) -> None:
        """Tell nothing found from nothing to be seen.

        Raises:
            TenantRequired: without a tenant this login sees no job at all.
        """
        if self.sees_all or self.tenant is not None:
            return
        if self.session.scalar(select(func.jobforge.current_tenant())) is None:
            raise TenantRequired(
                "this login sees the jobs of one tenant only, and none is named",
                cure="pass --tenant TENANT; or, to see all, a DBA grants jobforge_admin to the login",
            )


@contextmanager
def reading(target: Engine, tenant: str | None) -> Iterator[Reader]:
    """Read in one transaction, which cannot write.

    Raises:
        ServerUnavailable, SchemaMismatch, AccessDenied: the database is not ready for that.
    """
    with database.translated(target, "jobforge_app"), Session(target.execution_options(**SNAPSHOT)) as session:
        yield Reader(session, tenant)


@contextmanager
def administering(target: Engine) -> Iterator[Session]:
    """One transaction of an administrator's, of all tenants; it may write.

    Raises:
        ServerUnavailable, SchemaMismatch, AccessDenied: the database is not ready for that.
    """
    with database.translated(target, "jobforge_admin"), Session(target) as session, session.begin():
        become_admin(session)
        yield session


@contextmanager
def writing(target: Engine, tenant: str | None) -> Iterator[Reader]:
    """One transaction that may change jobs, too.

    Raises:
        What `reading` raises.
    """
    with (
        database.translated(target, "jobforge_app"),
        Session(target.execution_options(isolation_level="READ COMMITTED")) as session,
        session.begin(),
    ):
        yield Reader(session, tenant)


@contextmanager
def changing(target: Engine, tenant: str | None, job_id: uuid.UUID) -> Iterator[tuple[Jobs, JobInfo]]:
    """One transaction that changes a job: its tenant's jobs, and how it is at first. Administrators need no tenant.

    Raises:
        JobNotFound: there is none. What `reading` raises.
    """
    with writing(target, tenant) as reader:
        before = reader.job(job_id)
        if reader.sees_all:
            reader.session.execute(calls.ACT_FOR, {"tenant_id": before.tenant_id})
        yield reader.jobs, before


def require_plain(session: Session) -> None:
    """Tell nothing found from nothing to be seen: where tenants are signed, one without a token has no jobs.

    Raises:
        TenantRequired: that is the case.
    """
    row = session.execute(calls.SCHEMA_VERSION).one_or_none()
    if row is not None and row.tenancy == "signed":
        raise TenantRequired(
            f"tenants are signed here, and {KEY_VARIABLE} is not set",
            cure=f"set {KEY_VARIABLE} to a key of this database, or connect as a login of jobforge_admin",
        )


def proved(tenant: str) -> Tenant:
    """The tenant, signed where the environment has a key: the database may want a token.

    Raises:
        ConfigurationError: it is none, or the key cannot be read.
    """
    return TenantKey.from_environment().tenant(tenant) if os.environ.get(KEY_VARIABLE) else tenant


def moment(source: Session | Connection) -> dt.datetime:
    """The time by which the database decides."""
    return cast(dt.datetime, source.scalar(select(func.jobforge.now(type_=DateTime(timezone=True)))))


def become_admin(session: Session) -> bool:
    """Act as jobforge_admin where the login may: one that is in jobforge_app as well would see nothing (its wall)."""
    return role.become(session.connection(), "jobforge_admin")
