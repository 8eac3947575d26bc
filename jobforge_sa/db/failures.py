"""The database's errors in the library's words, with the cure."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from sqlalchemy import URL

from jobforge_sa import errors
from jobforge_sa.db.contract import HEAD
from jobforge_sa.db.url import shown

AWAY = ("08", "57P", "53300")  # SQLSTATEs that begin so, or none at all: there is no way to the server
REPEATABLE = frozenset({"40001", "40P01"})  # serialization failure, deadlock: undone, and nothing else was wrong
_MIGRATE = "run: jobforge migrate   (or: alembic upgrade head)"


def sqlstate(error: BaseException) -> str | None:
    """The five characters, whichever driver raised it; None for what is not a database's error."""
    cause: Any = getattr(error, "orig", None) or error
    for name in ("sqlstate", "pgcode"):
        code = getattr(cause, name, None)
        if code:
            return str(code)
    return None


def is_away(error: BaseException) -> bool:
    """Whether it says that there is no way to the server, of an error that a driver raised."""
    state = sqlstate(error)
    return state is None or state.startswith(AWAY)


def _said(error: BaseException) -> tuple[str, str | None]:
    """The server's message and hint."""
    cause: Any = getattr(error, "orig", None) or error
    cause = cause.__cause__ if cause.__cause__ is not None and not hasattr(cause, "diag") else cause
    diag = getattr(cause, "diag", cause)
    message = getattr(diag, "message_primary", None) or getattr(cause, "message", None) or str(cause).strip()
    hint = getattr(diag, "message_hint", None) or getattr(cause, "hint", None)
    return str(message).removeprefix("jobforge: "), hint


def translate(
    error: BaseException, *, role: str, login: str | None = None, roles: Collection[str] = ()
) -> errors.JobForgeError | None:
    """The error to raise instead, or None where the database's own says it best.

    Args:
        error: What SQLAlchemy or a driver raised.
        role: The role that the failing call needs, such as "jobforge_app".
        login: The login that lacks it, if known.
        roles: Those of jobforge's that the login has, if known.
    """
    state = sqlstate(error)
    message, hint = _said(error)
    if state is None:
        return None
    if state in errors.BY_SQLSTATE:
        kind = errors.BY_SQLSTATE[state]
        signed = state == "JF001" and hint is not None and "signed" in hint
        return kind(_in_python(message), cure=errors.SIGN if signed else kind.cure or _in_python(hint or ""))
    if state in ("3F000", "42883", "42P01", "42703"):  # no schema, no such function, table, column
        return errors.SchemaMismatch(
            f"the database has no schema jobforge, or an older one than this code needs ({HEAD}): {message}",
            cure=_MIGRATE,
        )
    if state == "42501":
        denied = _denied(message, role, f'"{login}"' if login else "the login of this connection", roles)
        denied.role = role
        return denied
    if state in ("22P05", "22P02", "22003", "54001", "54000", "22021", "22023"):
        return errors.InvalidJob(
            f"Postgres cannot store this: {message}",
            cure="leave out NUL characters, half surrogate pairs, NaN, numbers out of range; nothing was enqueued",
        )
    return None


def _in_python(said: str) -> str:
    """What SQL says of its arguments, said of ours: they have the same names without p_. What is quoted is a value."""
    return re.sub(r"(?<![\w'])p_(?=[a-z])", "", said)


def _denied(message: str, role: str, login: str, roles: Collection[str]) -> errors.AccessDenied:
    """A schema is closed to who has no role of ours, and where its right was given to single logins to others too."""
    entry = f"grant usage on schema jobforge to {login};"
    if not re.search(r"\bschema\W+jobforge\b", message):
        return errors.AccessDenied(f"{message}: {role} is missing", cure=remedy(role, login, roles))
    if role in roles:
        return errors.AccessDenied(f"{message}: {role} alone does not open it here", cure=f"a DBA runs: {entry}")
    missing = f"{message}: {role} is missing"
    if roles:
        return errors.AccessDenied(missing, cure=remedy(role, login, roles))
    cure = f"{remedy(role, login)} Or, if it has {role} already: {entry}"
    return errors.AccessDenied(f"{missing}, or opens it no longer", cure=cure)


def remedy(role: str, login: str, roles: Collection[str] = ()) -> str:
    """How a login comes by a role; all but jobforge_app are for logins that are not the application's.

    Args:
        role: The role that is missing.
        login: Who lacks it.
        roles: Those of jobforge's that it has, if known.
    """
    others = sorted({"jobforge_worker", "jobforge_admin"}.intersection(roles))
    if role == "jobforge_app" and others:  # granted to such a login, it would make one of both: see shared_login
        return f"connect as a login of the application; {login} is one of {' and '.join(others)}, and should stay that"
    if role == "jobforge_app":
        return f"a DBA runs: grant {role} to {login};"
    made = f"create role ... login; grant {role} to ...;"
    return f"connect as a login of {role} that the application does not use; a DBA makes one: {made}"


def unreachable(url: URL, said: object) -> errors.ServerUnavailable:
    """No connection to the database at a URL; `said` is what the driver says."""
    return errors.ServerUnavailable(
        f"no connection to {shown(url)}: {said}",
        cure="start the server, or correct host, port, database, user and password in the URL",
    )


def mismatch(revision: str | None, serves: str | None) -> errors.SchemaMismatch | None:
    """Whether a schema at `revision`, serving code from `serves` on, fits this code."""
    if revision is None or revision < HEAD:
        return errors.SchemaMismatch(
            f"the schema jobforge is at revision {revision or 'base'}, this code needs {HEAD}", cure=_MIGRATE
        )
    if serves is not None and serves > HEAD:
        return errors.SchemaMismatch(
            f"the schema jobforge is at revision {revision} and no longer serves code of {HEAD}",
            cure="upgrade the package: pip install -U jobforge_sa",
        )
    return None
