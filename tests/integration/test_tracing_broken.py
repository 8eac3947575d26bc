"""An application's tracing that fails when a span starts, or when it ends: it costs the span, and nothing else."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import sqlalchemy as sa
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from sqlalchemy.orm import Session

from jobforge_sa import AsyncContext, Context, JobForge, Jobs, Worker
from jobforge_sa import trace as traces
from tests.fix_postgres import Database
from tests.integration import traced_app
from tests.support import wait_for

Payload = dict[str, Any]
forge = JobForge(tenant="acme")
forge.include(traced_app.forge)
ran: list[str] = []


@forge.task()
def plain(ctx: Context, payload: Payload) -> None:
    ran.append("plain")


@forge.task()
def writes(ctx: Context, payload: Payload) -> None:
    ctx.session.execute(sa.text("select 1"))
    ran.append("writes")


@forge.task()
async def on_the_loop(ctx: AsyncContext, payload: Payload) -> None:
    ran.append("on_the_loop")


class Broken(SpanProcessor):
    """Raises at one end of each span."""

    def __init__(self, when: str) -> None:
        self.when = when

    def on_start(self, span: Span, parent_context: Any = None) -> None:  # noqa: ARG002 - the SDK's names
        self._raise("start")

    def on_end(self, span: ReadableSpan) -> None:  # noqa: ARG002
        self._raise("end")

    def _raise(self, now: str) -> None:
        if self.when == now:
            raise OSError("the collector is away")


@pytest.fixture(params=["start", "end"])
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider()
    provider.add_span_processor(Broken(request.param))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    ran.clear()


@pytest.mark.usefixtures("broken")
def test_broken_tracing_costs_no_enqueue_and_each_job_runs_once(database: Database) -> None:
    engine = database.engine("jf_one")
    with Session(engine) as session, session.begin():
        for task in (plain, writes, on_the_loop, traced_app.traces):
            Jobs(session).enqueue(task, {})
        Jobs(session).enqueue_many([traced_app.quick.new({})])
    with Worker(engine, forge, process_imports=["tests.integration.traced_app"]) as worker:
        wait_for(lambda: worker.outcomes["succeeded"] == 6)
        assert worker.outcomes == {"succeeded": 6}, "nothing was released, lost or failed"
    assert sorted(ran) == ["on_the_loop", "plain", "writes"]


def test_a_line_that_is_logged_while_another_thread_loads_opentelemetry_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half = types.ModuleType(traces.API)  # as it is at the first line of its import
    monkeypatch.setitem(sys.modules, traces.API, half)
    assert traces.ids(None) is None
