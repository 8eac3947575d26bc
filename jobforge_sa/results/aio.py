"""`AsyncResults`: as `Results`, for `await`."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from jobforge_sa.errors import ConfigurationError
from jobforge_sa.results.bell import bell_of
from jobforge_sa.results.look import OPTIONS, Waiting
from jobforge_sa.tasks import Task
from jobforge_sa.tenant import Tenant
from jobforge_sa.types import Enqueued

R = TypeVar("R")


class AsyncResults:
    """What handlers returned, through an `AsyncEngine`. See `Results`."""

    def __init__(self, engine: AsyncEngine, *, tenant: Tenant | None = None) -> None:
        if not isinstance(engine, AsyncEngine):
            raise ConfigurationError(
                f"AsyncResults takes an AsyncEngine, not {type(engine).__name__}", cure="for an Engine use Results"
            )
        self._engine = engine
        self._looks = engine.execution_options(**OPTIONS)
        self._tenant = tenant

    async def wait(self, task: Task[Any, R], job: Enqueued | uuid.UUID, *, timeout: float | None = None) -> R:
        """See `Results.wait`."""
        waiting = Waiting(task, job, self._tenant, timeout)
        loop, rung = asyncio.get_running_loop(), asyncio.Event()

        def ear() -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(rung.set)

        if (found := await self._look(waiting)) is not None:
            return found[0]
        with bell_of(self._engine).heard(ear):
            for pause in waiting.pauses():
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await rung.wait()
                rung.clear()
                if (found := await self._look(waiting)) is not None:
                    return found[0]
        raise AssertionError("the pauses end by an error")

    async def _look(self, waiting: Waiting[R]) -> tuple[R] | None:
        async with self._looks.begin() as connection:
            return await connection.run_sync(waiting.look)
