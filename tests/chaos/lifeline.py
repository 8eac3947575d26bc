"""What the storm's processes share: none outlives the one that started it, and their exit statuses mean something."""

from __future__ import annotations

import ctypes
import datetime as dt
import os
import signal
import sys

ON_PURPOSE = 65  # a process that ended itself, as it was meant to
UNAVAILABLE = 69  # no database when it started: whoever looks after it starts it again


def hold() -> None:
    """End this process when its parent ends, however that ends; also when it is stopped just then (Linux)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who stops us in order
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() == 1:
        sys.exit("parent is gone")


def seconds(count: float) -> dt.timedelta:
    return dt.timedelta(seconds=count)
