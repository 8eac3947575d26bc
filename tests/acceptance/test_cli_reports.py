"""`jobforge report` and `jobforge artifacts`: the job's numbers without a job, to a pipe or a file; whose they are."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobforge_sa.handlers.report import UsageSummary
from tests.acceptance.cli import inside, jobforge, refused
from tests.fix_postgres import Database
from tests.support import Sql, one_database


@pytest.fixture(scope="module")
def shop(admin_url: sa.URL, template: str) -> Iterator[tuple[Database, uuid.UUID]]:
    """Two jobs of acme's, of which one has made two artifacts, and one of another's with one that lies elsewhere."""
    with one_database(admin_url, template) as database, Sql(database) as sql:
        for tenant in ("acme", "acme", "other"):
            sql.enqueue(tenant)
        runs = sql.claim()
        for run in runs:
            of: dict[str, Any] = {
                "job_id": run["job_id"],
                "lease_token": run["lease_token"],
                "media_type": "text/plain",
            }
            if run["tenant_id"] == "other":
                far: dict[str, Any] = {"location": "s3://bucket/\u2028key", "size": 5, "sha256": "0" * 64}
                sql("store_artifact", name="far.txt", **of, **far)
            elif run is next(one for one in runs if one["tenant_id"] == "acme"):
                acme = run["job_id"]
                for name in ("a.txt", "b.bin"):
                    sql("store_artifact", name=name, body=b"\x1b[31m" + name.encode() + b"\x00\xff", **of)
            sql.complete(run)
        yield database, acme


def test_a_report_is_computed_without_a_job_for_an_administrator_and_for_its_tenant(
    shop: tuple[Database, uuid.UUID], tmp_path: Path
) -> None:
    database, _ = shop
    for user in ("jf_admin", "jf_app", "jf_one"):
        said = inside(database.url(user), "report", "usage-summary", "--tenant", "acme", "--from", "1d").stdout
        found = UsageSummary.model_validate_json(said)
        assert (found.tenant_id, found.total.enqueued, found.total.succeeded) == ("acme", 2, 2)
    rows = inside(database.url("jf_admin"), "report", "tenant-usage", "--tenant", "other", "--format", "csv").stdout
    assert [row["enqueued"] for row in csv.DictReader(io.StringIO(rows))] == ["1"]
    place = tmp_path / "page.html"
    asked = ("report", "job-analytics", "--tenant", "acme", "--format", "html", "--output", str(place))
    done = inside(database.url("jf_admin"), *asked)
    assert (done.stdout, f"{place.stat().st_size:,} bytes written" in done.stderr) == ("", True)
    assert place.read_text().startswith("<!doctype html>")
    refused(inside(database.url("jf_admin"), *asked, status=2), "--force")
    inside(database.url("jf_admin"), *asked, "--force")


def test_what_cannot_be_reported_says_why(shop: tuple[Database, uuid.UUID]) -> None:
    database, _ = shop
    for more, word in (
        (("--from", "400d"), "366 days"), (("--from", "1h", "--until", "2h"), "from"),
        (("--from", "2026-01-01"), "zone"),
    ):  # fmt: skip
        refused(inside(database.url("jf_admin"), "report", "usage-summary", "--tenant", "acme", *more, status=2), word)
    assert "--tenant" in inside(database.url("jf_admin"), "report", "usage-summary", status=2).stderr
    assert "usage-summary" in inside(database.url("jf_admin"), "report", "all", "--tenant", "a", status=2).stderr


def test_artifacts_are_listed_for_their_tenant_or_all_of_them(shop: tuple[Database, uuid.UUID]) -> None:
    database, job = shop

    def told(user: str, *arguments: str) -> list[dict[str, object]]:
        lines = inside(database.url(user), "artifacts", "list", "--json", *arguments).stdout.splitlines()
        return [json.loads(line) for line in lines]

    assert {one["name"] for one in told("jf_admin")} == {"a.txt", "b.bin", "far.txt"}
    assert [one["name"] for one in told("jf_app", "--tenant", "acme")] == ["b.bin", "a.txt"]
    assert [one["name"] for one in told("jf_admin", "--job", str(job), "--limit", "1")] == ["b.bin"]
    assert [one["name"] for one in told("jf_admin", "--job", str(job), "--cursor", f"{job}/b.bin")] == ["a.txt"]
    assert "body" not in told("jf_admin")[0]
    refused(inside(database.url("jf_app"), "artifacts", "list", status=2), "--tenant")
    refused(inside(database.url("jf_admin"), "artifacts", "list", "--cursor", "x", status=2), "cursor")
    table = inside(database.url("jf_admin"), "artifacts", "list").stdout
    assert "s3://bucket/" in table
    assert "\u2028" not in table


def test_an_artifact_is_fetched_to_a_pipe_or_a_file_as_it_is(shop: tuple[Database, uuid.UUID], tmp_path: Path) -> None:
    database, job = shop
    place = tmp_path / "a.txt"
    admin = database.url("jf_admin")
    inside(admin, "artifacts", "get", str(job), "a.txt", "--output", str(place))
    assert place.read_bytes() == b"\x1b[31ma.txt\x00\xff"
    refused(inside(admin, "artifacts", "get", str(job), status=2), "2 artifacts", "a.txt, b.bin")
    refused(inside(admin, "artifacts", "get", str(job), "c.txt", status=2), "no artifact")
    refused(inside(admin, "artifacts", "get", str(uuid.uuid4()), status=2), "no artifact")
    refused(inside(admin, "artifacts", "get", str(job), "a.txt", "--tenant", "other", status=2), "no artifact")
    (far,) = [
        json.loads(x) for x in inside(admin, "artifacts", "list", "--tenant", "other", "--json").stdout.splitlines()
    ]
    refused(inside(admin, "artifacts", "get", far["job_id"], status=2), "s3://bucket/", "fetch")


def test_bytes_that_are_not_those_that_were_stored_are_not_given_out(shop: tuple[Database, uuid.UUID]) -> None:
    database, job = shop
    with database.engine().begin() as c:
        c.execute(sa.text("update jobforge.artifacts set body = 'x' where name = 'b.bin'"))
    refused(inside(database.url("jf_admin"), "artifacts", "get", str(job), "b.bin", status=2), "not those")


def test_an_administrator_says_how_large_artifacts_may_be(shop: tuple[Database, uuid.UUID]) -> None:
    database, _ = shop
    assert (
        inside(database.url("jf_admin"), "artifacts", "limit", "2000000").stdout
        == "artifacts: at most 2,000,000 bytes\n"
    )
    said = inside(database.url("jf_app"), "report", "tenant-usage", "--tenant", "acme").stdout
    assert json.loads(said)["limits"]["max_artifact_bytes"] == 2_000_000
    refused(inside(database.url("jf_app"), "artifacts", "limit", "1", status=2), "jobforge_admin")


def test_a_pipe_gets_the_bytes_alone(shop: tuple[Database, uuid.UUID]) -> None:
    database, _ = shop
    done = jobforge(database.url("jf_admin"), "report", "usage-summary", "--tenant", "acme", "--format", "html")
    assert done.stdout.endswith("</html>\n")
