"""What an administrator calls, through a session or connection of his: under his role, with our errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, scoped_session

from jobforge_sa.db import calls, failures, role
from jobforge_sa.errors import ConfigurationError, InvalidJob


class AdminCalls:
    """Calls as jobforge_admin where the login may, in the caller's own transaction; leaves its role as it was.

    Raises:
        ConfigurationError: it is no session or connection.
    """

    def __init__(self, session: Session | scoped_session[Any] | Connection) -> None:
        self._given = session
        name = type(self).__name__
        if not isinstance(self._session, Session | Connection):
            raise ConfigurationError(
                f"{name} takes a Session or a Connection, not {type(session).__name__}",
                cure=f"for an AsyncSession: await session.run_sync(lambda sync: {name}(sync)...)",
            )

    @property
    def _session(self) -> Session | Connection:
        """The caller's; of a scope the one that it has now, in this thread."""
        return self._given() if isinstance(self._given, scoped_session) else self._given

    def _rows(self, call: calls.Call, **values: object) -> Sequence[Any]:
        with self._translated() as connection:
            return connection.execute(call.statement(None), call.values(None, **values)).all()

    @contextmanager
    def _translated(self) -> Iterator[Connection]:
        """The connection, acting as jobforge_admin; an error leaves the role to the rollback."""
        connection = self._session.connection() if isinstance(self._session, Session) else self._session
        before = role.current(connection)
        became = role.become(connection, "jobforge_admin")
        try:
            yield connection
        except DBAPIError as error:
            better = failures.translate(error, role="jobforge_admin", login=connection.engine.url.username)
            if better is None:
                raise
            if isinstance(better, InvalidJob):  # it is no job that is wrong here
                better = ConfigurationError(better.message, cure=better.cure)
            raise better from error
        if became:
            role.restore(connection, before)
