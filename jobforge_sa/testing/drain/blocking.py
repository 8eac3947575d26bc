"""An `AsyncSession` on a connection that blocks: for async handlers that a plain test drains."""

from __future__ import annotations

from typing import Any, NoReturn

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.util import greenlet_spawn

from jobforge_sa.errors import ConfigurationError


class BlockingAsyncSession(AsyncSession):
    """Waits for nothing: each `await` has its answer at once. What needs an async driver is refused."""

    async def execute(self, *arguments: Any, **options: Any) -> Any:
        """As `AsyncSession.execute`, which would close the cursor the async way."""
        return await greenlet_spawn(self.sync_session.execute, *arguments, **options)

    async def stream(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: only an async driver streams to an async handler."""
        raise ConfigurationError(
            "this async handler streams, and the test's connection is no async one",
            cure="await async_drain(session, forge), with an AsyncSession",
        )
