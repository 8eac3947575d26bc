"""One LISTEN for all who wait in this process. A hint, no more: whoever waits looks by himself as well."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, ref

import psycopg
from sqlalchemy import Engine

from jobforge_sa.db import calls
from jobforge_sa.worker.link import Link, backoff, own_engine

log = logging.getLogger("jobforge_sa.results")

LINGER = 30.0  # seconds for which the connection is kept when nobody waits any more
PAUSE = 0.5  # seconds between two looks whether anybody does
GAP = 0.05  # seconds between two rings: anybody may send hints, and each has all who wait look


class Bell:
    """Rings when a job has ended for which somebody waits; which one, each finds out himself.

    Its thread and its connection come with the first who waits, and go half a minute after the last. Only the thread
    holds the engine: who drops his gets rid of it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = ref(engine)
        self._lock = threading.Lock()
        self._ears: dict[object, Callable[[], object]] = {}
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    @contextmanager
    def heard(self, ear: Callable[[], object]) -> Iterator[None]:
        """Call `ear`, in the bell's thread, each time that it rings; also when a connection was lost meanwhile."""
        key = object()
        with self._lock:
            if self._pid != os.getpid():  # forked: the thread is the parent's, and so are those who waited
                self._thread, self._pid = None, os.getpid()
                self._ears.clear()
            self._ears[key] = ear
            if self._thread is None:
                self._start()
        try:
            yield
        finally:
            with self._lock:
                self._ears.pop(key, None)

    def ring(self) -> None:
        """Call all who wait."""
        with self._lock:
            ears = list(self._ears.values())
        for ear in ears:
            ear()

    def _start(self) -> None:
        thread = threading.Thread(target=self._main, args=[self._engine()], name="jobforge-results", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # there are too many, or the interpreter ends
            log.debug("results: no hints: %s", error)
        else:
            self._thread = thread

    def _main(self, engine: Engine) -> None:
        link, failures, idle_since = Link(own_engine(engine, 1)), 0, time.monotonic()
        listening: psycopg.Connection[Any] | None = None
        while True:
            idle_since = time.monotonic() if self._ears else idle_since
            if time.monotonic() - idle_since > LINGER and self._rest():
                break
            try:
                connection = link.connection()
                if link.pooled:  # a LISTEN would stay behind on a connection that others get next: all poll
                    time.sleep(PAUSE)
                elif connection is not listening:
                    link.run(lambda c: c.execute(calls.LISTEN_DONE))
                    listening = connection
                    self.ring()  # what has ended in between was not told
                elif link.run(lambda c: list(c.notifies(timeout=PAUSE, stop_after=1))):
                    self.ring()
                    time.sleep(GAP)
                failures = 0
            except Exception as error:  # what an application's own events raise, too: the thread must live
                log.debug("results: no hints for a while: %s", error)
                time.sleep(backoff(failures))
                failures += 1
        link.close()

    def _rest(self) -> bool:
        """End the thread, if nobody has come."""
        with self._lock:
            if self._ears:
                return False
            self._thread = None
            return True


_bells: WeakKeyDictionary[Engine, Bell] = WeakKeyDictionary()
_making = threading.Lock()


def bell_of(engine: Any) -> Bell:
    """The one bell of an engine, sync or async, in this process."""
    key: Engine = getattr(engine, "sync_engine", engine)
    with _making:
        if key not in _bells:
            _bells[key] = Bell(key)
        return _bells[key]
