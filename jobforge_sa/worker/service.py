"""One life cycle for everything that runs in the background: start, stop, and a database that comes and goes."""

from __future__ import annotations

import threading
import time

import psycopg
from sqlalchemy import Engine

from jobforge_sa.worker.link import Link, LinkDown, backoff
from jobforge_sa.worker.outage import Outage
from jobforge_sa.worker.voice import log


class Service:
    """A thread that repeats `step` until it is stopped. `stop` is idempotent and waits; before `start` it does nothing.

    Whatever the database does, the thread lives: it waits, longer each time. What there is to say of that the `outage`
    says, for all threads of a worker together.
    """

    name = "service"
    patience = 30.0  # seconds for one answer of the database; then the connection is taken for half-open
    last_patience = 3.0  # seconds for one answer while the worker stops: there is time for another connection
    longest = 10.0  # seconds between two tries, at most

    def __init__(self, engine: Engine) -> None:
        self.link = Link(engine)
        self.outage = Outage()
        self.link.answered = lambda: self.outage.works(self.name)
        self._asked = 0.0  # monotonic: to end, since then
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        thread = threading.Thread(target=self._main, name=f"jobforge-{self.name}", daemon=True)
        thread.start()
        self._thread = thread  # not before: one that could not be started cannot be waited for

    def stop(self, timeout: float | None = None) -> None:
        """Ask it to end, and wait until it has."""
        self.ask()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def hurry(self) -> None:
        """The worker stops: wait for no answer for long."""
        self.patience = min(self.patience, self.last_patience)

    def ask(self) -> None:
        """Ask it to end."""
        if not self._stopping.is_set():
            self._asked = time.monotonic()
        self._stopping.set()
        self.wake()

    def wake(self) -> None:
        """Let the thread look at once instead of sleeping on."""
        self._wake.set()

    def step(self) -> None:
        """One round of the work, its sleeping included."""
        raise NotImplementedError

    def finish(self) -> None:
        """What is left to do when the thread ends."""

    @property
    def ended(self) -> bool:
        """Whether its thread has ended without having been asked to; nothing here should do that."""
        return self._thread is not None and not self._thread.is_alive() and not self.stopping

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._stopping.is_set()

    @property
    def stopping_for(self) -> float:
        """For how many seconds it has been asked to end."""
        return time.monotonic() - self._asked if self.stopping else 0.0

    def sleep(self, seconds: float) -> bool:
        """Wait, until woken. Gives whether it was."""
        woken = self._wake.wait(seconds)
        self._wake.clear()
        return woken

    def _main(self) -> None:
        failed = 0
        try:
            while not self.stopping:
                try:
                    self.step()
                    self.outage.works(self.name)
                    failed = 0
                except Exception as error:
                    self.outage.failed(self.name, error)
                    self._stopping.wait(min(backoff(failed), self.longest))
                    failed += 1
            self.finish()
        except (LinkDown, psycopg.Error) as error:
            log.warning("%s: could not take leave (%s)", self.name, error)
        finally:
            self.link.close()
