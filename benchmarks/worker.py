"""One worker process: `python -m benchmarks.worker` with the arguments of `crew`. Imports what its system needs."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from benchmarks import systems
from benchmarks.board import Heard
from benchmarks.systems.system import Database, Purpose


def main() -> None:
    """Load the system, say so, wait for the word, work until nobody listens any more."""
    name, url, dsn, board, place, purpose = sys.argv[1:]
    system = systems.load(name)
    heard = Heard(Path(board), int(place))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if sys.stdin.readline() != "go\n":
        return
    threading.Thread(target=_until_alone, daemon=True).start()
    system.work(Database(url, dsn), heard, Purpose(purpose))


def _until_alone() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
