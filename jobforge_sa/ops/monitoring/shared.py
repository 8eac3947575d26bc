"""An answer that many ask for and that is fetched by one at a time, so that no number of askers costs more than one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

FRESH = 5.0  # seconds for which an answer serves all
PATIENCE = 5.0  # seconds that who asks waits for a new one

log = logging.getLogger("jobforge_sa.exporter")


class Shared(Generic[T]):
    """Keeps the last answer. A fetch that never ends keeps nobody waiting for longer than `patience`.

    Args:
        fetch: Fetches the answer; may raise, or hang.
        give_up: Called when a fetch takes too long: makes it fail, if it can.
    """

    def __init__(self, fetch: Callable[[], T], give_up: Callable[[], None], patience: float = PATIENCE) -> None:
        self._fetch, self._give_up, self._patience = fetch, give_up, patience
        self._lock = threading.Lock()
        self._answer: T | None = None
        self._until = 0.0  # monotonic: so long it is fresh
        self._since = 0.0  # monotonic: the fetch under way began
        self._done: threading.Event | None = None  # of the fetch under way
        self._failed = False  # which was said

    def get(self) -> T | None:
        """The answer; None where there is none to be had now."""
        with self._lock:
            if self._done is None and time.monotonic() < self._until:
                return self._answer
            done = self._done or self._begin()
            left = self._since + self._patience - time.monotonic()
        if not done.wait(max(left, 0.0)):
            self._give_up()
            return None
        with self._lock:
            return self._answer

    def _begin(self) -> threading.Event:
        self._done, self._since = threading.Event(), time.monotonic()
        threading.Thread(target=self._run, args=(self._done,), name="jobforge-exporter", daemon=True).start()
        return self._done

    def _run(self, done: threading.Event) -> None:
        answer: T | None = None
        try:
            answer = self._fetch()
            self._say_well()
        except Exception as error:
            self._say_failed(error)
        finally:  # whatever a log's filter raises: the next scrape looks again
            with self._lock:
                self._answer, self._until, self._done = answer, time.monotonic() + FRESH, None
            done.set()

    def _say_failed(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            log.warning("the database cannot be read: %s", " ".join(str(error).split()))

    def _say_well(self) -> None:
        if self._failed:
            self._failed = False
            log.info("the database can be read again")
