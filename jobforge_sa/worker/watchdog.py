"""Looks after the worker's own connections: one that has not answered for too long is broken off, and opened again."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine

from jobforge_sa.worker.service import Service
from jobforge_sa.worker.voice import log

LOOK = 1.0  # seconds between two looks


class Watchdog(Service):
    """A half-open connection never answers, and never fails: without it a worker would wait for ever."""

    name = "watchdog"

    def __init__(self, engine: Engine, services: Sequence[Service]) -> None:
        super().__init__(engine)
        self._services = services
        self._told: set[Service] = set()  # of whom it was said, until they are through

    def step(self) -> None:
        """Look at all, and sleep."""
        for service in self._services:
            if service.link.busy <= service.patience:
                self._told.discard(service)
                continue
            if service not in self._told:
                log.warning("%s: no answer for %.0f s, its connection is broken off", service.name, service.link.busy)
                self._told.add(service)
            if service.stopping:  # nobody would hear of it: what the server has not finished is undone
                service.link.cancel()
            service.link.sever()
        self.sleep(LOOK)
