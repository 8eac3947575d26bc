"""Every code block of every page is run: by `blocks.PageRun`, by the test that is named here, or not, with a reason.

JOBFORGE_UPDATE_SNAPSHOT=1 writes down what comes where a page says something else; put … for what differs each time.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.blocks import PARSED, RUN, PageRun, fits, forget_modules, plain
from tests.fix_postgres import Database
from tests.house import markdown
from tests.house.markdown import README, Block
from tests.house.source import ROOT

# pages, or single blocks by their first line, that a test of their own runs
ELSEWHERE: dict[str, str] = {
    "docs/runbook.md": "tests/acceptance/test_pages.py",
    "docs/pictures.md": "tests/acceptance/test_pages.py",
    "docs/testing.md": "tests/security/test_plugin.py",
    "docs/connectors.md": "tests/integration/test_http_request.py",
    "docs/webhooks.md: import json": "tests/integration/test_webhook_receivers.py",
    "docs/webhooks.md: import os": "tests/integration/test_webhook_receivers.py",
    "README.md: from pydantic import BaseModel": "tests/acceptance/test_readme.py",
    "README.md: from jobforge_sa import migrations": "tests/acceptance/test_wheel.py",
    "docs/sql-contract.md: import json": "tests/house/test_docs.py",
}
BARE = {"docs/quickstart.md"}  # pages that migrate a database themselves, with a superuser
UPDATE = bool(os.environ.get("JOBFORGE_UPDATE_SNAPSHOT"))
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]


def elsewhere(block: Block) -> bool:
    return block.page in ELSEWHERE or f"{block.page}: {block.first}" in ELSEWHERE


def own(page: Path) -> list[Block]:
    """What is run here of a page."""
    return [step for step in markdown.steps(page) if not elsewhere(step)]


def runs(page: Path) -> bool:
    return any(step.language in RUN | PARSED.keys() and not step.reason for step in own(page) if not step.hidden)


@pytest.fixture
def a_page_of_its_own(tmp_path: Path) -> Iterator[Path]:
    """The folder of a page; what it imports and changes in this process is gone afterwards."""
    path, environment = sys.path[:], dict(os.environ)
    with contextlib.chdir(tmp_path):
        yield tmp_path
    sys.path[:] = path
    os.environ.clear()
    os.environ.update(environment)
    forget_modules(tmp_path)


@pytest.mark.parametrize("page", [page for page in PAGES if runs(page)], ids=lambda page: page.name)
def test_the_code_of_the_page_does_what_it_says(
    page: Path, request: pytest.FixtureRequest, a_page_of_its_own: Path
) -> None:
    name = page.relative_to(ROOT).as_posix()
    bare = name in BARE
    database: Database = request.getfixturevalue("bare_database" if bare else "database")
    said = PageRun(database, a_page_of_its_own, login="postgres" if bare else "jf_one")(own(page))
    wrong = {block: now for block, now in said.items() if not fits(block.text, now)}
    if UPDATE:
        wrong = {block: now for block, now in wrong.items() if not written_down(page, block, now)}
    told = [f"{page.name}:{block.line} says\n{block.text}\nand what comes is\n{now}" for block, now in wrong.items()]
    assert not told, "JOBFORGE_UPDATE_SNAPSHOT=1 writes it down\n" + "\n".join(told)


def written_down(page: Path, block: Block, now: str) -> bool:
    if "…" in block.text:  # for a hand: what is left out, and what differs each time, no machine knows
        return False
    head = f"```{block.language}\n"
    text = markdown.read(page).replace(f"{head}{block.text}```", f"{head}{plain(now)}```", 1)
    page.write_text(text, encoding="utf-8")
    return True


def test_what_is_not_run_has_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """The list: pytest -s prints it."""
    left_out = [block for page in PAGES for block in markdown.blocks(page) if block.reason]
    with capsys.disabled():
        for block in left_out:
            print(f"\n  not run: {block.page}:{block.line} {block.first[:60]!r}: {block.reason}", end="")
    assert all(len(block.reason) > 10 for block in left_out)
    assert not [block for block in left_out if elsewhere(block) or block.language not in RUN]


def test_no_language_slips_through() -> None:
    """A block that nobody runs or parses is text, a picture or a log, and says so by its language."""
    known = RUN | PARSED.keys() | {"text", "js"}
    unknown = [block for page in PAGES for block in markdown.blocks(page) if block.language not in known]
    assert [f"{block.page} {block.language}" for block in unknown] == ["docs/architecture.md "]  # the tree


def test_no_block_is_indented() -> None:
    """In a list it would be seen by no test, and by the site as text."""
    found = {page.name: re.findall(r"(?m)^[ \t]+```.*$", markdown.read(page)) for page in PAGES}
    assert {name: blocks for name, blocks in found.items() if blocks} == {}
