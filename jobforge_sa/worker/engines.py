"""The engines of the handlers' sessions: looked at before the start, kept clean, sealed when tenants are signed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from jobforge_sa.db import pooler
from jobforge_sa.db.seal import seal
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.worker import backend

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

GOODBYE = 1.5  # seconds for an async pool's connections to say goodbye


class SessionEngines:
    """Where handlers' sessions connect.

    They are sealed as soon as a job comes with a token of its tenant: from then on SQL that was injected into one
    tenant's handler must not wait on a connection for the next one's. The engine that the application gave the worker
    for itself stays as it is: it has other users, who would pay.

    Args:
        engine: Of plain handlers.
        given: Of async handlers; None: made from the other one's URL when the first of them asks.
        ours: Whether `engine` may be sealed.
        slots: How many async handlers may run at once.
    """

    def __init__(self, engine: Engine, given: AsyncEngine | None, *, ours: bool, slots: int) -> None:
        self.engine = engine
        self._given = self._async = given
        self._ours = ours
        self._slots = slots
        self._sealed = False

    def watch(self) -> None:
        """No handler's connection goes back to its pool with what the handler has left on it."""
        backend.watch(self.engine)
        if self._given is not None:
            backend.watch(self._given.sync_engine)

    def seal(self) -> None:
        """Tenants are signed."""
        if self._sealed:
            return
        self._sealed = True
        if self._ours:
            seal(self.engine)
        if self._async is not None:
            seal(self._async)

    def make_async(self) -> AsyncEngine:
        """The engine of async handlers.

        Raises:
            ConfigurationError: greenlet is missing.
        """
        if self._async is None:
            try:
                from sqlalchemy.ext.asyncio import create_async_engine
            except ImportError as error:
                raise ConfigurationError(
                    "async handlers' sessions need greenlet", cure="pip install 'jobforge_sa[async]'"
                ) from error
            url = self.engine.url.set(drivername="postgresql+psycopg")
            made = create_async_engine(url, pool_size=self._slots)
            pooler.tame(made.sync_engine)
            backend.watch(made.sync_engine)
            if self._sealed:
                seal(made)
            self._async = made
        return self._async

    def forget(self) -> None:
        """This process was forked: the connections are its parent's, those of async handlers too."""
        others = () if self._async is None else (self._async.sync_engine,)
        for engine in (self.engine, *others):
            engine.dispose(close=False)
        self._async = self._given

    async def close_async(self) -> None:
        """Close the connections of async handlers' sessions."""
        if self._async is not None:
            with suppress(TimeoutError):  # asyncpg waits for the server's goodbye
                async with asyncio.timeout(GOODBYE):
                    await self._async.dispose()
            self._async = self._given
