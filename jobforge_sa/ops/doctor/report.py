"""Look for what is wrong, or weaker than it should be: in the server, the schema, the roles, the work.

Each check is one query in `checks/`, named after the fault that it finds; those about the server stand in
`checks/server/`, those about who is connected, and to what, in `checks/connection/`, those about all logins in
`checks/logins/`, those about the application's own tables in `checks/application/`, those that hold where tenancy is
signed in `checks/signed/`. They read the catalog only, so that any login may run them. How the work goes,
`checks/work/`, is asked as an administrator, where the login may; so is the auditor. `doctor_drift` finds what no check
knows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, DateTime, Engine, column, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from jobforge_sa.db import calls, failures, pooler, role
from jobforge_sa.errors import SchemaMismatch
from jobforge_sa.ops import database, times
from jobforge_sa.ops.doctor import drift as doctor_drift
from jobforge_sa.ops.reader import SNAPSHOT, become_admin
from jobforge_sa.ops.tenants import tenancy

_HERE = Path(__file__).parent
_MANY = 20  # jobs that the auditor complains of; the rest is of the same kind
_OLD = dt.timedelta(days=365)  # for a key of tenancy
_PATIENCE = "60s"  # for one statement: the auditor reads all jobs
_BRIEFLY = "200ms"  # for one lock: who stands in line behind a migration would never tell that it waits
# a hot table that was empty at its last ANALYZE is taken for tiny; the work is looked at by index all the same
_BY_INDEX = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit")
_SKEW = dt.timedelta(seconds=5)
_NAMING = "how tenants are named, and what signed tenancy needs"
_ENTERS = "jobforge_app, with the right to use the schema,"
_AUDITED = "whether each job stands in exactly one place"
_AUDIT_BY_HAND = "call the function audit of the schema jobforge by hand, at a quieter hour"
_GROUPS = ("server", "connection", "logins", "", "application", "signed")
_WORK = "how the work goes: queues without workers, late jobs, leases that nobody takes back"
_DRIFT = (
    "This is not what the revision made, which was reviewed and tested. A replaced body or a policy that says something"
    " else looks like ours and keeps nobody apart; a lost index makes the queue slow, or takes a job twice."
)


class Level(StrEnum):
    """How bad it is; the worst comes first."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"
    UNSEEN = "unseen"  # no fault: something that this login cannot look at


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: where, what, and the SQL or the command that cures it."""

    name: str
    level: Level
    object: str
    detail: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Check:
    """A query that gives one row for each fault."""

    name: str
    why: str
    query: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Who looked, and at what."""

    database: str
    login: str
    superuser: bool
    server: str
    roles: tuple[str, ...]
    revision: str | None
    tenancy: str | None  # None: this login may not ask


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found, the worst first."""

    subject: Subject
    findings: tuple[Finding, ...]

    def of(self, level: Level) -> list[Finding]:
        """The findings of one level."""
        return [finding for finding in self.findings if finding.level == level]

    def status(self, *, strict: bool = False) -> int:
        """The command's exit status: 1 where something is wrong, or, if it is strict, merely weak."""
        return 1 if self.of(Level.ERROR) or (strict and self.of(Level.WARNING)) else 0


@cache
def checks(group: str = "") -> tuple[Check, ...]:
    """The checks of the schema, or those of a group, which is a folder."""
    return tuple(_read(file) for file in sorted((_HERE / "checks" / group).glob("*.sql")))


def run(connection: Connection, check: Check, *, signed: bool = False) -> list[Finding]:
    """Ask for the faults of one kind. The search_path must be `pg_catalog, pg_temp`: names are shown by it.

    A level of "warning/error" is the first where tenancy is plain, and the second where it is signed.
    """
    rows = connection.exec_driver_sql(check.query, execution_options={"no_parameters": True})
    which = -1 if signed else 0
    return [
        Finding(check.name, Level(level.split("/")[which]), where, detail, remedy)
        for level, where, detail, remedy in rows
    ]


def pin(connection: Connection) -> None:
    """Set the search_path that the checks need, for this transaction; nobody else's functions are met on it."""
    _set(connection, "search_path", "pg_catalog, pg_temp")


