"""One end for all steps of a request."""

from __future__ import annotations

import time

from jobforge_sa.errors import RequestTimedOut


class Deadline:
    """So many seconds from now. Each wait gets what is left, so that no drip of bytes makes a request longer.

    Attributes:
        sent: Whether a byte of the request may have left by now.
        status: The answer's status, once it is known.
    """

    __slots__ = ("_ends", "_seconds", "sent", "status")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = time.monotonic() + seconds
        self.sent = False
        self.status: int | None = None

    def left(self) -> float:
        """The seconds that are left, more than 0.

        Raises:
            RequestTimedOut: none.
        """
        left = self._ends - time.monotonic()
        if left <= 0:
            raise self.over()
        return left

    def over(self) -> RequestTimedOut:
        """The error that says so."""
        known = f"; its status is {self.status}" if self.status else ""
        return RequestTimedOut(f"no whole answer within {self._seconds:g} s{known}", sent=self.sent)
