"""The one event loop of the async handlers, in a thread of its own; made when the first async job is claimed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from jobforge_sa.worker.run import Run
from jobforge_sa.worker.voice import log

PATIENCE = 1.5  # seconds for a cancelled handler to end; on a half-open connection it never would


class Loop:
    """Runs coroutines that other threads hand over."""

    def __init__(self, handle: Callable[[Run], Coroutine[Any, Any, None]]) -> None:
        self._handle = handle
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: dict[asyncio.Task[None], Run] = {}
        self._waiting: set[Run] = set()  # handed over, and not begun
        self._lock = threading.Lock()
        self._over = False  # it may end: until then it goes on, whatever a handler does to it

    def spawn(self, run: Run, ended: Callable[[], None]) -> None:
        """Run an async handler; call back when it has ended."""
        loop = self._running()
        run.spawned = time.monotonic()
        self._waiting.add(run)
        loop.call_soon_threadsafe(self._start, run, ended)

    @property
    def late(self) -> float:
        """For how many seconds a handler has been waiting to begin: none can while another one blocks the loop."""
        now = time.monotonic()
        return max((now - run.spawned for run in self._waiting.copy()), default=0.0)

    def stop(self, finish: Callable[[], Coroutine[Any, Any, None]], timeout: float | None) -> None:
        """Run a last coroutine (closing what belongs to the loop), and end the loop."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(self._finish(finish), loop).result(timeout)
        except Exception:  # a handler that swallows its cancellation keeps its loop; the thread is a daemon
            log.warning("the event loop of the async handlers did not end", exc_info=True)
            return
        self._over = True
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout)
        self._loop = self._thread = None

    async def _finish(self, finish: Callable[[], Coroutine[Any, Any, None]]) -> None:
        left = {task for task in self._tasks if not task.done()}
        for task in left:
            task.cancel()
        if left:
            _, left = await asyncio.wait(left, timeout=PATIENCE)
        for task in left:
            self._tasks[task].sever()
        if left:
            _, left = await asyncio.wait(left, timeout=PATIENCE)
        if left:
            raise TimeoutError(f"{len(left)} handlers swallow their cancellation")
        await finish()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._over = False
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=self._main, args=(loop,), name="jobforge-loop", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads: next time perhaps
                    loop.close()
                    raise
                self._loop, self._thread = loop, thread
            return self._loop

    def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            while not self._over:
                self._run(loop)
        finally:
            loop.close()

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        """Until it is stopped. asyncio lets SystemExit and KeyboardInterrupt of any task end the whole loop; whoever
        waits for that task has it as well, and all others go on: they would hold their leases for ever.
        """
        try:
            loop.run_forever()
        except BaseException as error:
            log.warning("a %s ended the event loop of the async handlers, which goes on", type(error).__name__)

    def _start(self, run: Run, ended: Callable[[], None]) -> None:
        self._waiting.discard(run)
        if run.told:  # it was given back meanwhile
            ended()
            return
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._handle(run), name=f"{run.job.type} {run.job.id}")
        run.cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        self._tasks[task] = run  # the loop itself holds tasks weakly
        task.add_done_callback(lambda _: self._tasks.pop(task, None))
        task.add_done_callback(lambda _: ended())
