"""docs/security-cases.md and the tests agree: a test shows each case under its number, or the page has the reason."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import pytest

from tests.house import markdown
from tests.house.source import ROOT, functions, python_files

PAGE = ROOT / "docs" / "security-cases.md"
ALL = set(range(1, 125))
REASON = re.compile(r"^(Does not apply|To come|Not built): \w.{20,}")

_ROW = re.compile(
    r"^\| (?P<first>\d+)(?:–(?P<last>\d+))? \| (?P<tried>[^|]+) \| (?P<happens>[^|]+) \| (?P<shown>.*) \|$"
)
_LINK = re.compile(r"\[(?P<name>test_case_\w+)\]\(\.\./(?P<file>tests/security/test_\w+\.py)\)")


def numbers(name: str) -> set[int]:
    """The cases that a test's name claims: `test_case_072_and_074_to_078_an_option_...`."""
    found: list[int] = []
    up_to = False
    for word in name.removeprefix("test_case_").split("_"):
        if re.fullmatch(r"\d{3}", word):
            found += range(found[-1] + 1, int(word) + 1) if up_to else [int(word)]
            up_to = False
        elif word == "to":
            up_to = True
        elif word != "and":
            break
    return set(found)


@cache
def rows() -> dict[int, re.Match[str]]:
    """The row of each case; a range stands for each of its numbers."""
    found: dict[int, re.Match[str]] = {}
    for row in filter(None, map(_ROW.match, markdown.read(PAGE).splitlines())):
        for number in range(int(row["first"]), int(row["last"] or row["first"]) + 1):
            assert number not in found, f"case {number} stands in two rows"
            found[number] = row
    return found


@cache
def numbered() -> dict[str, str]:
    """Each test with a number, and its file."""
    return {
        name: file.relative_to(ROOT).as_posix()
        for file in python_files("tests")
        for name, _ in functions(file)
        if name.startswith("test_case_") and "." not in name and numbers(name)
    }


def collected() -> Iterator[tuple[str, str]]:
    """Name and id of each test that would run."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/security"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    for found in re.finditer(r"::(test_case_\w+)(?:\[(.*)\])?$", done.stdout, re.MULTILINE):
        yield found[1], found[2] or ""


def test_each_of_the_124_cases_has_its_row() -> None:
    assert rows().keys() == ALL


def test_the_names_of_tests_are_read_right() -> None:
    assert numbers("test_case_015_an_enqueue_is_refused") == {15}
    assert numbers("test_case_017_018_a_key") == {17, 18}
    assert numbers("test_case_072_and_074_to_076_an_option") == {72, 74, 75, 76}
    assert numbers("test_case_numbers") == set()


@pytest.mark.parametrize("number", sorted(ALL))
def test_a_case_is_shown_by_tests_that_carry_its_number_or_has_its_reason(number: int) -> None:
    row, known = rows()[number], numbered()
    linked = {found["name"]: found["file"] for found in _LINK.finditer(row["shown"])}
    assert bool(linked) != bool(REASON.match(row["shown"])), row["shown"]
    for name, file in linked.items():
        assert known.get(name) == file, f"{name} is not in {file}"
        assert number in numbers(name), f"{name} does not carry {number}"
    carrying = {name for name in known if number in numbers(name)}
    assert carrying == linked.keys(), "a number has one meaning, that of its row"


def test_numbered_tests_stand_together() -> None:
    assert {name: file for name, file in numbered().items() if not file.startswith("tests/security/")} == {}
    assert set().union(*map(numbers, numbered())) <= ALL


def test_where_ids_carry_numbers_they_carry_each_of_the_name() -> None:
    by_name: dict[str, set[int]] = {}
    for name, label in collected():
        by_name.setdefault(name, set()).update(int(found) for found in re.findall(r"(?:^|-)(\d{3})-", label))
    assert by_name.keys() == numbered().keys()
    assert {name: found for name, found in by_name.items() if found and found != numbers(name)} == {}
    assert sum(bool(found) for found in by_name.values()) > 10
