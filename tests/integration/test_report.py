"""`connector.report.generate` with a real worker and a real database: formats, places, hostile names, kills."""

from __future__ import annotations

import base64
import csv
import datetime as dt
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from sqlalchemy.orm import Session

from jobforge_sa import Jobs, Results, Worker
from jobforge_sa.artifacts import ArtifactInfo, Artifacts, DatabaseSink, FileSink, S3Sink, Sink
from jobforge_sa.connectors import ConnectorSettings
from jobforge_sa.errors import ArtifactNotFound, ConfigurationError, InvalidPayload
from jobforge_sa.handlers import Connectors, ReportRequest
from jobforge_sa.handlers.report import GeneratedReport, JobAnalytics, TenantUsage, UsageSummary
from tests.support import Sql, wait_for

DAY = dt.timedelta(days=1)
KINDS: dict[str, Any] = {"usage-summary": UsageSummary, "job-analytics": JobAnalytics, "tenant-usage": TenantUsage}
HOSTILE = """=cmd|'/C calc'!A0 "><script>alert(1)</script>{{ 7 * 7 }}\u202e../../etc\x1b[31m"""


class Shop:
    """An application that asks for reports of its tenants, with a place for them."""

    def __init__(self, sql: Sql, sink: Sink | None = None) -> None:
        self.sql, self.database = sql, sql.database
        self.connectors = Connectors(artifacts=sink)

    def ask(self, tenant: str = "acme", **asked: Any) -> uuid.UUID:
        now = dt.datetime.now(dt.UTC)
        given: dict[str, Any] = {"report": "usage-summary", "since": now - DAY, "until": now + DAY}
        with Session(self.database.engine("jf_app")) as session, session.begin():
            return Jobs(session, tenant=tenant).enqueue(self.connectors.report, ReportRequest(**given | asked)).id

    def work(self) -> dict[str, int]:
        worker_engine, app = (self.database.engine(login) for login in ("jf_worker", "jf_app"))
        with Worker(worker_engine, self.connectors.forge, session_engine=app) as worker:
            assert worker.drain(20)
            return dict(worker.outcomes)

    def result(self, job: uuid.UUID, tenant: str = "acme") -> GeneratedReport:
        return Results(self.database.engine("jf_app"), tenant=tenant).wait(self.connectors.report, job, timeout=0)

    def artifact(self, job: uuid.UUID, tenant: str = "acme") -> ArtifactInfo:
        with Session(self.database.engine("jf_app")) as session:
            artifacts = Artifacts(session, tenant=tenant)
            (found,) = artifacts.list(job)
            return artifacts.get(job, found.name)

    def error(self, job: uuid.UUID) -> dict[str, str]:
        with psycopg.connect(self.database.dsn("jf_admin")) as connection:
            asked = "select error from jobforge.all_attempts where job_id = %s order by run desc limit 1"
            return dict((connection.execute(asked, [job]).fetchone() or [{}])[0])


def history(sql: Sql, tenant: str = "acme") -> None:
    """Two jobs that succeeded, and one that is dead."""
    for outcome in ("succeeded", "succeeded", "failed"):
        sql.enqueue(tenant, max_attempts=1)
        sql.complete(sql.claim_one(), outcome, **({} if outcome == "succeeded" else {"error": {"type": "ValueError"}}))


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


# -- formats ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format_", ["json", "html", "csv"])
def test_a_report_is_made_by_a_worker_and_read_by_its_tenant(sql: Sql, kind: str, format_: str) -> None:
    shop = Shop(sql)
    history(sql)
    history(sql, "other")
    job = shop.ask(report=kind, format=format_)
    assert shop.work() == {"succeeded": 1}

    told, found = shop.result(job), shop.artifact(job)

    assert (told.enqueued, told.name, told.location) == (4, found.name, None)  # the report's own job, too
    assert re.fullmatch(rf"{kind}-\d{{8}}-\d{{8}}\.{format_}", found.name)
    assert found.body is not None
    assert (hashlib.sha256(found.body).hexdigest(), len(found.body)) == (told.sha256, told.size)
    assert (
        found.media_type.split(";")[0] == {"json": "application/json", "html": "text/html", "csv": "text/csv"}[format_]
    )
    if format_ == "json":
        document = KINDS[kind].model_validate_json(found.body)
        assert (document.tenant_id, document.total.enqueued) == ("acme", 4)
        assert json.loads(found.body)["schema"] == f"jobforge.report.{kind}/1"
    elif format_ == "html":
        assert "acme" in Page(found.body).text
        assert "other" not in Page(found.body).text.replace("another", "")
    else:
        rows = [*csv.DictReader(io.StringIO(found.body.decode()))]
        assert sum(int(row["enqueued"]) for row in rows) == 4


