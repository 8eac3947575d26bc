"""A tenant's own report, made by a job and kept in the database; and the same as CSV, for a spreadsheet."""

from datetime import UTC, datetime, timedelta
from warnings import simplefilter

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from jobforge_sa import Context, Discard, JobForge, Jobs, Worker
from jobforge_sa.artifacts import Artifacts
from jobforge_sa.db import migrate
from jobforge_sa.errors import RowSecurityOffWarning
from jobforge_sa.handlers import Connectors, ReportRequest
from jobforge_sa.handlers.report import JobAnalytics
from jobforge_sa.testing.server import provide

simplefilter("ignore", RowSecurityOffWarning)  # a server of one's own has one login, its superuser
connectors = Connectors()  # artifacts=FileSink("/var/reports"), or S3Sink("bucket"), keeps them elsewhere
forge = JobForge()
forge.include(connectors.forge)


@forge.task("mail.send", max_attempts=1)
def send(_: Context, mail: dict[str, str]) -> None:
    if "@" not in mail["to"]:
        raise Discard(f"{mail['to']} is no address")


with provide(("JOBFORGE_EXAMPLES_URL",)) as url:
    engine = create_engine(url)
    migrate.upgrade(engine)
    begin = datetime.now(UTC)

    def run(*jobs: tuple[str, object]) -> list[str]:
        with Session(engine) as session, session.begin():
            ids = [Jobs(session, tenant="acme").enqueue(forge.tasks[name], job).id for name, job in jobs]
        with Worker(engine, forge) as worker:
            worker.drain(timeout=30)
        with Session(engine) as session:
            artifacts = Artifacts(session, tenant="acme")
            return [(artifacts.get(id_, one.name).body or b"").decode() for id_ in ids for one in artifacts.list(id_)]

    run(*(("mail.send", {"to": to}) for to in ("ann@example.com", "ben@example.com", "nowhere")))
    end = datetime.now(UTC) + timedelta(microseconds=1)
    document, csv = run(
        (connectors.report.name, ReportRequest(report="job-analytics", since=begin, until=end, format="json")),
        (connectors.report.name, ReportRequest(report="tenant-usage", since=begin, until=end, format="csv")),
    )
    found = JobAnalytics.model_validate_json(document)
    mail = next(one for one in found.types if one.type == "mail.send")
    print(f"{mail.type}: {mail.succeeded} succeeded, {mail.dead} dead, rate {mail.success_rate:.2f}")
    print("errors:", [(error.type, error.count) for error in mail.errors])
    print(csv.splitlines()[1].split(",")[5:8])

# Output:
# mail.send: 2 succeeded, 1 dead, rate 0.67
# errors: [('Discard', 1)]
# ['"default"', '"mail.send"', '"3"']
