"""One look in a thread of its own: who waits leaves in time, whatever the pool, the server and the wire do."""

from __future__ import annotations

import threading
from contextvars import copy_context
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine

from jobforge_sa.db import pooler
from jobforge_sa.worker.link import cut

R = TypeVar("R")
T = TypeVar("T", covariant=True)


class Look(Protocol[T]):
    """What is looked for."""

    def limit(self) -> float:
        """Seconds that the look has which begins now."""
        ...

    def look(self, connection: Connection) -> T:
        """Look, in a transaction that commits."""
        ...


class Glance(Generic[R]):
    """One look, and its answer within the time that it is given.

    No pool can be asked for a connection within a time, and no driver be told when to give up. So the thread is left
    behind: its connection is cut, and it ends with an error that nobody reads; one that still waits for a pool ends as
    soon as it has got something. Its place in the pool is free again either way.
    """

    def __init__(self, engine: Engine, waiting: Look[R]) -> None:
        self._engine, self._waiting = engine, waiting
        self._lock = threading.Lock()
        self._wire: Any = None  # the driver's connection, while it is this look's
        self._left = False
        self._answers: list[R] = []
        self._error: BaseException | None = None

    def answer(self) -> R:
        """What was found.

        Raises:
            TimeoutError: there was no answer in time.
        """
        limit = self._waiting.limit()
        thread = threading.Thread(
            target=copy_context().run, args=[self._look], name="jobforge-look", daemon=True
        )  # daemon: the end of the process need not wait for what was left behind
        try:
            thread.start()
        except RuntimeError:  # there are too many: the statement has its limit all the same
            self._look()
        else:
            try:
                thread.join(limit)
            finally:
                self._leave()
        if self._error is not None:
            raise self._error
        if not self._answers:
            raise TimeoutError(f"no answer within {limit:.3g} s")
        return self._answers[0]

    def _look(self) -> None:
        try:
            with self._engine.connect() as connection:
                if not self._take(pooler.driver_of(connection.connection)):
                    return
                try:
                    with connection.begin():
                        found = self._waiting.look(connection)
                finally:
                    self._take(None)
            self._answers.append(found)
        except BaseException as error:
            self._error = error

    def _take(self, wire: Any) -> bool:
        """Note the connection, which until it is given back may be cut; whether anybody still waits."""
        with self._lock:
            self._wire = wire
            return not self._left

    def _leave(self) -> None:
        with self._lock:
            self._left = True
            if self._wire is not None:
                cut(self._wire)
