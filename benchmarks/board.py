"""Where handlers write down when they began: memory that all processes of a run share, so that asking costs nothing."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PLACES = 8  # worker processes
EACH = 2  # cells of a process: how many handlers began, and when the first did
NUMBERED = 20_000  # orders with a number below it have a cell each
CELLS = PLACES * EACH + NUMBERED


class Board:
    """A file of doubles, mapped. CLOCK_MONOTONIC, which all processes of a machine share."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._cells = memoryview(mmap.mmap(file.fileno(), CELLS * 8)).cast("d")

    @property
    def began(self) -> int:
        """How many handlers began, or a few less: threads overtake each other when they write it down."""
        return int(sum(self._cells[place * EACH] for place in range(PLACES)))

    @property
    def first(self) -> float:
        """When the first of all handlers began; 0 before."""
        return min((at for place in range(PLACES) if (at := self._cells[place * EACH + 1])), default=0.0)

    def of(self, number: int) -> float:
        """When the handler of this order began; 0 before."""
        return float(self._cells[PLACES * EACH + number])


class Heard(Board):
    """The board as a worker's handlers have it: call it first thing with the order's number."""

    def __init__(self, path: Path, place: int) -> None:
        super().__init__(path)
        self._place = place * EACH
        self._nth = itertools.count(1)  # one step of the interpreter, so threads share it

    def __call__(self, number: int) -> None:
        now, nth = time.monotonic(), next(self._nth)
        if nth == 1:
            self._cells[self._place + 1] = now
        self._cells[self._place] = nth
        if 0 <= number < NUMBERED:
            self._cells[PLACES * EACH + number] = now


@contextlib.contextmanager
def board() -> Iterator[Path]:
    """A clean board, for the block."""
    with tempfile.NamedTemporaryFile(prefix="jobforge-board-") as file:
        file.truncate(CELLS * 8)
        yield Path(file.name)
