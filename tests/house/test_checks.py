"""What the doctor looks for: no check is forgotten by it, and each is seen to find its fault."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from jobforge_sa.ops.doctor import report as doctor
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