def test_a_report_has_the_name_that_was_asked_for(sql: Sql) -> None:
    shop = Shop(sql)
    job = shop.ask(name="november", format="csv")
    shop.work()
    assert shop.artifact(job).name == "november.csv"


def test_what_cannot_be_a_report_is_refused_when_it_is_enqueued(sql: Sql) -> None:
    shop, now = Shop(sql), dt.datetime.now(dt.UTC)
    task = shop.connectors.report
    for wrong in (
        {"from": now, "until": now}, {"from": now, "until": now - DAY}, {"from": now, "until": now + 367 * DAY},
        {"from": now.replace(tzinfo=None), "until": now + DAY}, {"report": "all"}, {"format": "pdf"},
        {"name": "../x"}, {"name": ""}, {"tenant": "other"},
    ):  # fmt: skip
        given = {"report": "usage-summary", "from": now - DAY, "until": now} | wrong
        with pytest.raises(InvalidPayload), Session(shop.database.engine("jf_app")) as session:
            Jobs(session, tenant="acme").enqueue(task, given)  # type: ignore[arg-type]


def test_a_tenant_that_has_nothing_gets_a_report_of_nothing(sql: Sql) -> None:
    shop, old = Shop(sql), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    jobs = [
        shop.ask(report=kind, format=format_, since=old, until=old + DAY)
        for kind in KINDS for format_ in ("json", "html", "csv")
    ]  # fmt: skip
    assert shop.work() == {"succeeded": 9}
    for job in jobs:
        body = shop.artifact(job).body or b""
        assert not re.search(rb"\bnan\b", body, re.IGNORECASE)
        assert shop.result(job).enqueued == 0


def test_a_connector_that_is_switched_off_reports_nothing(sql: Sql) -> None:
    shop = Shop(sql)
    with shop.database.engine("jf_admin").begin() as c:
        ConnectorSettings(c).set("acme", {"enabled": False}, type=shop.connectors.report)
    job, other = shop.ask(), shop.ask("other")
    shop.work()
    assert (sql.state(job), sql.state(other)) == ("dead", "succeeded")
    assert "switched off" in shop.error(job)["message"]


# -- hostile names ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_want_to_be_more_than_text_are_text(sql: Sql, tmp_path: Path, kind: str) -> None:
    shop = Shop(sql, FileSink(tmp_path))
    tenant = HOSTILE.replace("\x1b", "")
    sql.enqueue(tenant, "t", max_attempts=1)
    sql.complete(sql.claim_one(), "failed", error={"type": HOSTILE})
    for change in ("type = 'x' || %s", "queue = %s || 'x'"):  # no enqueue takes such names; a table is a table
        sql.session("postgres").execute(f"update jobforge.jobs set {change}".encode(), [HOSTILE])
    jobs = {format_: shop.ask(tenant, report=kind, format=format_) for format_ in ("html", "csv", "json")}
    assert shop.work() == {"succeeded": 3}
    bodies = {
        name: Path(unquote(urlsplit(shop.artifact(job, tenant).location or "").path)).read_bytes()
        for name, job in jobs.items()
    }

    page = Page(bodies["html"])
    assert {tag for tag, _ in page.tags} <= {
        "html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "p", "b", "section", "figure",
        "figcaption", "div", "ul", "li", "span", "small", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td",
        "svg", "desc", "g", "rect", "line", "polygon", "polyline", "footer",
    }  # fmt: skip
    assert not [
        name
        for _, attributes in page.tags
        for name in attributes
        if name.startswith("on") or name in ("style", "href", "src")
    ]
    assert "<script>alert(1)</script>{{ 7 * 7 }}" in page.text
    for body in bodies.values():
        assert b"\x1b" not in body
        assert "\u202e" not in body.decode() or body is bodies["json"]
    for row in csv.reader(io.StringIO(bodies["csv"].decode())):
        assert not [cell for cell in row if cell.startswith(tuple("=+-@\t\r|"))]
    assert (
        bodies["csv"].count(b"\n")
        == bodies["csv"].count(b"\r\n")
        == len([*csv.reader(io.StringIO(bodies["csv"].decode()))])
    )
    assert json.loads(bodies["json"])["tenant_id"] == tenant
    assert {path.relative_to(tmp_path).parts[1] for path in tmp_path.rglob("*") if path.is_file()} == {
        str(job) for job in jobs.values()
    }


