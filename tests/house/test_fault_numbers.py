"""docs/faults.md and the tests agree: a test shows each fault case under its number, or the page has the reason."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.house import markdown
from tests.house.source import ROOT, functions, python_files

PAGE = ROOT / "docs" / "faults.md"
ALL = set(range(1, 58))
REASON = re.compile(r"^(Does not apply|To come|Elsewhere): \S.{20,}")

_ROW = re.compile(r"^\| (?P<number>\d+) \| (?P<fault>[^|]+) \| (?P<happens>[^|]+) \| (?P<shown>.*) \|$")
_LINK = re.compile(r"\[(?P<name>test_fault_\w+)\]\(\.\./(?P<file>tests/[\w/]+\.py)\)")


def numbers(name: str) -> set[int]:
    """The cases that a test's name claims: `test_fault_003_004_restarts_...`."""
    found = re.match(r"test_fault((?:_\d{3})+)_", name)
    return {int(number) for number in found[1].split("_") if number} if found else set()


@cache
def rows() -> dict[int, re.Match[str]]:
    """The row of each case."""
    found: dict[int, re.Match[str]] = {}
    for row in filter(None, map(_ROW.match, markdown.read(PAGE).splitlines())):
        assert int(row["number"]) not in found, f"case {row['number']} stands in two rows"
        found[int(row["number"])] = row
    return found


@cache
def numbered() -> dict[str, str]:
    """Each test with a number, and its file."""
    return {
        name: file.relative_to(ROOT).as_posix()
        for file in python_files("tests")
        for name, _ in functions(file)
        if "." not in name and numbers(name)
    }


def test_each_of_the_57_cases_has_its_row() -> None:
    assert rows().keys() == ALL


def test_the_names_of_tests_are_read_right() -> None:
    assert numbers("test_fault_003_004_restarts_under_load") == {3, 4}
    assert numbers("test_fault_053_the_1000th_attempt") == {53}
    assert numbers("test_fault_numbers") == set()


@pytest.mark.parametrize("number", sorted(ALL))
def test_a_fault_is_shown_by_tests_that_carry_its_number_or_has_its_reason(number: int) -> None:
    row, known = rows()[number], numbered()
    linked = {found["name"]: found["file"] for found in _LINK.finditer(row["shown"])}
    assert bool(linked) != bool(REASON.match(row["shown"])), row["shown"]
    for name, file in linked.items():
        assert known.get(name) == file, f"{name} is not in {file}"
    carrying = {name for name in known if number in numbers(name)}
    assert carrying == linked.keys(), "a number has one meaning, that of its row"


def test_every_number_is_of_the_page() -> None:
    assert set().union(*map(numbers, numbered())) <= ALL
