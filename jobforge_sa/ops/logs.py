"""The log of a worker process: a line for each record, with the job that it is about."""

from __future__ import annotations

import enum
import logging
import time

from jobforge_sa.ops.screen import safe

FIELDS = {"job_id": "job", "job_type": "type", "tenant_id": "tenant", "attempt": "attempt", "run": "run"}


class Level(enum.StrEnum):
    """How much to log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LineFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO    jobforge_sa.handler: sent job=… type=… tenant=… attempt=1`, in UTC."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line, with what `ctx.log` knows of the job at its end."""
        said = {name: getattr(record, field) for field, name in FIELDS.items() if hasattr(record, field)}
        line = " ".join((super().formatMessage(record), *(f"{name}={value}" for name, value in said.items())))
        return safe(line).replace("\n", "\\n")  # an error's text must not pass for a line of ours


def to_stderr(level: Level) -> None:
    """Send the log of the whole process to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