def test_a_page_allows_its_own_style_sheet_and_nothing_else(sql: Sql) -> None:
    shop = Shop(sql)
    job = shop.ask()
    shop.work()
    body = (shop.artifact(job).body or b"").decode()
    policy = next(a["content"] for tag, a in Page(body.encode()).tags if tag == "meta" and "http-equiv" in a) or ""
    style = re.search(r"<style>(.*?)</style>", body, re.DOTALL)
    assert style is not None
    digest = hashlib.sha256(style[1].encode()).digest()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{base64.b64encode(digest).decode()}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"https?://|url\(|@import|javascript:", body)


# -- places ----------------------------------------------------------------------------


def test_what_is_too_large_for_the_database_ends_the_job_with_the_cure(sql: Sql) -> None:
    sql("limit_artifacts", user="jf_admin", max_bytes=100)
    shop = Shop(sql)
    job = shop.ask()
    assert shop.work() == {"failed": 1}
    assert sql.state(job) == "dead"
    assert re.search(r"has \d+ bytes, 100 are allowed.*limit_artifacts", shop.error(job)["message"], re.DOTALL)
    small = Shop(sql, DatabaseSink(max_bytes=50))
    job = small.ask()
    small.work()
    assert "50 are allowed" in small.error(job)["message"]


def test_a_file_is_whole_its_owners_and_its_tenants(sql: Sql, tmp_path: Path) -> None:
    shop = Shop(sql, FileSink(tmp_path / "made" / "by us"))
    job, other = shop.ask(format="csv"), shop.ask("a/../b", format="csv")
    assert shop.work() == {"succeeded": 2}

    found, told = shop.artifact(job), shop.result(job)

    assert found.body is None
    path = Path(unquote(urlsplit(found.location or "").path))
    assert path == tmp_path / "made" / "by us" / "acme" / str(job) / "1" / found.name
    assert hashlib.sha256(path.read_bytes()).hexdigest() == told.sha256 == found.sha256
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in path.parent.iterdir()] == [found.name]
    theirs = Path(unquote(urlsplit(shop.artifact(other, "a/../b").location or "").path)).relative_to(tmp_path)
    assert re.fullmatch(r"a_b\.[0-9a-f]{16}", theirs.parts[2])


def test_a_folder_that_cannot_be_written_is_tried_again(sql: Sql, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    shop = Shop(sql, FileSink(tmp_path / "taken"))
    job = shop.ask()
    assert shop.work() == {"failed": 1}
    assert sql.state(job) == "scheduled"
    assert shop.error(job)["type"] == "ArtifactNotStored"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """A client of a bucket on loopback."""
    import boto3
    from botocore.config import Config
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", aws_access_key_id="x",
        aws_secret_access_key="not-a-secret", config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )  # fmt: skip
    client.create_bucket(Bucket="reports")
    yield client
    client.close()
    server.stop()


def test_a_bucket_gets_the_bytes_and_the_database_their_place(sql: Sql, bucket: Any) -> None:
    shop = Shop(sql, S3Sink("reports", "of/", client=bucket))
    job = shop.ask(format="html")
    assert shop.work() == {"succeeded": 1}

    found = shop.artifact(job)

    assert (found.body, found.location) == (None, f"s3://reports/of/acme/{job}/1/{found.name}")
    kept = bucket.get_object(Bucket="reports", Key=(found.location or "").removeprefix("s3://reports/"))
    assert hashlib.sha256(kept["Body"].read()).hexdigest() == found.sha256
    assert kept["ContentType"] == "text/html; charset=utf-8"


def test_a_bucket_that_takes_nothing_is_tried_again_and_its_secrets_are_not_told(sql: Sql, bucket: Any) -> None:
    for sink in (S3Sink("no-such-bucket", client=bucket), S3Sink("reports", client=bucket, max_bytes=5)):
        shop = Shop(sql, sink)
        job = shop.ask()
        assert shop.work() == {"failed": 1}
        error = shop.error(job)
        assert "not-a-secret" not in str(error)
        if sink.bucket == "reports":
            assert sql.state(job) == "dead"
        else:
            assert (sql.state(job), error["type"]) == ("scheduled", "ArtifactNotStored")
            assert "NoSuchBucket" in error["message"]
    assert bucket.list_objects_v2(Bucket="reports", Prefix=f"acme/{job}").get("KeyCount", 0) == 0


