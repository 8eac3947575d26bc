"""Workers run in processes of their own, as they do in production: so they share no GIL with what feeds them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from benchmarks.board import Board, board
from benchmarks.systems.system import Database, Purpose, System

PATIENCE = 60.0  # seconds in which something has to begin


class Crew:
    """The workers of one system, all loaded, none begun."""

    def __init__(self, processes: list[subprocess.Popen[str]], path: Path, log: IO[bytes]) -> None:
        self._processes, self.board, self._log = processes, Board(path), log

    def go(self) -> None:
        """Let all of them begin."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()

    def until(self, enough: Callable[[], bool], *, seconds: float = PATIENCE, pause: float = 0.002) -> bool:
        """Wait for something, and say whether it came in time.

        Raises:
            RuntimeError: a worker has died meanwhile.
        """
        end = time.monotonic() + seconds
        while not enough():
            if any(process.poll() is not None for process in self._processes):
                raise RuntimeError(f"a worker died:\n{self._told()}")
            if time.monotonic() > end:
                return False
            time.sleep(pause)
        return True

    def must(self, enough: Callable[[], bool], what: str) -> None:
        """Wait for what has to come.

        Raises:
            TimeoutError: it did not.
        """
        if not self.until(enough):
            raise TimeoutError(f"{what}: not within {PATIENCE:.0f} s\n{self._told()}")

    @property
    def memory(self) -> float:
        """The most memory that one worker has had in use, in MB. 0 where /proc does not tell."""
        most = 0
        for process in self._processes:
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                most = max(most, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM")))
        return most / 1024

    def _told(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-2000:]


@contextlib.contextmanager
def crew(system: System, database: Database, purpose: Purpose, workers: int = 1) -> Iterator[Crew]:
    """So many workers for the block; killed at its end, for nobody measures how they stop."""
    command = [sys.executable, "-m", "benchmarks.worker", system.name, database.url, database.dsn]
    with board() as path, tempfile.TemporaryFile() as log, contextlib.ExitStack() as stack:
        processes = []
        for place in range(workers):
            process = subprocess.Popen(
                [*command, str(path), str(place), purpose], text=True, cwd=Path(__file__).parents[1],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
            stack.callback(_end, process)
            processes.append(process)
        made = Crew(processes, path, log)
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                process.wait()
                raise RuntimeError(f"{system.name} does not load:\n{made._told()}")
        yield made


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
