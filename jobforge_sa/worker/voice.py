"""The worker's log: one line that fails is lost, and nothing else."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import MutableMapping
from typing import Any


class Voice(logging.LoggerAdapter[logging.Logger]):
    """A logger that raises nothing.

    An application's log handler or filter that raises would end the thread that tells of an outage, and with it the
    heartbeat of every job; or, between two entries of a batch, forget the second one.
    """

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Leave everything as it is."""
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Say it, if that can be done."""
        with contextlib.suppress(Exception):
            super().log(level, msg, *args, **{**kwargs, "stacklevel": kwargs.get("stacklevel", 1) + 1})


log = Voice(logging.getLogger("jobforge_sa.worker"))
