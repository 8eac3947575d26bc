"""What a worker counts."""

from __future__ import annotations

import threading
from typing import Final

ENDS: Final[tuple[str, ...]] = ("succeeded", "failed", "timed_out", "snoozed", "released", "canceled", "lost")
NAMES: Final[tuple[str, ...]] = (
    "claimed", *ENDS, "abandoned", "killed", "died", "rescued", "unheard", "idle", "overstayed",
)  # fmt: skip


class Counters:
    """How often what has happened since the worker was made. Any thread may add, and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(NAMES, 0)

    def add(self, name: str, count: int = 1) -> None:
        """Count."""
        with self._lock:
            self._counts[name] += count

    def read(self) -> dict[str, int]:
        """All of one moment, each by its name."""
        with self._lock:
            return dict(self._counts)
