"""`connector.report.generate`: a report of the job's own tenant, computed under its policies, kept as an artifact."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from jobforge_sa.artifacts import Artifact, DatabaseSink
from jobforge_sa.context import Context
from jobforge_sa.db.calls import Call
from jobforge_sa.enqueue.answers import translated
from jobforge_sa.errors import ArtifactTooLarge
from jobforge_sa.handlers.report.compute import compute
from jobforge_sa.handlers.report.render import render
from jobforge_sa.handlers.report.request import GeneratedReport, ReportRequest
from jobforge_sa.tasks import JobForge, Task
from jobforge_sa.types import Discard

if TYPE_CHECKING:
    from jobforge_sa.handlers.ground import Means

NAME = "connector.report.generate"
TIMEOUT = dt.timedelta(minutes=10)


def register(forge: JobForge, means: Means) -> Task[ReportRequest, GeneratedReport]:
    """The task in a registry; its artifacts go where the means say."""
    sink = DatabaseSink() if means.artifacts is None else means.artifacts

    @forge.task(NAME, timeout=TIMEOUT)
    def generate_report(ctx: Context, request: ReportRequest) -> GeneratedReport | Discard:
        if means.ground(ctx).config.get("enabled") is False:
            return Discard("this connector is switched off for the tenant; jobforge connectors set enables it")
        report = compute(_asking(ctx.session), request.report, ctx.job.tenant_id, request.since, request.until)
        ctx.session.rollback()  # it was read; no transaction is open while a page is made, and bytes travel
        rendered = render(report, request.format)
        artifact = Artifact(name_of(request), rendered.media_type, rendered.body)
        try:
            ref = sink.put(ctx, artifact)
        except ArtifactTooLarge as error:
            ctx.session.rollback()  # the database's refusal has ended the transaction, and this end needs one
            return Discard(str(error))  # the next time it would be no smaller
        return GeneratedReport(
            report=request.report, format=request.format, enqueued=report.total.enqueued, **asdict(ref)
        )

    return generate_report  # type: ignore[return-value]  # its outcomes are no results


def name_of(request: ReportRequest) -> str:
    """The artifact's name: what was asked for, or the report and its days."""
    days = "-".join(f"{time.astimezone(dt.UTC):%Y%m%d}" for time in (request.since, request.until))
    return f"{request.name or f'{request.report}-{days}'}.{request.format}"


def _asking(session: Session) -> Any:
    connection = session.connection()

    def ask(call: Call, values: Mapping[str, object]) -> Sequence[Any]:
        with translated(connection):
            return connection.execute(call.statement(None), call.values(None, **values)).all()

    return ask
