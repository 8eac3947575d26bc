"""The workers of this process that run: the interpreter's end stops them, a fork forgets them."""

from __future__ import annotations

import atexit
import os
from typing import Protocol
from weakref import WeakSet


class Living(Protocol):
    """A worker."""

    def stop(self) -> bool:
        """Stop it."""
        ...

    def forked(self) -> None:
        """Forget what is the parent's."""
        ...


workers: WeakSet[Living] = WeakSet()


def _stop_all() -> None:
    """The interpreter ends: whoever did not stop its workers has them stopped, so that no job waits for a lease."""
    for worker in list(workers):
        worker.stop()


def _forget_all() -> None:
    """This process was forked: the threads are the parent's, and so are the connections, which we must not end."""
    for worker in list(workers):
        worker.forked()
    workers.clear()


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_forget_all)
