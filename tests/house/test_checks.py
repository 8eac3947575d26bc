"""What the doctor looks for: no check is forgotten by it or by docs/doctor.md, and each is seen to find its fault.

JOBFORGE_UPDATE_SNAPSHOT=1 writes the page's tables down again.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from jobforge_sa.ops.doctor import report as doctor
from tests.house.markdown import read
from tests.house.source import PACKAGE, ROOT, name_of, tree_of

CHECKS = sorted((PACKAGE / "ops" / "doctor" / "checks").rglob("*.sql"))
BREAK_THEM = (ROOT / "tests" / "security" / "test_lints.py", ROOT / "tests" / "acceptance" / "test_game_day.py")


def said_in(*files: Path) -> set[str]:
    """The strings of these files."""
    nodes = (node for file in files for node in ast.walk(tree_of(file)))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("file", CHECKS, ids=name_of)
def test_each_check_is_asked_and_says_what_its_fault_allows(file: Path) -> None:
    assert len(doctor.why(file.stem)) > 80, "in no group that is asked, or without a reason at its top"
    assert max(len(line) for line in file.read_text().splitlines()) <= 130


def test_each_check_has_a_test_that_breaks_the_thing() -> None:
    assert {file.stem for file in CHECKS} - said_in(*BREAK_THEM) == set()


PAGE = ROOT / "docs" / "doctor.md"
FOLDERS = ("work", "server", "connection", "logins", "application", "signed", "checks")  # as on the page


def table(folder: str) -> str:
    """The checks of a folder, with the reason that each prints."""
    rows = [f"| `{file.stem}` | {doctor.why(file.stem)} |\n" for file in CHECKS if file.parent.name == folder]
    return "".join(["| finding | what it means |\n", "|---|---|\n", *rows])


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_page_has_each_check_and_its_reason(folder: str) -> None:
    text = read(PAGE)
    found = re.search(rf"<!-- {folder} -->\n\n((?:\|.*\n)*)", text)
    assert found is not None
    if os.environ.get("JOBFORGE_UPDATE_SNAPSHOT"):
        PAGE.write_text(text[: found.start(1)] + table(folder) + text[found.end(1) :], encoding="utf-8")
    else:
        assert found[1] == table(folder)


def test_no_folder_of_checks_is_missing_on_the_page() -> None:
    assert {file.parent.name for file in CHECKS} == set(FOLDERS)
