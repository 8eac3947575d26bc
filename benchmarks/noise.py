"""Who else is at work on this machine: without that number nobody can tell a slow day from a slow program."""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
LOUD = 0.3  # cores; beyond it the figures say as much about the neighbours


class Noise:
    """Cores that were busy with the work of others during each run. Linux only, and where the server is our child."""

    def __init__(self, *, known: bool) -> None:
        self._known = known and (PROC / "stat").is_file()
        self.samples: list[float] = []

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take one sample, of the block."""
        began, others = time.monotonic(), self._others()
        yield
        self.samples.append(max(0.0, self._others() - others) / (time.monotonic() - began))

    def _others(self) -> float:
        """Seconds that all cores together have worked for others."""
        return _all_work() - _own_work() if self._known else math.nan

    def __str__(self) -> str:
        known = [sample for sample in self.samples if not math.isnan(sample)]
        if not known:
            return "work of others on this machine: not known"
        loud = sum(sample > LOUD for sample in known)
        middle, most = statistics.median(known), max(known)
        told = f"work of others during the runs: {middle:.2f} cores in the middle, {most:.2f} at most"
        return f"{told}; {loud} of {len(known)} runs above {LOUD}" if loud else told


def _all_work() -> float:
    """All but idle and waiting for a disk."""
    user, nice, system, _idle, _wait, *rest = map(int, (PROC / "stat").read_text().splitlines()[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def _own_work() -> float:
    """This process, its descendants, and what those had done that ended: a parent that waits is given their times."""
    parents: dict[int, int] = {}
    times: dict[int, int] = {}
    for folder in PROC.iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(fields[1])
                times[int(folder.name)] = sum(map(int, fields[11:15]))
    ours = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= grown
    return sum(times.get(pid, 0) for pid in ours) / os.sysconf("SC_CLK_TCK")
