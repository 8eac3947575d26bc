"""The log of a worker process: a line for each record, with the job that it is about; as text, or as JSON."""

from __future__ import annotations

import datetime as dt
import enum
import logging
import time
from typing import Any

from jobforge_sa.joblog import JobFields
from jobforge_sa.ops import records, times
from jobforge_sa.ops.screen import safe
from jobforge_sa.worker import errortext

FIELDS = {
    "job_id": "job", "job_type": "type", "tenant_id": "tenant", "attempt": "attempt", "run": "run",
    "trace_id": "trace",
}  # fmt: skip
_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class Level(enum.StrEnum):
    """How much to log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Format(enum.StrEnum):
    """How to log."""

    TEXT = "text"
    JSON = "json"


class _Formatter(logging.Formatter):
    """Cleans a traceback of what looks like a secret, as the one on the job's record is."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return errortext.clean(errortext.trace(ei[1])) if ei[1] is not None else ""


class LineFormatter(_Formatter):
    """`2026-01-31T12:00:00.123Z INFO    jobforge_sa.handler: sent job=… type=… tenant=… attempt=1 run=1`, in UTC."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line, with what is known of the job at its end."""
        said = {name: getattr(record, field) for field, name in FIELDS.items() if hasattr(record, field)}
        line = " ".join((super().formatMessage(record), *(f"{name}={value}" for name, value in said.items())))
        return safe(line).replace("\n", "\\n")  # an error's text must not pass for a line of ours


class JsonFormatter(_Formatter):
    """One JSON object in a line, in ASCII: timestamp, level, logger, message, what is known of the job, exception.

    What the call gave as `extra` comes along under its name.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said: dict[str, Any] = {
            "timestamp": times.iso(dt.datetime.fromtimestamp(record.created, dt.UTC)),
            "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage(),
        }  # fmt: skip
        said |= {name: value for name, value in record.__dict__.items() if name not in _PLAIN and name not in said}
        # a child process has put it into words
        exception = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        return records.line(said | {"exception": exception} if exception else said)


def to_stderr(level: Level, form: Format = Format.TEXT) -> None:
    """Send the log of the whole process to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form is Format.JSON else LineFormatter())
    handler.addFilter(JobFields())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)  # else they are lines of another kind between those of ours
