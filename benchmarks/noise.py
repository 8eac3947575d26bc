"""Who else is at work on this machine: without that number nobody can tell a slow day from a slow program."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

STAT = Path("/proc/stat")
LOUD = 0.2  # cores; beyond it the figures say more about the neighbours


class Noise:
    """Busy cores, sampled just before each run, when nobody of ours has anything to do. Linux only."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._samples: list[float] = []

    def listen(self) -> None:
        """Take one sample."""
        if STAT.is_file():
            began, busy = time.monotonic(), _busy()
            time.sleep(self._seconds)
            self._samples.append((_busy() - busy) / (time.monotonic() - began))

    def __str__(self) -> str:
        if not self._samples:
            return "other work on this machine: not known"
        middle, most = statistics.median(self._samples), max(self._samples)
        verdict = "; too loud, measure again" if middle > LOUD else ""
        return f"other work on this machine: {middle:.2f} cores before the median run, at most {most:.2f}{verdict}"


def _busy() -> float:
    """Seconds that all cores together have worked since the machine started: all but idle and waiting for a disk."""
    user, nice, system, _idle, _wait, *rest = map(int, STAT.read_text().splitlines()[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
