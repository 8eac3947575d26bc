"""Whether enqueues have to wake this worker: what its claimer wishes, and what its listener has told the database."""

from __future__ import annotations

from collections.abc import Callable


class Bed:
    """Passed between the two threads. The claimer lies down and gets up; the listener holds the locks that say so."""

    def __init__(self) -> None:
        self.wanted = False  # by the claimer
        self.since: float | None = None  # monotonic: enqueues that begin from then on send a hint. The listener's
        self.changed: Callable[[], None] = lambda: None  # rings the listener, if there is one

    def lie_down(self) -> None:
        """Ask to be woken from now on; `since` says when that holds."""
        self._want(True)

    def get_up(self) -> None:
        """Ask for no more hints: there is so much to do that looks find it."""
        self._want(False)

    def _want(self, wanted: bool) -> None:
        if wanted is not self.wanted:
            self.wanted = wanted
            self.changed()
