"""What a test gives: its session, a scope of sessions, or a connection."""

from __future__ import annotations

from typing import Any, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.orm import Session, scoped_session

from jobforge_sa.errors import ConfigurationError

Given: TypeAlias = Session | scoped_session[Any] | Connection


def session_of(given: Given) -> Session | None:
    """The session; None for a connection.

    Raises:
        ConfigurationError: it is neither, such as an `AsyncSession`.
    """
    if isinstance(given, Connection):
        return None
    session = given() if isinstance(given, scoped_session) else given
    if isinstance(session, Session):
        return session
    raise ConfigurationError(
        f"this takes a Session or a Connection, not {type(given).__name__}",
        cure="with an AsyncSession: await async_drain(session, forge); await session.run_sync(assert_enqueued, task)",
    )


def connection_of(given: Given) -> Connection:
    """The connection of the test's transaction. What the session holds back is not flushed for it."""
    session = session_of(given)
    if session is not None:
        return session.connection()
    assert isinstance(given, Connection)
    return given
