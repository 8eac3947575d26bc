"""docs/architecture.md has from the SQL who writes which table, and what each function locks in which order.

JOBFORGE_UPDATE_SNAPSHOT=1 writes the two tables down again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from tests.house.markdown import read
from tests.house.source import ROOT, SQL, sql_functions

PAGE = ROOT / "docs" / "architecture.md"
TABLES = sorted(folder.name for folder in (SQL / "tables").iterdir())
PLACES = ("scheduled", "ready", "leases")  # in the order in which a job moves

WRITE = re.compile(r"\b(insert into|update|delete from)\s+jobforge\.(\w+)")
UPSERT = re.compile(r"\binsert into\s+jobforge\.(\w+)[^;]*?\bdo update\b")
# a row lock: a delete, an update, or a select that says so; a row that is met by its place is locked already
LOCK = re.compile(
    r"\b(?:delete from|update)\s+jobforge\.(?P<written>\w+)(?=(?P<how>(?:(?!\breturning\b|\bdelete from\b)[^;])*))"
    r"|\bfor (?:update|share)\b(?: of (?P<alias>\w+))?(?P<skip> skip locked)?"
    r"|\bjobforge\.(?P<call>\w+)\("
)
FROM = re.compile(r"\b(?:from|join)\s+jobforge\.(\w+)(?:\s+(?!for\b)(\w+))?")


@dataclass(frozen=True)
class Lock:
    """Rows of a table that a function wants."""

    table: str
    skips: bool  # what another holds


@cache
def body(function: str) -> str:
    """What stands between the dollars, without its comments and texts."""
    found = re.search(r"^as \$\$(.*?)\$\$;?", sql_functions()[function].read_text(), re.DOTALL | re.MULTILINE)
    assert found, function
    return re.sub(r"'(?:[^']|'')*'", "''", re.sub(r"--[^\n]*", "", found[1]))


def writes(function: str) -> set[tuple[str, str]]:
    """What its own statements do to which table."""
    found = [*WRITE.findall(body(function)), *(("update", table) for table in UPSERT.findall(body(function)))]
    return {(verb.split()[0], table) for verb, table in found if table in TABLES}


@cache
def locks(function: str) -> tuple[Lock, ...]:
    """What it locks, in the order of its text, with what the functions do that it calls."""
    return tuple(_locks(function))


def _locks(function: str) -> Iterator[Lock]:
    text = body(function)
    free: set[str] = set()  # what it has locked by passing over all else, it deletes without waiting
    for found in LOCK.finditer(text):
        called = found["call"]
        if called in sql_functions() and called != function:
            yield from locks(called)
        elif found["written"] in TABLES and found["written"] not in free and "ctid = any" not in found["how"]:
            yield Lock(found["written"], skips=False)
        elif found[0].startswith("for "):
            lock = Lock(selected(text[: found.start()], found["alias"]), skips=bool(found["skip"]))
            free |= {lock.table} if lock.skips else set()
            yield lock


def selected(before: str, alias: str | None) -> str:
    """The table whose rows a select locks: its first, or the one of this name; what stands in brackets is another's."""
    while (without := re.sub(r"\([^()]*\)", " ", before)) != before:
        before = without
    statement = before[max(before.rfind(mark) for mark in "(;") + 1 :]
    tables = FROM.findall(statement[re.search(r".*\b(?:select|perform)\b", statement, re.DOTALL).end() :])  # type: ignore[union-attr]
    return str(next(table for table, name in tables if alias in (None, name)))


def granted() -> list[str]:
    return [name for name, file in sql_functions().items() if "\ngrant execute" in file.read_text()]


# --- the table of tables ------------------------------------------------------------------------------------


def writers() -> str:
    rows = ["| table | inserted by | updated by | deleted by |", "|---|---|---|---|"]
    for table in TABLES:
        cells = [
            " ".join(f"`{one}`" for one in sql_functions() if (verb, table) in writes(one))
            for verb in ("insert", "update", "delete")
        ]
        rows.append(f"| `{table}` | {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(rows) + "\n"


def test_every_table_has_one_row_in_the_table_of_tables() -> None:
    part = read(PAGE).partition("## The tables")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (`.+?) \|", part, re.MULTILINE)
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == TABLES


def test_who_writes_a_table_is_as_the_functions_have_it() -> None:
    same_as_the_page("Who writes which table", writers())


def test_what_happens_to_a_job_updates_few_rows() -> None:
    """A worker's, a walk's, that of a waiting payload, and that of an endpoint that fails."""
    told_by_people = {"limits", "retention", "settings", "tenant_keys", "connectors", "connector_secrets"}
    on_the_way = {"workers", "pruning", "newest", "jobs", "unique_keys", "waits", "webhook_endpoints"}
    updated = {table for name in sql_functions() for verb, table in writes(name) if verb == "update"}
    assert updated == told_by_people | on_the_way


@pytest.mark.parametrize("name", sorted(sql_functions().keys() - {"budget"}))  # which has found its rows by their key
def test_no_row_is_chosen_by_a_comparison_with_the_clock_itself(name: str) -> None:
    """It is volatile: asked for each row, and no index is searched for what it gives. A variable takes its value."""
    assert not re.search(r"\b(?:where|and|or|on)\b[^;\n]*[<>]=?\s*jobforge\.now\(\)", body(name))


# --- the order of locks -------------------------------------------------------------------------------------


def orders() -> str:
    rows = ["| function | locks, in this order | passes over what another holds |", "|---|---|---|"]
    for name in granted():
        waits, skips = (
            " ".join(dict.fromkeys(f"`{one.table}`" for one in locks(name) if one.skips is skips))
            for skips in (False, True)
        )
        if waits or skips:
            rows.append(f"| `{name}` | {waits} | {skips} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(rows) + "\n"


def test_what_a_function_locks_in_which_order_is_as_the_functions_have_it() -> None:
    same_as_the_page("What each function locks", orders())


@pytest.mark.parametrize("name", sql_functions())
def test_who_looks_for_a_job_looks_in_the_order_in_which_jobs_move(name: str) -> None:
    """In each function for itself: who is called looks anew, for what its caller has already or for another job."""
    met = [table for table in (one.table for one in locks(name) if not one.skips) if table in PLACES]
    own = [table for verb, table in WRITE.findall(body(name)) if verb == "delete from" and table in PLACES]
    assert own == sorted(own, key=PLACES.index)
    assert list(dict.fromkeys(met)) == sorted(set(met), key=PLACES.index)


def same_as_the_page(heading: str, made: str) -> None:
    text = read(PAGE)
    found = re.search(rf"### {heading}\n.*?(?P<table>^\|.*?\n)(?!\|)", text, re.DOTALL | re.MULTILINE)
    assert found, f"no section {heading}"
    if os.environ.get("JOBFORGE_UPDATE_SNAPSHOT"):
        PAGE.write_text(text.replace(found["table"], made))
    else:
        assert found["table"] == made, "JOBFORGE_UPDATE_SNAPSHOT=1 writes it down"
