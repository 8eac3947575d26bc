"""Spans of OpenTelemetry's, from the enqueue to the run, where the application uses it; and nothing where it does not.

OpenTelemetry is never loaded from here: an application that wants spans has loaded its API, and whoever has not pays
one look into a dictionary. The names are those of the semantic conventions for messaging. What an exception says stays
out of spans, for it may hold secrets: a span gets the type of the error, and what the job's record says of it.

Samplers, processors and exporters are the application's, and the SDK calls them unguarded when a span starts and when
it ends. What they raise ends here: it costs the span, and no enqueue and no run.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

from jobforge_sa import trace as traces
from jobforge_sa.context import ClaimedJob
from jobforge_sa.tenant import Named, name_of
from jobforge_sa.trace import API, CARRIED

TRACER = "jobforge_sa"


class Span:
    """What is going on; or, where nobody traces, nothing."""

    __slots__ = ("_span",)

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def say(self, attributes: Mapping[str, str | int | None]) -> None:
        """Add attributes; None is left out."""
        if self._span is not None:
            with suppress(Exception):
                self._span.set_attributes(_known(attributes))

    def enqueued(self, job_id: uuid.UUID, type_: str) -> None:
        """It made this job."""
        if self._span is not None:
            self.say({"messaging.message.id": str(job_id), "jobforge.job.type": type_})

    def sent(self, queues: set[str], count: int) -> None:
        """A batch went to these queues: its span is named after the queue, if it is one."""
        if self._span is not None:
            self.say({"messaging.batch.message_count": count})
            if len(queues) == 1:
                (queue,) = queues
                self.say({"messaging.destination.name": queue})
                with suppress(Exception):
                    self._span.update_name(f"send {queue}")

    def failed(self, kind: str, message: str | None = None) -> None:
        """It ends with an error."""
        if self._span is not None:
            api = sys.modules[API]
            self.say({"error.type": kind})
            with suppress(Exception):
                self._span.set_status(api.Status(api.StatusCode.ERROR, message))

    def carry(self, trace: str | None) -> str | None:
        """A job's trace with this span in it, beside what else it holds."""
        return trace if self._span is None else _carried(trace)


_NOTHING = nullcontext(Span())


def in_use() -> bool:
    """Whether the application has loaded OpenTelemetry."""
    return API in sys.modules


def sending(queue: str | None, tenant: Named | None) -> AbstractContextManager[Span]:
    """The span of an enqueue, below the caller's own. A batch says its queues when they are known."""
    return _sending(queue, tenant) if API in sys.modules else _NOTHING


def processing(job: ClaimedJob, worker: str, *, below: bool) -> AbstractContextManager[Span]:
    """The span of a run: a trace of its own with a link to the enqueue; or `below` that, in the same trace."""
    return _processing(job, worker, below=below) if API in sys.modules else _NOTHING


@contextmanager
def hanging(trace: str | None) -> Iterator[Span]:
    """Let what is traced here hang below the span that a job's trace names: its run's, in another process."""
    if API in sys.modules:
        from opentelemetry import context

        token = context.attach(_context(trace))
        try:
            yield Span()
        finally:
            context.detach(token)
    else:
        yield Span()


@contextmanager
def _sending(queue: str | None, tenant: Named | None) -> Iterator[Span]:
    def start() -> Any:
        from opentelemetry import trace

        return trace.get_tracer(TRACER).start_span(
            f"send {queue}" if queue else "send", kind=trace.SpanKind.PRODUCER,
            attributes=_known(_operation("send", queue, None if tenant is None else name_of(tenant))),
        )  # fmt: skip

    with _current(start) as span:
        try:
            yield span
        except BaseException as error:
            span.failed(type(error).__name__)
            raise


def _processing(job: ClaimedJob, worker: str, *, below: bool) -> AbstractContextManager[Span]:
    def start() -> Any:
        from opentelemetry import trace
        from opentelemetry.context import Context

        origin = _context(job.trace)
        sent = trace.get_current_span(origin).get_span_context()
        attributes = _operation("process", job.queue, job.tenant_id) | {
            "messaging.message.id": str(job.id), "messaging.client.id": worker, "jobforge.job.type": job.type,
            "jobforge.attempt": job.attempt, "jobforge.run": job.run,
        }  # fmt: skip
        return trace.get_tracer(TRACER).start_span(
            f"process {job.queue}", kind=trace.SpanKind.CONSUMER, context=origin if below else Context(),
            links=[trace.Link(sent)] if sent.is_valid else [], attributes=_known(attributes),
        )  # fmt: skip

    return _current(start)


@contextmanager
def _current(start: Callable[[], Any]) -> Iterator[Span]:
    """Start a span, let it be the current one here, and end it."""
    try:
        span = start()
    except Exception:
        yield Span()
        return
    try:
        with sys.modules[API].use_span(span, record_exception=False, set_status_on_exception=False):
            yield Span(span)
    finally:
        with suppress(Exception):
            span.end()


def _operation(name: str, queue: str | None, tenant: str | None) -> dict[str, str | int | None]:
    return {
        "messaging.system": "jobforge", "messaging.operation.name": name, "messaging.operation.type": name,
        "messaging.destination.name": queue, "jobforge.tenant": tenant,
    }  # fmt: skip


def _known(attributes: Mapping[str, str | int | None]) -> dict[str, str | int]:
    return {name: value for name, value in attributes.items() if value is not None}


def _context(trace: str | None) -> Any:
    """The context of the span that a trace names; an empty one where it names none."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {name: value for name, value in traces.read(trace).items() if name in CARRIED and isinstance(value, str)}
    return TraceContextTextMapPropagator().extract(carrier, context=Context())


def _carried(trace: str | None) -> str | None:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return traces.carrying(trace, carrier) if carrier else trace  # nobody records: what came goes on
