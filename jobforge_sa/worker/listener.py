"""Hears the wake-up hints. Only hints: what is missed is found by polling."""

from __future__ import annotations

from collections.abc import Callable, Collection

from sqlalchemy import Engine

from jobforge_sa.db import calls
from jobforge_sa.worker.service import Service


class Listener(Service):
    """Wakes the claimer when a job of its queues was enqueued."""

    name = "listener"

    def __init__(self, engine: Engine, queues: Collection[str], hint: Callable[[], None]) -> None:
        super().__init__(engine)
        self._queues = frozenset(queues)
        self._hint = hint

    def step(self) -> None:
        """Listen for a second; after a new connection look once, for what was missed in between."""
        connection = self.link.connection()
        if connection is not getattr(self, "_listening", None):
            self.link.run(lambda c: c.execute(calls.LISTEN))
            self._listening = connection
            self._hint()
        self.link.run(lambda c: self._listen(c))

    def _listen(self, connection: object) -> None:
        for notify in connection.notifies(timeout=1.0):  # type: ignore[attr-defined]
            if self.stopping:
                return
            if notify.payload in self._queues:
                self._hint()
