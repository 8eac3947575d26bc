"""Spans from the enqueue to the run, by a real SDK that keeps them in memory."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from contextlib import AbstractContextManager
from typing import Any

import pytest
import sqlalchemy as sa
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy.orm import Session

from jobforge_sa import AsyncContext, Context, JobForge, Jobs, Worker
from jobforge_sa.joblog import JobFields
from jobforge_sa.tasks import Task
from tests.fix_postgres import Database
from tests.integration import traced_app
from tests.support import wait_for

Payload = dict[str, Any]


def span(name: str) -> AbstractContextManager[object]:
    return trace.get_tracer("the application").start_as_current_span(name)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What is exported, in this test only: a provider set for the process would trace the tests that come after."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


forge = JobForge(tenant="acme")
forge.include(traced_app.forge)


@forge.task(queue="mail")
def parent(ctx: Context, payload: Payload) -> None:
    logging.getLogger("the application").info("in the handler")
    with span("work"):
        Jobs(ctx.session).enqueue(child, {})


@forge.task(queue="mail", max_attempts=1)
async def child(ctx: AsyncContext, payload: Payload) -> None:
    await asyncio.sleep(0)
    logging.getLogger("the application").info("in the async handler")
    raise ValueError("no luck, password=hunter2")


def run(database: Database, task: Task[Any, Any], count: int, **options: Any) -> Worker:
    """Enqueue under a span of the application's, and run until so many runs have ended."""
    engine = database.engine("jf_one")
    with span("request"), Session(engine) as session, session.begin():
        Jobs(session).enqueue(task, {})
    with Worker(engine, forge, **options) as worker:
        wait_for(lambda: sum(worker.outcomes.values()) == count)
    return worker


def by_name(spans: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    found: dict[str, list[ReadableSpan]] = {}
    for span in spans.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def identity(span: ReadableSpan | trace.Link) -> tuple[int, int]:
    context = span.context
    assert context is not None
    return context.trace_id, context.span_id


def below(span: ReadableSpan, other: ReadableSpan) -> bool:
    return span.parent is not None and (span.parent.trace_id, span.parent.span_id) == identity(other)


def test_an_enqueue_and_its_run_are_linked_and_follow_ups_hang_below_the_run(
    database: Database, spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(fields := JobFields())
    caplog.set_level(logging.INFO)
    run(database, parent, 2)
    caplog.handler.removeFilter(fields)

    found = by_name(spans)
    (request,), (work,) = found["request"], found["work"]
    first, second = found["send mail"]
    runs = {str((one.attributes or {})["jobforge.job.type"]): one for one in found["process mail"]}
    assert below(first, request)
    assert below(second, work)
    assert below(work, runs["parent"])
    assert [identity(link) for link in runs["parent"].links] == [identity(first)]
    assert runs["parent"].parent is None, "a trace of its own"
    assert [identity(link) for link in runs["child"].links] == [identity(second)]
    assert (first.kind, runs["child"].kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)

    said = dict(runs["parent"].attributes or {})
    job_id = said["messaging.message.id"]
    assert (first.attributes or {})["messaging.message.id"] == job_id
    assert said | {"messaging.client.id": "w"} == {
        "messaging.system": "jobforge", "messaging.operation.name": "process", "messaging.operation.type": "process",
        "messaging.destination.name": "mail", "messaging.message.id": job_id, "messaging.client.id": "w",
        "jobforge.tenant": "acme", "jobforge.job.type": "parent", "jobforge.attempt": 1, "jobforge.run": 1,
        "jobforge.outcome": "succeeded",
    }  # fmt: skip
    assert runs["parent"].status.status_code is StatusCode.UNSET
    assert (runs["child"].attributes or {})["error.type"] == "ValueError"
    assert runs["child"].status.description == "no luck, password=***"
    assert runs["child"].events == (), "no exception in full: it may hold secrets"

    records = {record.getMessage(): record.__dict__ for record in caplog.records}
    said_by = records["in the handler"]
    assert (said_by["job_id"], said_by["tenant_id"], said_by["attempt"], said_by["run"]) == (job_id, "acme", 1, 1)
    assert int(said_by["trace_id"], 16) == identity(runs["parent"])[0]
    assert records["in the async handler"]["job_type"] == "child"


def test_a_run_may_stand_in_the_trace_of_its_enqueue(database: Database, spans: InMemorySpanExporter) -> None:
    run(database, traced_app.quick, 1, continue_traces=True)
    found = by_name(spans)
    assert below(found["process default"][0], found["send default"][0])


def test_a_child_process_hangs_below_the_run_and_its_log_carries_the_job(
    database: Database, spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    worker = run(database, traced_app.traces, 2, process_imports=["tests.integration.traced_app"])
    assert worker.outcomes == {"succeeded": 2}

    runs = {str((one.attributes or {})["jobforge.job.type"]): one for one in by_name(spans)["process default"]}
    assert [identity(link)[0] for link in runs["quick"].links] == [identity(runs["traces"])[0]]
    (record,) = [one.__dict__ for one in caplog.records if one.getMessage() == "in a child"]
    assert int(record["trace_id"], 16) == identity(runs["traces"])[0]
    assert (record["job_type"], record["tenant_id"], record["run"]) == ("traces", "acme", 1)


def test_a_batch_is_one_span_and_what_a_caller_gave_stays_in_the_trace(
    database: Database, spans: InMemorySpanExporter
) -> None:
    engine = database.engine("jf_one")
    with Session(engine) as session, session.begin():
        Jobs(session).enqueue_many([traced_app.quick.new({}) for _ in range(3)])
    (sent,) = spans.get_finished_spans()
    assert (sent.name, (sent.attributes or {})["messaging.batch.message_count"]) == ("send default", 3)
    with database.engine("jf_admin").connect() as connection:
        traces = connection.scalars(sa.text("select trace ->> 'traceparent' from jobforge.jobs")).all()
    assert {one.split("-")[2] for one in traces} == {f"{identity(sent)[1]:016x}"}
    with database.engine().begin() as connection:  # as a client in another language gives it
        connection.execute(sa.text('update jobforge.jobs set trace = \'{"request": "r1", "traceparent": "old"}\''))
    with Worker(engine, forge, queues=["default"]) as worker:
        wait_for(lambda: worker.outcomes["succeeded"] == 3)


def test_without_opentelemetry_nothing_is_loaded_and_the_trace_goes_on(database: Database) -> None:
    script = traced_app.WITHOUT.format(url=database.url("jf_one").render_as_string(hide_password=False))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said == {"loaded": False, "trace": {"request": "r1"}}