def why(name: str) -> str:
    """What the fault allows, or nothing for one that is found by no check."""
    known = {check.name: check.why for group in (*_GROUPS, "work") for check in checks(group)}
    return (known | {"drift": _DRIFT}).get(name, "")


def examine(target: Engine) -> Report:
    """Run all checks in one transaction, which cannot write.

    Raises:
        ServerUnavailable: there is no database. SchemaMismatch: there is no schema jobforge in it.
    """
    with database.translated(target, "jobforge_app"), Session(target.execution_options(**SNAPSHOT)) as session:
        connection = session.connection()
        pin(connection)
        _set(connection, "lock_timeout", _BRIEFLY)
        asked = connection.exec_driver_sql(_read(_HERE / "doctor.sql").query).mappings().one()
        if not asked["migrated"]:
            raise failures.mismatch(None, None) or SchemaMismatch("there is no schema jobforge")
        revision, tenants, found = _revision(connection, asked["login"])
        signed = tenants == "signed"
        for group in _GROUPS:
            if group != "signed" or signed:
                found += [one for check in checks(group) for one in _tried(connection, check, signed=signed)]
        found += _drift(connection, revision)
        if tenants is None:
            found.append(_unseen("tenancy", _NAMING, _ENTERS))
        if not asked["sees_sessions"]:
            found.append(_unseen("old_snapshot", "sessions of other logins", "pg_read_all_stats"))
        found += _pooled(connection)
        found += _old_key(connection)
        found += _skew(connection)
        if "jobforge_admin" not in asked["roles"]:
            found += [_unseen("work", _WORK, "jobforge_admin"), _unseen("audit", _AUDITED, "jobforge_admin")]
        elif revision is not None:
            found += _as_admin(session)
    found.sort(key=lambda one: (list(Level).index(one.level), one.name, one.object))
    return Report(_subject(asked, revision, tenants), tuple(found))


def _read(file: Path) -> Check:
    """The comment at the top of a file says what its fault allows."""
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    top = next(number for number, line in enumerate(lines) if not line.startswith("-- "))
    return Check(file.stem, " ".join(line.removeprefix("-- ") for line in lines[:top]), text)


def _subject(asked: Mapping[Any, Any], revision: str | None, tenants: str | None) -> Subject:
    return Subject(
        database=asked["database"],
        login=asked["login"],
        superuser=asked["superuser"],
        server=asked["server"],
        roles=tuple(asked["roles"]),
        revision=revision,
        tenancy=tenants,
    )


def _tried(connection: Connection, check: Check, *, signed: bool) -> list[Finding]:
    """Run a check; where the database refuses, say so, and let the others go on."""
    try:
        with connection.begin_nested():
            return run(connection, check, signed=signed)
    except DBAPIError as error:
        return [Finding(check.name, Level.UNSEEN, f"the check {check.name}", _said(error), "")]


def _revision(connection: Connection, login: str) -> tuple[str | None, str | None, list[Finding]]:
    """The schema's revision, its tenancy, and whether it fits this code."""
    try:
        with connection.begin_nested():
            revision, serves, tenants, *_ = connection.execute(calls.SCHEMA_VERSION).one()
    except DBAPIError as error:
        better = failures.translate(error, role="jobforge_app", login=login, roles=role.held(connection))
        level = Level.ERROR if isinstance(better, SchemaMismatch) else Level.UNSEEN
        message, cure = (better.message, better.cure) if better is not None else (_said(error), "")
        return None, None, [Finding("schema_version", level, "schema jobforge", message, cure)]
    mismatch = failures.mismatch(revision, serves)
    if mismatch is None:
        return revision, tenants, []
    finding = Finding("schema_version", Level.ERROR, "schema jobforge", mismatch.message, mismatch.cure)
    return revision, tenants, [finding]


def _drift(connection: Connection, revision: str | None) -> list[Finding]:
    """What differs from what the revision made; where that is not told, from the one that it is most like."""
    try:
        with connection.begin_nested():
            known = revision or doctor_drift.closest(connection)
            found = doctor_drift.find(connection, known)
    except DBAPIError as error:
        return [Finding("drift", Level.UNSEEN, "the catalog", _said(error), "")]
    if found is None:
        return [Finding("drift", Level.UNSEEN, "the schema", f"what revision {known} makes is not known here", "")]
    return [Finding("drift", Level(one.level), one.where, one.detail, one.cure) for one in found]


