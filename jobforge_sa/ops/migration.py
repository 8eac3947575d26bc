"""A migration as a command: moved from where to where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine

from jobforge_sa.db import migrate
from jobforge_sa.db.url import shown
from jobforge_sa.errors import ConfigurationError, JobForgeError, SchemaMismatch
from jobforge_sa.ops import database


@dataclass(frozen=True, slots=True)
class Move:
    """What a migration did."""

    place: str
    before: str
    after: str
    asked: str

    def record(self) -> dict[str, object]:
        """A line of JSON."""
        return {"database": self.place, "before": self.before, "after": self.after, "head": migrate.head()}

    def __str__(self) -> str:
        head = migrate.head()
        named = f"{self.after} (head)" if self.after == head else self.after
        if self.before == self.after:
            said = f"{self.place}: schema jobforge is at {named} already"
            if self.asked not in ("head", self.after) and self.asked < self.after:
                said += f"; to go back: jobforge migrate --down {self.asked}"
            return said
        said = f"{self.place}: schema jobforge {self.before} -> {named}"
        return said if self.after != "base" else f"{said}; its roles stay, for they belong to the whole cluster"


def move(target: Engine, revision: str, *, down: bool = False) -> Move:
    """Bring the schema up, or down, to a revision, and tell what was done.

    Raises:
        ConfigurationError: there is no such revision. SchemaMismatch: the schema is newer than this release.
        ServerUnavailable, AccessDenied: the database does not let us.
    """
    with database.translated(target, "jobforge_owner"), _commanded():
        before = migrate.current(target) or "base"
        if before != "base" and before > migrate.head():
            raise SchemaMismatch(
                f"the schema jobforge is at revision {before}, this release knows {migrate.head()} at most",
                cure="upgrade the package: pip install -U jobforge_sa",
            )
        (migrate.downgrade if down else migrate.upgrade)(target, revision)
        after = migrate.current(target) or "base"
    return Move(shown(target.url), before, after, revision)


def script(revision: str) -> str:
    """The SQL that brings an empty database to a revision.

    Raises:
        ConfigurationError: there is no such revision.
    """
    with _commanded():
        return migrate.render(revision)


@contextmanager
def _commanded() -> Iterator[None]:
    """Alembic's refusals, and those of our bootstrap, whose hint is the cure."""
    try:
        yield
    except Exception as error:
        # known by its module: Alembic itself is imported below jobforge_sa.db only, and late
        if type(error).__module__.partition(".")[0] != "alembic":
            raise
        said = getattr(error.__cause__, "orig", None) or error.__cause__
        diag = getattr(said, "diag", None)
        if diag is not None and diag.message_primary:
            message = str(diag.message_primary).removeprefix("jobforge: ")
            raise JobForgeError(message, cure=diag.message_hint) from error
        raise ConfigurationError(str(error), cure=f"revisions go from base to {migrate.head()} (head)") from error
