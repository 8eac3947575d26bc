"""Jobs by what they have in common, for `await`."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from jobforge_sa.enqueue.matching import BATCH, Matching
from jobforge_sa.types import Batch


class AsyncMatching:
    """`Matching` for `await`: `AsyncJobs.matching`."""

    def __init__(self, session: AsyncSession | AsyncConnection, matching: Callable[[Any], Matching]) -> None:
        self._session = session
        self._matching = matching

    async def cancel(self, *, cursor: uuid.UUID | None = None, limit: int = BATCH, dry_run: bool = False) -> Batch:
        """See `Matching.cancel`."""
        return await self._run(lambda these: these.cancel(cursor=cursor, limit=limit, dry_run=dry_run))

    async def retry(
        self, *, error: str | None = None, cursor: uuid.UUID | None = None, limit: int = BATCH, dry_run: bool = False
    ) -> Batch:
        """See `Matching.retry`."""
        return await self._run(lambda these: these.retry(error=error, cursor=cursor, limit=limit, dry_run=dry_run))

    async def reschedule(
        self, *, run_at: dt.datetime | None = None, delay: dt.timedelta | None = None,
        cursor: uuid.UUID | None = None, limit: int = BATCH, dry_run: bool = False,
    ) -> Batch:  # fmt: skip
        """See `Matching.reschedule`."""
        return await self._run(
            lambda these: these.reschedule(run_at=run_at, delay=delay, cursor=cursor, limit=limit, dry_run=dry_run)
        )

    async def _run(self, call: Callable[[Matching], Batch]) -> Batch:
        return await self._session.run_sync(lambda sync: call(self._matching(sync)))
