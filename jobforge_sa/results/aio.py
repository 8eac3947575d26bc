"""`AsyncResults`: as `Results`, for `await`."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from jobforge_sa.db import pooler
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.results.bell import bell_of
from jobforge_sa.results.look import LEAST, OPTIONS, Waiting
from jobforge_sa.tasks import Task
from jobforge_sa.tenant import Tenant
from jobforge_sa.types import Enqueued
from jobforge_sa.worker.link import cut

R = TypeVar("R")

SLACK = 0.1  # seconds for a look to fail when its connection was cut
_left: set[asyncio.Task[Any]] = set()  # looks that nobody waits for any more: the loop itself does not hold its tasks


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
        try:
            return await self._answer(waiting)
        except Exception as error:
            waiting.missed(error)
            return None

    async def _answer(self, waiting: Waiting[R]) -> tuple[R] | None:
        """What was found within the time that the look is given, in a task of its own: see `Glance`."""
        limit, grip = waiting.limit(), _Grip()
        look = asyncio.create_task(self._ask(waiting, limit, grip))
        try:
            await asyncio.wait([look], timeout=limit + SLACK)
        except asyncio.CancelledError:
            if grip.leave():
                await asyncio.wait([look], timeout=LEAST)  # so that mostly nothing is left behind
            raise
        finally:
            if not look.done():
                grip.leave()
                _left.add(look)
            look.add_done_callback(_end)
        if not look.done():
            raise TimeoutError(f"no answer within {limit:.3g} s")
        return look.result()

    async def _ask(self, waiting: Waiting[R], limit: float, grip: _Grip) -> tuple[R] | None:
        loop = asyncio.get_running_loop()
        end = loop.time() + limit
        async with self._looks.connect() as connection:
            if not grip.take(pooler.driver_of(await connection.get_raw_connection())):
                return None
            cutting = loop.call_at(end, grip.leave)
            try:
                async with connection.begin():
                    return await connection.run_sync(waiting.look)
            finally:
                cutting.cancel()
                grip.take(None)


class _Grip:
    """A look's connection, while it has one: whoever leaves the look behind cuts it, and does not cancel its task.

    A driver that is canceled asks the server to cancel, which may take long, and of which pgbouncer 1.18 dies ("bad
    client state"); and psycopg before 3.3 loses a cancel now and then, on Python 3.11 (seen). A look that has no
    connection yet ends as soon as it has got one.
    """

    def __init__(self) -> None:
        self._wire: Any = None
        self._left = False

    def take(self, wire: Any) -> bool:
        """Note the connection; whether anybody still waits."""
        self._wire = wire
        return not self._left

    def leave(self) -> bool:
        """Nobody waits any more; whether there was a connection to be cut."""
        self._left = True
        if self._wire is not None:
            cut(self._wire)
        return self._wire is not None


def _end(look: asyncio.Task[Any]) -> None:
    """Nobody reads what went wrong with a look that was left behind."""
    _left.discard(look)
    if not look.cancelled():
        look.exception()
