"""A report's formats, from documents made by hand: words, geometry, CSV, and pages that hold what they should."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
import re
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import pydantic
import pytest

from jobforge_sa.artifacts import Artifact, place
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.handlers.report import ReportRequest, chart, schemas, words
from jobforge_sa.handlers.report.documents import (
    Analytics,
    DayUsage,
    ErrorCount,
    GroupSpace,
    JobAnalytics,
    Limits,
    Report,
    Space,
    TenantUsage,
    TypeAnalytics,
    Usage,
    UsageSummary,
)
from jobforge_sa.handlers.report.render import render
from jobforge_sa.handlers.report.table import cell
from tests.house import markdown
from tests.house.source import ROOT

BEGIN = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
JOBS: dict[str, Any] = {"enqueued": 10, "succeeded": 6, "dead": 2, "canceled": 1, "unfinished": 1, "attempts": 12}
NONE: dict[str, Any] = dict.fromkeys(JOBS, 0)
TIMES: dict[str, Any] = {f"{what}_p{part}": part / 10 for what in ("run", "wait") for part in (50, 95, 99)}
NEVER: dict[str, Any] = dict.fromkeys(TIMES)


def head(days: int = 3, **other: Any) -> dict[str, Any]:
    return {
        "tenant_id": "acme", "since": BEGIN, "until": BEGIN + days * DAY, "generated_at": BEGIN + days * DAY,
        "complete_since": None, "back_to": None,
    } | other  # fmt: skip


def summary(*enqueued: int, **other: Any) -> UsageSummary:
    days = [
        DayUsage(day=(BEGIN + n * DAY).date(), run_seconds=2.5 * count, **JOBS | {"enqueued": count})
        for n, count in enumerate(enqueued)
    ]
    total = Usage(run_seconds=2.5 * sum(enqueued), **JOBS | {"enqueued": sum(enqueued)})
    return UsageSummary(**head(len(enqueued), **other), total=total, days=days)


def analytics(*names: str, **other: Any) -> JobAnalytics:
    more: dict[str, Any] = {
        "retries": 2,
        "lost": 1,
        "success_rate": 0.75,
        "errors": [ErrorCount(type="ValueError", count=3)],
    }
    types = [TypeAnalytics(type=name, **JOBS, **more, **TIMES) for name in names]
    return JobAnalytics(**head(**other), total=Analytics(**JOBS, **more, **TIMES), kinds=len(names), types=types)


def usage(*names: str, **other: Any) -> TenantUsage:
    room: dict[str, Any] = {
        "enqueued": 3,
        "attempts": 4,
        "run_seconds": 9.5,
        "payload_bytes": 2100,
        "result_bytes": 0,
        "artifact_bytes": 7,
    }
    limits = Limits(max_waiting=None, paused_at=BEGIN, max_payload_bytes=262_144, max_artifact_bytes=1_048_576)
    groups = [GroupSpace(queue="default", type=name, **room) for name in names]
    return TenantUsage(**head(**other), total=Space(**room), kinds=len(names), groups=groups, limits=limits)


def empty() -> list[Report]:
    days = [DayUsage(day=BEGIN.date(), run_seconds=0, **NONE)]
    nothing: dict[str, Any] = {"retries": 0, "lost": 0, "success_rate": None, "errors": []}
    room: dict[str, Any] = {
        "enqueued": 0,
        "attempts": 0,
        "run_seconds": 0,
        "payload_bytes": 0,
        "result_bytes": 0,
        "artifact_bytes": 0,
    }
    limits = Limits(max_waiting=0, paused_at=None, max_payload_bytes=1, max_artifact_bytes=0)
    return [
        UsageSummary(**head(1), total=Usage(run_seconds=0, **NONE), days=days),
        JobAnalytics(**head(), total=Analytics(**NONE, **nothing, **NEVER), kinds=0, types=[]),
        TenantUsage(**head(), total=Space(**room), kinds=0, groups=[], limits=limits),
    ]


def page(report: Report) -> str:
    return render(report, "html").body.decode()


# -- words -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "–"), (0, "0 s"), (0.0004, "0 ms"), (0.085, "85 ms"), (0.9994, "999 ms"), (0.9996, "1.0 s"),
        (1.24, "1.2 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"),
        (185, "3 min 05 s"), (3600, "1 h"), (7800, "2 h 10 min"),
        (172_800, "2.0 days"), (86_400 * 1234.5, "1,234.5 days"),
    ],
)  # fmt: skip
def test_a_duration_is_short(given: float | None, said: str) -> None:
    assert words.seconds(given).replace("\u00a0", " ") == said


@pytest.mark.parametrize(
    ("given", "said"),
    [(None, "–"), (0, "0 %"), (1, "100 %"), (0.9999, "99.9 %"), (0.0001, "0.1 %"), (0.5, "50.0 %"), (2 / 3, "66.7 %")],
)
def test_a_share_is_all_only_where_it_is_all(given: float | None, said: str) -> None:
    assert words.percent(given).replace("\u00a0", " ") == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "–"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_234_567, "1.2 MB"),
        (34e6, "34 MB"),
        (2e15, "2,000.0 TB"),
    ],
)
def test_a_size_is_short(given: float | None, said: str) -> None:
    assert words.size(given).replace("\u00a0", " ") == said


def test_a_moment_is_in_utc_and_midnight_is_a_day() -> None:
    berlin = dt.timezone(dt.timedelta(hours=1))
    assert words.moment(dt.datetime(2026, 11, 5, 1, tzinfo=berlin)).replace("\u00a0", " ") == "5 Nov 2026"
    assert (
        words.moment(dt.datetime(2026, 11, 5, 15, 5, tzinfo=berlin)).replace("\u00a0", " ") == "5 Nov 2026, 14:05 UTC"
    )
    assert words.whole_day(dt.date(2026, 11, 5)).replace("\u00a0", " ") == "Thu 5 Nov 2026"


def test_what_does_not_show_is_shown() -> None:
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e\u200b]", words.plain("a\x1b[31m\x9b\u202eb\u200b\x00\r\nc"))
    assert words.plain("Zoë 名前 ☂") == "Zoë 名前 ☂"


# -- geometry --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (1, 1), (1.1, 2), (2.2, 2.5), (3, 5), (7, 10), (1820, 2000), (0.3, 0.5), (1.1e9, 2e9)]
)
def test_the_top_of_a_plot_is_the_next_round_number(value: float, top: float) -> None:
    assert chart.ceiling(value) == pytest.approx(top)


@pytest.mark.parametrize(
    ("value", "top"),
    [(0, 1), (0.4, 0.5), (19, 20), (25, 30), (31, 60), (996, 1200), (4000, 7200), (100_000, 172_800), (2e6, 2_160_000)],
)
def test_the_top_of_a_plot_of_times_is_a_round_time(value: float, top: float) -> None:
    assert chart.time_ceiling(value) == pytest.approx(top)
    assert chart.time_ceiling(value) >= value


@pytest.mark.parametrize("days", [1, 2, 7, 40, 41, 366])
def test_columns_stand_side_by_side_and_none_leaves_the_plot(days: int) -> None:
    bars = chart.columns([("day", [("a", 3.0), ("b", 0.0), ("c", 7.0)])] * days, 10)
    assert len(bars) == days
    for place_, bar in enumerate(bars):
        assert [part.series for part in bar.parts] == ["a", "c"]
        assert sum(part.height for part in bar.parts) == pytest.approx(100)
        assert bar.parts[1].y == pytest.approx(0)
        assert all(place_ * 10 <= part.x and part.x + part.width <= place_ * 10 + 10 for part in bar.parts)
        assert all(part.width >= 1 for part in bar.parts)


def test_lying_stacks_are_as_long_as_their_share() -> None:
    parts = chart.rows_of([("a", 5), ("b", 0), ("c", 2.5)], 10)
    assert [(part.series, part.x, part.width) for part in parts] == [("a", 0, 50), ("c", 50, 25)]
    assert chart.rows_of([("a", 0)], 0) == []


def test_times_stand_on_their_power_of_ten() -> None:
    scale = chart.Scale.over([0.02, 35])
    assert (scale.low, scale.high) == (-2, 2)
    assert [round(tick, 4) for tick in scale.ticks] == [0.01, 0.1, 1, 10, 100]
    assert [scale.place(time) for time in (0.01, 1, 100, 0, 1e9)] == [0, 50, 100, 0, 100]
    assert chart.Scale.over([]).ticks == [1, 10]
    assert chart.Scale.over([0.0]).ticks == pytest.approx([0.001, 0.01])


@pytest.mark.parametrize("count", [1, 2, 6, 7, 30, 366])
def test_labels_go_from_the_first_day_to_the_last(count: int) -> None:
    picked = chart.picked([str(n) for n in range(count)])
    assert (picked[0], picked[-1]) == ("0", str(count - 1))
    assert len(picked) == len({*picked}) == min(count, chart.LABELS)


# -- csv -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=1", "|cmd", "%0a", "＝1", "=", "'=1"[1:]],
    ids=ascii,
)
def test_a_cell_is_no_formula(text: str) -> None:
    made = cell(text)
    assert made.startswith("'")
    assert not re.search(r"[\x00-\x1f]", made)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (0, "0"), (12, "12"), (2.5, "2.5"), (0.0, "0"), (1e-7, "0"), (100.0, "100"), ("a,b", "a,b"),
        ("a=b", "a=b"), (BEGIN, "2026-11-01T00:00:00Z"), (BEGIN.date(), "2026-11-01"), ('say "hi"', 'say "hi"'),
    ],
)  # fmt: skip
def test_a_cell_is_what_it_was(value: object, text: str) -> None:
    assert cell(value) == text


@pytest.mark.parametrize(
    "report",
    [summary(3, 0, 12), analytics("mail", "pay"), usage("mail", "pay"), *empty()],
    ids=lambda one: type(one).__name__,
)
def test_a_table_has_every_field_in_quotes_and_a_row_for_each(report: Report) -> None:
    text = render(report, "csv").body.decode()
    lines = text.removesuffix("\r\n").split("\r\n")
    assert all(re.fullmatch(r'"(?:[^"]|"")*"(?:,"(?:[^"]|"")*")*', line) for line in lines)
    rows = [*csv.reader(io.StringIO(text))]
    assert len({len(row) for row in rows}) == 1
    assert rows[0][:5] == ["tenant_id", "from", "until", "complete_since", "back_to"]
    of = getattr(report, {UsageSummary: "days", JobAnalytics: "types", TenantUsage: "groups"}[type(report)])
    assert len(rows) == 1 + len(of)


# -- json ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "report", [summary(3), analytics("a"), usage("a"), *empty()], ids=lambda one: type(one).__name__
)
def test_a_document_names_its_schema_and_reads_back(report: Report) -> None:
    body = render(report, "json").body
    document = json.loads(body, parse_constant=lambda name: pytest.fail(name))
    assert type(report).model_validate_json(body) == report
    schema = schemas()[document["schema"]]
    assert {*schema["required"]} <= document.keys() <= schema["properties"].keys()
    assert schema["additionalProperties"] is False


def test_the_document_of_the_page_is_one() -> None:
    (block,) = [one for one in markdown.blocks(ROOT / "docs" / "reports.md") if one.language == "json"]
    document = UsageSummary.model_validate_json(block.text)
    assert render(document, "json").body.decode() == block.text
    assert sum(day.enqueued for day in document.days) == document.total.enqueued


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_no_number_is_refused(number: float) -> None:
    with pytest.raises(pydantic.ValidationError):
        Usage(run_seconds=number, **JOBS)


# -- pages -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "report",
    [
        summary(3),
        summary(*range(366)),
        analytics("a"),
        analytics(*"abcdefghijkl"),
        usage("a"),
        usage(*"abcdefghijkl"),
        *empty(),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_page_is_well_made_and_of_a_bounded_size(report: Report) -> None:
    made = page(report)
    assert len(made.encode()) < 400_000
    # all of it but the head reads as XML: each tag is closed, each attribute quoted
    body = ElementTree.fromstring(made[made.index("<body>") : made.index("</html>")].replace("&nbsp;", " "))
    for svg in body.iter("svg"):
        assert svg.get("role") == "img"
        title = svg.find("title")
        assert title is not None
        assert title.text
        assert svg.get("aria-label") or svg.get("aria-labelledby", "").split()[0] == title.get("id")
    assert [scope.get("scope") for scope in body.iter("th") if scope.get("scope") not in ("col", "row")] == []
    assert not re.search(
        r"\b(nan|none|null|inf|undefined)\b", re.sub(r"<[^>]*>", " ", made[made.index("<body>") :]), re.IGNORECASE
    )
    assert "{{" not in made
    assert "{%" not in made


def test_a_page_says_what_it_does_not_count() -> None:
    assert "Notes" not in page(summary(1))
    assert "Notes" not in page(summary(1, complete_since=BEGIN))
    assert "some may be gone" in page(summary(1, complete_since=BEGIN + DAY / 2))
    assert "some may be gone" not in page(summary(1, complete_since=BEGIN + DAY / 86_400))
    assert "only those enqueued since" in page(summary(1, back_to=BEGIN))


def test_a_page_tells_of_limits_and_of_a_pause() -> None:
    made = page(usage("a")).replace("\u00a0", " ")
    assert "no limit" in made
    assert "paused since 1 Nov 2026" in made


def test_names_are_escaped_wherever_they_stand() -> None:
    evil = """</title></style></svg><script>alert('"1"')</script>&lt;"""
    for report in (summary(1, tenant_id=evil), analytics(evil, tenant_id=evil), usage(evil, tenant_id=evil)):
        made = page(report)
        assert "<script" not in made
        assert made.count("</title></style>") == made.count("</svg><script") == 0
        assert "&lt;script&gt;" in made


# -- what is asked, and where it goes --------------------------------------------------


def test_a_request_is_written_as_python_or_as_json() -> None:
    asked = ReportRequest(report="usage-summary", since=BEGIN, until=BEGIN + DAY)
    text = asked.model_dump_json(by_alias=True)
    assert json.loads(text)["from"] == "2026-11-01T00:00:00Z"
    assert ReportRequest.model_validate_json(text) == asked


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-x", "a/b", "a\\b", "a b", "é", "x" * 101, "a\n"])
def test_a_name_that_is_no_files_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        Artifact(name, "text/plain", b"")


@pytest.mark.parametrize(
    "tenant", ["acme", "a/../b", "..", ".", "", "Zoë", "x" * 200, "名" * 200, "a\nb", "CON", "~root", "-rf", "a.b"]
)
def test_a_tenant_is_a_folder_of_its_own(tenant: str) -> None:
    made = place.folder(tenant)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,60}|[A-Za-z0-9_-]{0,40}\.[0-9a-f]{16}", made)
    assert made == tenant or place.folder(tenant + "!") != made


def test_who_only_enqueues_loads_no_template_and_no_bucket() -> None:
    script = "import sys, jobforge_sa.handlers; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {"jinja2", "boto3", "botocore", "httpcore", "cryptography"}.isdisjoint(done.stdout.split())