def test_no_transaction_is_open_while_bytes_travel(sql: Sql) -> None:
    seen: list[Any] = []

    class Slow(DatabaseSink):
        def put(self, ctx: Any, artifact: Any) -> Any:
            seen.append(ctx.session.in_transaction())
            return super().put(ctx, artifact)

    Shop(sql, Slow()).ask()
    Shop(sql, Slow()).work()
    assert seen == [False]


# -- killed, and lost ------------------------------------------------------------------

DIES = """
    import os, signal, sys
    from sqlalchemy import create_engine
    from jobforge_sa import Worker
    from jobforge_sa.artifacts import FileSink, files, sink
    from jobforge_sa.handlers import Connectors

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    url, app, folder, when = sys.argv[1:]
    if when == "half a file":
        files.os.fsync = die
    else:
        from jobforge_sa.worker import session
        session.complete = die
    where = FileSink(folder) if folder else None
    with Worker(create_engine(url), Connectors(artifacts=where).forge, session_engine=create_engine(app)) as worker:
        worker.drain(20)
"""


@pytest.mark.parametrize("when", ["half a file", "before the commit", "before the commit, to the database"])
def test_a_worker_that_is_killed_leaves_no_half_artifact(sql: Sql, tmp_path: Path, when: str) -> None:
    shop = Shop(sql, None if "database" in when else FileSink(tmp_path))
    job = shop.ask(format="csv")
    script = tmp_path / "dies.py"
    script.write_text(textwrap.dedent(DIES))
    urls = [shop.database.url(login).render_as_string(hide_password=False) for login in ("jf_worker", "jf_app")]
    process = subprocess.run(
        [sys.executable, script, *urls, "" if "database" in when else tmp_path, when.partition(",")[0]],
        env=os.environ, timeout=60, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert sql.look("select count(*) as kept from jobforge.artifacts") == [{"kept": 0}]
    assert list(tmp_path.rglob("*.csv")) == [] or when == "before the commit"

    sql.session("postgres").execute("update jobforge.workers set alive_until = now() - interval '1 s'")
    sql("rescue_expired_jobs")
    assert sql.state(job) == "queued"
    assert shop.work() == {"succeeded": 1}

    found = shop.artifact(job)
    body = found.body if found.location is None else Path(unquote(urlsplit(found.location).path)).read_bytes()
    assert found.location is None or f"/{job}/2/" in found.location
    assert hashlib.sha256(body or b"").hexdigest() == found.sha256


def test_a_run_that_has_lost_its_lease_overwrites_nothing(sql: Sql, tmp_path: Path) -> None:
    class Overtaken(FileSink):
        def put(self, ctx: Any, artifact: Any) -> Any:
            if ctx.job.run == 1:
                sql.session("postgres").execute("delete from jobforge.leases")
                sql.session("postgres").execute(
                    "insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes) "
                    "values ('default', 'acme', 0, %s, 'connector.report.generate', 1, 0, 0)", [ctx.job.id],
                )  # fmt: skip
            return super().put(ctx, artifact)

    shop = Shop(sql, Overtaken(tmp_path))
    job = shop.ask(format="json")
    shop.work()
    wait_for(lambda: sql.state(job) == "succeeded", what="the second run")
    found = shop.artifact(job)
    assert f"/{job}/2/" in (found.location or "")
    assert len([*tmp_path.rglob("*.json")]) == 2


# -- reading again ---------------------------------------------------------------------


def test_artifacts_are_read_by_their_tenant_alone(sql: Sql) -> None:
    shop = Shop(sql)
    first, second, theirs = shop.ask(), shop.ask(), shop.ask("other")
    shop.work()
    with Session(shop.database.engine("jf_app")) as session:
        ours = Artifacts(session, tenant="acme")
        page = ours.list(limit=1)
        assert [one.job_id for one in (*page, *ours.list(after=page[0]))] == [second, first]
        assert page[0].body is None
        with pytest.raises(ArtifactNotFound):
            ours.get(theirs, page[0].name)
        with pytest.raises(ArtifactNotFound):
            ours.get(first, "no-such")
    with pytest.raises(ConfigurationError):
        Artifacts("session")  # type: ignore[arg-type]
