"""The dashboard and the alerts ask for what is exported, with labels that it has; and each alert leads to its page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from tests.acceptance.exported import exported
from tests.house.markdown import anchors
from tests.house.source import ROOT

FOLDER = ROOT / "docs" / "monitoring"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
SCRAPED = {"instance", "job"}  # labels that Prometheus adds


def expressions() -> list[str]:
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    return [*(rule["expr"] for rule in ALERTS), *asked]


def walk(node: Any) -> Iterator[Any]:
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(node, name, None)
        if inner is not None and not isinstance(inner, str | float | int):
            yield from walk(inner)
    for argument in getattr(node, "args", None) or ():
        yield from walk(argument)


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_is_promql_about_series_that_are_exported(expression: str) -> None:
    known = exported()
    nodes = [*walk(promql_parser.parse(expression.replace("$queue", "mail")))]
    selectors = [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]
    assert selectors
    labels = set[str]()
    for selector in selectors:
        assert selector.name in known, f"{selector.name} is not exported"
        labels |= known[selector.name] | SCRAPED
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= known[selector.name] | SCRAPED
    by = set(re.findall(r"\w+", " ".join(re.findall(r"\b(?:by|on) \(([^)]*)\)", expression))))
    assert by <= labels


def test_each_alert_has_a_summary_a_severity_and_a_page() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names)
    for rule in ALERTS:
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page == "docs/runbook.md"
        assert anchor in anchors(ROOT / page), rule["alert"]
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_the_dashboard_can_be_imported() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] and (panel["type"] == "row" or panel["description"]) for panel in panels)
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels]
    assert len(set(places)) == len(places)
