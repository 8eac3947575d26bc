"""docs/comparison.md is fair: it has a date, and no cell without its source."""

from __future__ import annotations

import re

from tests.house.markdown import read
from tests.house.source import ROOT

PAGE = ROOT / "docs" / "comparison.md"
LINK = re.compile(r"\[[^\]]+\](?:\[(?P<named>\w+)\]|\((?P<inline>[^)]+)\))")


def rows() -> list[list[str]]:
    """The cells of each row of each table, without what the row is about."""
    lines = [line for line in read(PAGE).splitlines() if line.startswith("| ") and not line.startswith("| |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_cell_has_its_source() -> None:
    sources = set(re.findall(r"^\[(\w+)\]: https://\S+$", read(PAGE), re.MULTILINE))
    found = rows()
    assert len(found) > 20
    for topic, *cells in found:
        assert len(cells) == 7, topic
        for cell in cells:
            link = LINK.fullmatch(cell.replace("**", ""))
            assert link is not None, f"{topic}: {cell} has no source"
            assert link["inline"] or link["named"] in sources, f"{topic}: {cell}"


def test_code_of_others_is_named_at_the_commit_that_was_read() -> None:
    links = re.findall(r"https://github\.com/\S+/blob/\S+", read(PAGE))
    assert [link for link in links if not re.search(r"/blob/[0-9a-f]{40}/", link)] == []


def test_it_has_a_date_and_says_where_we_are_behind() -> None:
    assert re.search(r"\*\*As of 20\d\d-\d\d-\d\d\*\*", read(PAGE))
    assert "\n## Where we are behind\n" in read(PAGE)
