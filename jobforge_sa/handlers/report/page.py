"""A report as one HTML page that needs nothing else: no script, no font, no picture from anywhere; light and dark.

Whatever a tenant has named its jobs is text on it: jinja2 escapes all of it, and its policy lets nothing run or load.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jobforge_sa.handlers.report import chart, words
from jobforge_sa.handlers.report.documents import JobAnalytics, Report, TenantUsage, UsageSummary

try:
    import jinja2
    import markupsafe
except ImportError as error:
    raise ImportError("jinja2 is not installed; run: pip install 'jobforge_sa[connectors]'") from error

SERIES = ("succeeded", "dead", "canceled", "unfinished")  # from the bottom up
SPACE = ("payload", "result", "artifact")
SHOWN = 10  # types or groups in a chart
ERRORS = 15
MOMENT = dt.timedelta(minutes=1)


def write(report: Report) -> str:
    """The page."""
    match report:
        case UsageSummary():
            name, more = "usage_summary", _usage(report)
        case JobAnalytics():
            name, more = "job_analytics", _analytics(report)
        case TenantUsage():
            name, more = "tenant_usage", _space(report)
    style = _environment().get_template("style.css").render()
    said = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    # this style sheet and nothing else
    policy = f"default-src 'none'; style-src 'sha256-{said}'; base-uri 'none'; form-action 'none'"
    template = _environment().get_template(f"{name}.html")
    # the last seven days begin a moment before what is kept for seven days
    incomplete = report.complete_since is not None and report.complete_since - report.since > MOMENT
    return template.render(
        report=report, incomplete=incomplete, style=markupsafe.Markup(style), policy=markupsafe.Markup(policy), **more
    )


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("jobforge_sa.handlers.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, finalize=_seen,
    )  # fmt: skip
    for name in ("count", "percent", "seconds", "size", "tick", "day", "whole_day", "moment"):
        made.filters[name] = getattr(words, name)
    return made


def _seen(value: Any) -> Any:
    """What a template writes: text with nothing in it that does not show."""
    return words.plain(value) if isinstance(value, str) and not isinstance(value, markupsafe.Markup) else value


def _ends(one: Any) -> list[tuple[str, float]]:
    return [(series, getattr(one, series)) for series in SERIES]


def _usage(report: UsageSummary) -> Mapping[str, Any]:
    days = report.days
    jobs = chart.ceiling(max(max(day.enqueued for day in days), 2))
    ran = chart.time_ceiling(max(day.run_seconds for day in days))
    told = [
        f"{words.whole_day(day.day)}: " + ", ".join(f"{value:,} {series}" for series, value in _ends(day) if value)
        for day in days
    ]
    return {
        "series": SERIES,
        "bars": chart.columns([(text, _ends(day)) for text, day in zip(told, days, strict=True)], jobs),
        "jobs_top": jobs,
        "line": chart.line([day.run_seconds for day in days], ran),
        "ran_top": ran,
        "ran": chart.columns(
            [(f"{words.whole_day(day.day)}: {words.seconds(day.run_seconds)}", ()) for day in days], ran
        ),
        "labels": chart.picked([words.day(day.day) for day in days]),
        "busiest": max(days, key=lambda day: day.enqueued),
    }


def _analytics(report: JobAnalytics) -> Mapping[str, Any]:
    shown = report.types[:SHOWN]
    top = max((one.enqueued for one in shown), default=1)
    failing = [(one, error) for one in report.types for error in one.errors]
    failing = sorted(failing, key=lambda found: -found[1].count)[:ERRORS]
    timed = [one for one in shown if one.run_p50 is not None]
    scale = chart.Scale.over([time for one in timed for time in (one.run_p50, one.run_p99) if time is not None])
    return {
        "series": SERIES,
        "ends": [(one, chart.rows_of(_ends(one), top)) for one in shown],
        "scale": scale,
        "times": [(one, _range(one, scale)) for one in timed],
        "failing": failing,
        "worst": failing[0][1].count if failing else 1,
        "rows_of": chart.rows_of,
    }


def _range(one: Any, scale: chart.Scale) -> Sequence[chart.Part]:
    """From the median to the 95th and on to the 99th of a hundred; as wide as a line at least."""
    places = [scale.place(time) for time in (one.run_p50, one.run_p95, one.run_p99)]
    return [
        chart.Part("most", places[0], 0, max(round(places[1] - places[0], 2), 0.6), 10),
        chart.Part("rest", places[1], 0, max(round(places[2] - places[1], 2), 0.6), 10),
    ]


def _space(report: TenantUsage) -> Mapping[str, Any]:
    def stored(one: Any) -> list[tuple[str, float]]:
        return [(series, getattr(one, f"{series}_bytes")) for series in SPACE]

    def whole(one: Any) -> float:
        return sum(value for _, value in stored(one))

    shown = sorted(report.groups, key=whole, reverse=True)[:SHOWN]
    top = max(map(whole, shown), default=0)
    return {
        "series": SPACE,
        "bars": [(one, whole(one), chart.rows_of(stored(one), top)) for one in shown if whole(one)],
        "stored": whole(report.total),
        "whole": whole,
    }
