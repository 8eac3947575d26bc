"""SIGTERM and SIGINT of a worker process."""

from __future__ import annotations

import math
import queue
import signal
import time
from typing import Any, Self

# seconds: a signal that the kernel gave to another thread is heard when the main thread wakes up, and not before
LOOK = 0.5


class StopSignals:
    """The first asks to stop, the second does not wait for handlers."""

    def __init__(self) -> None:
        self._came: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._count = 0
        self.asked = Nth(self, 1)
        self.again = Nth(self, 2)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, _frame: object) -> None:
        # one may come in the midst of another's handler, or while the main thread holds the lock of what it waits for:
        # an Event would lose the second, or wait for itself. This put is made for that
        self._came.put(number)

    def wait_for(self, count: int, timeout: float | None) -> bool:
        """Wait, in the main thread, until so many have come. Returns: whether they have."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        while self._count < count:
            try:
                self._came.get(timeout=min(max(until - time.monotonic(), 0), LOOK))
                self._count += 1
            except queue.Empty:
                if time.monotonic() >= until:
                    return False
        return True


class Nth:
    """That so many signals have come. To be asked by the main thread."""

    def __init__(self, signals: StopSignals, count: int) -> None:
        self._signals = signals
        self._count = count

    def is_set(self) -> bool:
        """Whether they have."""
        return self._signals.wait_for(self._count, 0)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for them. Returns: whether they have come."""
        return self._signals.wait_for(self._count, timeout)
