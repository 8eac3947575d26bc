"""What all threads of a worker say about a database in trouble: together a few lines, however long it lasts."""

from __future__ import annotations

import threading
import time

import psycopg

from jobforge_sa.db import failures
from jobforge_sa.worker.link import LinkDown
from jobforge_sa.worker.voice import log

REMIND = 30.0  # seconds until the same kind of trouble is told again


class Outage:
    """One line when a kind of trouble begins, one each half a minute while it lasts, one when all is well again.

    Also where the trouble comes and goes: without the half minute a backend that is terminated each second would cost
    two lines a second.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._down: set[str] = set()
        self._since = 0.0  # monotonic
        self._failures = 0
        self._told: dict[str, float] = {}  # a kind of trouble, and when it was told
        self._owed = False  # it was told that something is wrong, and not yet that it is over

    def failed(self, who: str, error: Exception) -> None:
        """A thread has failed, and will try again."""
        kind, now = _kind(error), time.monotonic()
        with self._lock:
            if not self._down:
                self._since, self._failures = now, 0
            self._down.add(who)
            self._failures += 1
            if now - self._told.get(kind, -REMIND) < REMIND:
                return
            self._told[kind] = now
            self._owed = True
            lasted = f" (for {now - self._since:.0f} s now)" if self._failures > 1 else ""
        _say(who, error, lasted)

    @property
    def down(self) -> frozenset[str]:
        """The threads whose last try failed."""
        with self._lock:
            return frozenset(self._down)

    def works(self, who: str) -> None:
        """A thread was through with its work."""
        if who not in self._down:
            return
        with self._lock:
            self._down.discard(who)
            if self._down or not self._owed:
                return
            self._owed = False
            lasted, failed = time.monotonic() - self._since, self._failures
        log.info("the database works again, after %.1f s and %s failures", lasted, failed)


def _say(who: str, error: Exception, lasted: str) -> None:
    if not isinstance(error, LinkDown | psycopg.Error):
        log.error("%s: failed; trying again%s", who, lasted, exc_info=error)
        return
    better = failures.translate(error, role="jobforge_worker")
    log.warning("%s: %s; trying again until it works%s", who, better or error, lasted)


def _kind(error: Exception) -> str:
    if not isinstance(error, LinkDown | psycopg.Error):
        return type(error).__name__
    cause = error.__cause__ or error
    return "away" if failures.is_away(cause) else failures.sqlstate(cause) or ""
