"""How tests wait: for a fact, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

T = TypeVar("T")


def wait_for(predicate: Callable[[], T], timeout: float = 10, what: str = "") -> T:
    """Ask until the answer is true, and give it; fail with `what` and the last answer when time is up."""
    deadline = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s for {what or predicate}; it is still {answer!r}")
        time.sleep(0.005)
    return answer


def blocked(admin: sa.Connection, pid: int, timeout: float = 10) -> None:
    """Wait until the backend `pid` waits for a lock, so that a race stands exactly where the test wants it.

    Args:
        admin: a connection in autocommit; a transaction would see the same pg_stat_activity for ever.
    """
    waiting = sa.text("select wait_event_type = 'Lock' from pg_stat_activity where pid = :pid")
    wait_for(lambda: admin.scalar(waiting, {"pid": pid}), timeout, f"backend {pid} to wait for a lock")
