"""The command `jobforge top`: a page that is drawn again every few seconds, until q or Ctrl-C."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from sqlalchemy import Engine

from jobforge_sa.db.url import shown
from jobforge_sa.errors import ConfigurationError, JobForgeError
from jobforge_sa.ops import database, screen
from jobforge_sa.ops.options import Url
from jobforge_sa.ops.stats.page import seconds
from jobforge_sa.ops.top import page as top_page
from jobforge_sa.ops.top.look import Glimpse, look

SHARE = 10  # a look takes a tenth of the time at most: where it takes longer, we look more seldom
PIPED = 160  # columns of a look that no terminal cuts
PATIENCE = 0.25  # seconds until a resized terminal gets its page


def top(
    url: Url = None,
    interval: Annotated[float, typer.Option(min=0.5, metavar="SECONDS", help="How often to look.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one look and exit.")] = False,
) -> None:
    """Watch queues, tenants, running jobs, rates and deaths, live. q ends it."""
    console = screen.console()
    if not once and not console.is_terminal:
        raise ConfigurationError("a live page needs a terminal", cure="for one look: jobforge top --once")
    engine = database.engine(url, name="jobforge top", pool_size=1, max_overflow=0, pool_pre_ping=True)
    live = Top(engine, interval)
    try:
        live.look()
        if once:
            console.width = min(console.width, PIPED)  # tables fill the width, and a pipe has none
            screen.show(console, live.page((console.width, top_page.TALLEST)))
        else:
            live.run(console)
    finally:
        engine.dispose()


class Top:
    """The page and what it is made of."""

    def __init__(self, engine: Engine, interval: float) -> None:
        self._engine, self._interval = engine, interval
        self._glimpse: Glimpse | None = None
        self._before: Glimpse | None = None
        self._trouble = ""

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        took = 0.0 if self._glimpse is None else self._glimpse.took
        return max(self._interval, SHARE * took)

    def look(self) -> None:
        """Look again; a database that goes away after the first look leaves the page as it is.

        Raises:
            JobForgeError: it was the first look, and there is nothing to show.
        """
        try:
            found = look(self._engine)
        except JobForgeError as error:
            if self._glimpse is None:
                raise
            self._trouble = screen.one_line(f"no answer: {error.message}")
        else:
            self._before, self._glimpse, self._trouble = self._glimpse, found, ""

    def page(self, size: tuple[int, int]) -> Group:
        """What to show in so many columns and lines."""
        assert self._glimpse is not None
        notes = [self._trouble] if self._trouble else []
        if self.pause > self._interval:
            notes.append(f"a look took {seconds(self._glimpse.took)}: every {seconds(self.pause)}")
        place = shown(self._engine.url).partition("://")[2]
        return top_page.page(self._glimpse, self._before, place, notes, size)

    def run(self, console: Console) -> None:
        """Draw and look until somebody presses q."""
        with _keys() as wait, Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                size = (console.width, console.height)
                live.update(self.page(size), refresh=True)
                end = time.monotonic() + self.pause
                while (left := end - time.monotonic()) > 0 and (console.width, console.height) == size:
                    if wait(min(left, PATIENCE)) in ("q", "Q"):
                        return
                if left <= 0:
                    self.look()


@contextmanager
def _keys() -> Iterator[Callable[[float], str | None]]:
    """What waits for a key, for so many seconds at most; where there is no keyboard it only waits."""
    if not sys.stdin.isatty():
        yield lambda patience: time.sleep(patience)
        return
    import termios  # not everywhere
    import tty

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def pressed(patience: float) -> str:
        ready, _, _ = select.select([keyboard], [], [], patience)
        return os.read(keyboard, 1).decode(errors="replace") if ready else ""

    try:
        tty.setcbreak(keyboard)
        yield pressed
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
