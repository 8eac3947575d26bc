"""A job's trace: JSON text of an object that holds the W3C names of a span, beside whatever else the caller gave."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

API = "opentelemetry.trace"  # in sys.modules where the application traces; never imported by us
CARRIED = ("traceparent", "tracestate")  # not the baggage, which is the request's and may be anything
MOST = 4096  # bytes

_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


def read(trace: str | None) -> dict[str, Any]:
    """What is in it; nothing where it is none."""
    try:
        found = json.loads(trace) if trace else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def carrying(trace: str | None, carrier: dict[str, str]) -> str | None:
    """The trace with another span in it. Where that is too much the trace stays: a job is not refused for it."""
    kept = {name: value for name, value in read(trace).items() if name not in CARRIED}
    for left in (carrier, {"traceparent": carrier["traceparent"]}):
        text = json.dumps(kept | left)
        if len(text) <= MOST:
            return text
    return trace


def ids(trace: str | None) -> tuple[str, str] | None:
    """The ids of trace and span, for logs: of the current span, else of the one that came with the job."""
    # another thread may be in the middle of loading it: there is no span yet, and no line of the log may fail for that
    if (asked := getattr(sys.modules.get(API), "get_current_span", None)) is not None:
        current = asked().get_span_context()
        if current.is_valid:
            return f"{current.trace_id:032x}", f"{current.span_id:016x}"
    if trace is None or "traceparent" not in trace:
        return None
    found = _PARENT.fullmatch(str(read(trace).get("traceparent")))
    return (found[1], found[2]) if found else None
