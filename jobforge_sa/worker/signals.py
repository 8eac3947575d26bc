"""SIGTERM and SIGINT of a worker process."""

from __future__ import annotations

import signal
import threading
from typing import Any, Self


class StopSignals:
    """The first asks to stop, the second does not wait for handlers."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.again = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, _number: int, _frame: object) -> None:
        (self.again if self.asked.is_set() else self.asked).set()
