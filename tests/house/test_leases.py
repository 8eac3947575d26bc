"""docs/leases.md: every transition of its tables names a test that there is."""

from __future__ import annotations

import re

import pytest

from tests.house.source import functions
from tests.properties import page

TEST = re.compile(r"\[(test_\w+)\]\(([^)]+\.py)\)")
ROWS = page.rows()


def test_the_page_has_its_tables() -> None:
    assert len(ROWS) > 50


@pytest.mark.parametrize("transition", ROWS)
def test_every_transition_is_linked_to_its_test(transition: str) -> None:
    named = TEST.findall(ROWS[transition])
    assert named, "no test is linked"
    for test, file in named:
        assert test in {name for name, _ in functions((page.PAGE.parent / file).resolve())}
