"""Hears the wake-up hints. Only hints: what is missed is found by polling."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable, Collection
from typing import Any

import psycopg
from sqlalchemy import Engine

from jobforge_sa.db import calls
from jobforge_sa.worker.bed import Bed
from jobforge_sa.worker.service import Service
from jobforge_sa.worker.voice import log

CANCEL = ":cancel"  # in place of a queue's name, which never begins like that
SILENCE = 30.0  # seconds without a word after which the connection is asked whether it still stands


class Listener(Service):
    """Wakes the claimer when a job of its queues was enqueued, and the heartbeat when a running one was canceled.

    Costs nothing while nothing happens.
    """

    name = "listener"
    patience = SILENCE + Service.patience  # it waits for nothing in particular

    def __init__(
        self, engine: Engine, queues: Collection[str], hint: Callable[[], None], canceled: Callable[[], None],
        deaf: Callable[[], None], bed: Bed,
    ) -> None:  # fmt: skip
        super().__init__(engine)
        self._queues = frozenset(queues)
        self._bed = bed
        bed.changed = self.wake
        self._hint = hint
        self._canceled = canceled
        self._say_deaf = deaf
        self._deaf = False
        self._listening: psycopg.Connection[Any] | None = None
        self._bell, self._string = socket.socketpair()  # a socket, so that one select waits for both

    def wake(self) -> None:
        """Let the thread look at once."""
        with contextlib.suppress(OSError):  # the thread has ended and closed them
            self._string.send(b"!")

    def step(self) -> None:
        """Wait for a hint; after a new connection look once, for what was missed in between."""
        if self._deaf:
            self._bell.recv(64)  # until it is asked to end
            return
        connection = self.link.connection()
        if self.link.pooled:
            self._fall_silent()
            return
        if connection is not self._listening:
            self._bed.since = None  # the locks went with the old one
            self.link.run(lambda c: c.execute(calls.LISTEN))
            self._listening = connection
            self._hint()
        self._turn()
        self.link.run(self._wait)

    def finish(self) -> None:
        """Let go of the sockets."""
        self._bell.close()
        self._string.close()

    def _fall_silent(self) -> None:
        # in transaction mode a LISTEN stays behind on a server connection that other clients get next: they would hear
        # the hints, and we none. From here session mode looks the same
        self._deaf = True
        self.link.close()
        log.warning("listener: a pooler stands between, so there is no LISTEN: jobs are found by polling; for hints "
                    "give the worker the server's own address")  # fmt: skip
        self._say_deaf()

    def _turn(self) -> None:
        """Say that the worker sleeps, or does no longer, where that has changed."""
        bed = self._bed
        wanted = bed.wanted
        if wanted is (bed.since is not None):
            return
        values = {"queues": sorted(self._queues), "asleep": wanted}
        ((said,),) = self.link.run(lambda c: c.execute(calls.DOZE, values).fetchall())
        if not wanted:
            bed.since = None
        elif said:
            bed.since = time.monotonic()
            self._hint()  # what was committed before has sent none: look once more
        else:
            self._stopping.wait(0.001)  # somebody was asking whether anybody sleeps
            self.wake()

    def _wait(self, connection: psycopg.Connection[Any]) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            ready = [key.fileobj for key, _ in selector.select(SILENCE)]
        if self._bell in ready:
            self._bell.recv(64)
        if not ready:  # a half-open connection is silent as well
            connection.execute("select 1")
        heard = {notify.payload for notify in connection.notifies(timeout=0)}
        if CANCEL in heard:
            self._canceled()
        if heard & self._queues:
            self._hint()
        if heard:
            self._stopping.wait(0.005)  # anybody may notify: a flood costs 200 claims a second, not thousands
