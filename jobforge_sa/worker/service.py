"""One life cycle for everything that runs in the background: start, stop, and a database that comes and goes."""

from __future__ import annotations

import logging
import threading

import psycopg
from sqlalchemy import Engine

from jobforge_sa.db import failures
from jobforge_sa.worker.link import Link, LinkDown, backoff

log = logging.getLogger("jobforge_sa.worker")


class Service:
    """A thread that repeats `step` until it is stopped. `stop` is idempotent and waits; before `start` it does nothing.

    Whatever the database does, the thread lives: it waits, longer each time, and says so once for each outage.
    """

    name = "service"
    patience = 30.0  # seconds for one answer of the database; then the connection is taken for half-open

    def __init__(self, engine: Engine) -> None:
        self.link = Link(engine)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._main, name=f"jobforge-{self.name}", daemon=True)
        self._thread.start()

    def stop(self, timeout: float | None = None) -> None:
        """Ask it to end, and wait until it has."""
        self._stopping.set()
        self.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def wake(self) -> None:
        """Let the thread look at once instead of sleeping on."""
        self._wake.set()

    def step(self) -> None:
        """One round of the work, its sleeping included."""
        raise NotImplementedError

    def finish(self) -> None:
        """What is left to do when the thread ends."""

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._stopping.is_set()

    def sleep(self, seconds: float) -> None:
        """Wait, until woken."""
        self._wake.wait(seconds)
        self._wake.clear()

    def _main(self) -> None:
        failed = 0
        try:
            while not self.stopping:
                try:
                    self.step()
                    if failed:
                        log.info("%s: works again", self.name)
                    failed = 0
                except (LinkDown, psycopg.Error) as error:
                    if not failed:
                        better = failures.translate(error, role="jobforge_worker")
                        log.warning("%s: %s; trying again until it works", self.name, better or error)
                    self._stopping.wait(backoff(failed))
                    failed += 1
                except Exception:
                    log.exception("%s: failed; trying again", self.name)
                    self._stopping.wait(backoff(failed))
                    failed += 1
            self.finish()
        except (LinkDown, psycopg.Error) as error:
            log.warning("%s: could not take leave (%s)", self.name, error)
        finally:
            self.link.close()