def _old_key(connection: Connection) -> list[Finding]:
    """Look for a signing key that should be rotated, as the owner, where the login may."""
    before = role.current(connection)
    try:
        with connection.begin_nested():
            if not role.become(connection, "jobforge_owner"):
                return []
            found = tenancy.read(connection)
            role.restore(connection, before)
    except DBAPIError as error:
        return [Finding("old_tenant_key", Level.UNSEEN, "the keys of tenancy", _said(error), "")]
    return [
        Finding(
            "old_tenant_key",
            Level.NOTE,
            f"key {key.key_id}",
            f"it signs since {times.second(key.created_at)}, and whoever has copied it since can name any tenant",
            "jobforge tenancy add-key",
        )
        for key in found.keys or ()
        if key.signs and found.now - key.created_at > _OLD
    ]


def _as_admin(session: Session) -> list[Finding]:
    """Look at the work and ask the auditor, as the admin; for no longer than an operator waits."""
    become_admin(session)
    connection = session.connection()
    _set(connection, "statement_timeout", _PATIENCE)
    for setting in _BY_INDEX:
        _set(connection, setting, "off")
    found = [one for check in checks("work") for one in _tried(connection, check, signed=False)]
    for setting in _BY_INDEX:  # the auditor reads everything
        _set(connection, setting, "on")
    return found + _audit(session)


def _set(connection: Connection, name: str, value: str) -> None:
    connection.execute(select(func.pg_catalog.set_config(name, value, True)))


def _pooled(connection: Connection) -> list[Finding]:
    """Look whether a pooler stands between. From here its session mode looks as its transaction mode does."""
    backend_pid = connection.execute(select(func.pg_backend_pid())).scalar_one()
    if not pooler.stands_between(connection.connection.driver_connection, backend_pid):
        return []
    detail = (
        "it leads through a pooler, such as pgbouncer or Supavisor: a worker here does without LISTEN, and finds jobs"
        " by polling, within a second; in transaction mode nothing may be prepared (prepare_threshold=None)"
    )
    remedy = "jobforge worker MODULE:FORGE --url postgresql://SERVER/DATABASE  # the server's own address"
    return [Finding("pooler", Level.NOTE, "this connection", detail, remedy)]


def _skew(connection: Connection) -> list[Finding]:
    """Compare this machine's clock with the database's, which alone decides."""
    before = dt.datetime.now(dt.UTC)
    theirs = connection.execute(select(func.clock_timestamp(type_=DateTime(timezone=True)))).scalar_one()
    after = dt.datetime.now(dt.UTC)
    skew = theirs - before if theirs < before else max(theirs - after, dt.timedelta(0))
    if abs(skew) < _SKEW:
        return []
    ahead = "behind" if skew > dt.timedelta(0) else "ahead of"
    detail = (
        f"it is {times.span(abs(skew))} {ahead} the database's; tokens of signed tenancy end by it, jobs do not mind"
    )
    return [
        Finding("clock_skew", Level.NOTE, "the clock of this machine", detail, "keep it by NTP: timedatectl status")
    ]


def _audit(session: Session) -> list[Finding]:
    """Ask the auditor."""
    faults = func.jobforge.audit().table_valued(column("job_id"), column("fault"))
    try:
        with session.begin_nested():
            rows = session.execute(select(faults).limit(_MANY)).all()
    except DBAPIError as error:
        late = failures.sqlstate(error) == "57014"
        said = f"the auditor reads all jobs, and had no time: {_PATIENCE}; {_AUDIT_BY_HAND}" if late else _said(error)
        return [Finding("audit", Level.UNSEEN, _AUDITED, said, "")]
    return [
        Finding("audit", Level.ERROR, f"job {job_id}", fault, f"jobforge jobs show {job_id}") for job_id, fault in rows
    ]


def _unseen(name: str, what: str, role: str) -> Finding:
    return Finding(name, Level.UNSEEN, what, f"a login that is a member of {role} can", "jobforge doctor --url URL")


def _said(error: DBAPIError) -> str:
    return str(error.orig).partition("\n")[0]
