"""One queue's slots: a buffer of claimed jobs, and never more than `concurrency` of them running."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable

from jobforge_sa.worker.cycle import Pace, room
from jobforge_sa.worker.run import Run
from jobforge_sa.worker.voice import log


class Lane:
    """Starts claimed jobs in their order as slots become free: plain handlers in threads, async ones on the loop.

    Args:
        queue_name: The queue.
        concurrency: How many handlers may run at once.
        run: Runs a plain handler, in the calling thread, to its end.
        spawn: Starts an async handler on the loop; calls back when it has ended.
    """

    def __init__(
        self,
        queue_name: str,
        concurrency: int,
        run: Callable[[Run], None],
        spawn: Callable[[Run, Callable[[], None]], None],
    ) -> None:
        self.queue = queue_name
        self.concurrency = concurrency
        self.pace = Pace()
        self._finished = 0
        self._run = run
        self._spawn = spawn
        self._lock = threading.Lock()
        self._inbox: deque[Run] = deque()
        self._active = 0
        self._handoff: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._idle = 0  # threads that wait at the handoff
        self._made = 0  # threads, ever
        self._threads: set[threading.Thread] = set()
        self._freed: Callable[[Lane], None] = lambda _: None
        self._closed = False

    def on_free(self, freed: Callable[[Lane], None]) -> None:
        """Call this when a slot becomes free and nothing waits for it."""
        self._freed = freed

    def room(self) -> int:
        """How many more jobs to claim for this queue."""
        with self._lock:
            return 0 if self._closed else room(self.concurrency, self.pace.rate, self._active + len(self._inbox))

    def offer(self, runs: list[Run]) -> list[Run]:
        """Take claimed jobs; start what fits.

        Returns:
            Those that come too late, all of them: the lane is closed.
        """
        with self._lock:
            if self._closed:
                return runs
            self._inbox.extend(runs)
            while self._try_one():
                pass
        return []

    def start(self) -> None:
        """Start what had to wait for a thread.

        Raises:
            RuntimeError: the process can still start none.
        """
        with self._lock:
            while self._start_one():
                pass

    def take_back(self) -> list[Run]:
        """Give back what was claimed and not started."""
        with self._lock:
            left, self._inbox = list(self._inbox), deque()
        return left

    def observe(self, seconds: float) -> None:
        """Measure the pace of the last so many seconds."""
        with self._lock:
            finished, self._finished = self._finished, 0
        self.pace.observe(finished, seconds)

    def close(self) -> list[Run]:
        """Start nothing any more; give back what was not started."""
        with self._lock:
            self._closed = True
            left, self._inbox = list(self._inbox), deque()
            for _ in self._threads:
                self._handoff.put(None)
        return left

    def abandon(self, run: Run) -> bool:
        """A run that ignores everything: its slot is free for another, and nobody waits for its thread.

        Returns:
            Whether it was so; not, where its handler has just returned.
        """
        with self._lock:
            if run.ended or run.abandoned:
                return False
            run.abandoned = True
            self._active -= 1
            self._threads = {thread for thread in self._threads if thread is not run.thread}
            while self._try_one():
                pass
        self._freed(self)
        return True

    @property
    def active(self) -> int:
        """Handlers that are running."""
        return self._active

    def _start_one(self) -> bool:
        """Start the next job, if there is one and a slot for it. Under the lock."""
        if not self._inbox or self._active >= self.concurrency:
            return False
        run = self._inbox[0]  # it stays there if no thread can be started
        if run.task.is_async:
            self._spawn(run, lambda: self._async_ended(run))
        elif self._idle:
            self._idle -= 1
            self._handoff.put(run)
        else:
            self._make_thread()
            self._handoff.put(run)
        self._inbox.popleft()
        self._active += 1
        return True

    def _try_one(self) -> bool:
        """The same; where the process can start no more threads the job waits, and the claimer tries again."""
        try:
            return self._start_one()
        except RuntimeError:
            return False

    def _make_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"jobforge-{self.queue}-{self._made + 1}", daemon=True)
        thread.start()
        self._made += 1
        self._threads.add(thread)

    def _work(self) -> None:
        thread = threading.current_thread()
        while True:
            run = self._handoff.get()
            while run is not None:
                run.thread = thread
                try:
                    self._run(run)
                except BaseException:  # the executor lets nothing out; if it did, the slot must not be lost with it
                    log.exception("job %s: running it failed", run.job.id, extra=run.job.log_fields())
                ended, run = run, self._next(run)
                if ended.abandoned:
                    return
            if self._closed:
                return

    def _next(self, ended: Run) -> Run | None:
        """A slot became free: a thread goes on with the next plain job itself, without a handoff.

        None as well where the run was abandoned meanwhile: then another thread has this one's place.
        """
        with self._lock:
            ended.ended = True
            if ended.abandoned:
                return None
            self._finished += 1
            self._active -= 1
            while self._inbox and self._inbox[0].task.is_async and self._try_one():
                pass
            if self._inbox and not self._inbox[0].task.is_async and self._active < self.concurrency:
                self._active += 1
                return self._inbox.popleft()
            self._idle += 1
        self._freed(self)
        return None

    def _async_ended(self, run: Run) -> None:
        with self._lock:
            run.ended = True
            if run.abandoned:
                return
            self._finished += 1
            self._active -= 1
            self._try_one()
            more = bool(self._inbox)
        if not more:
            self._freed(self)
