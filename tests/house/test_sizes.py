"""Small numbers: what is longer has its reason here, and leaves this list when it is not."""

from __future__ import annotations

import ast
import re

from tests.house.source import Function, functions, name_of, python_files, sql_functions

# lines of a function, from `def` to its end without the docstring, and of a file
LIMITS: dict[str, tuple[int, int]] = {
    "jobforge_sa": (30, 400),
    "alembic": (30, 400),
    "examples": (30, 400),
    "benchmarks": (30, 400),
    "tests": (45, 1000),  # a test tells one story from top to bottom; in two halves it would be read twice
}
SQL_BODY = 60

LONG_FUNCTIONS: dict[str, str] = {
    "jobforge_sa/ops/worker_command.py:worker": "each option of the command is a line of its signature",
    "jobforge_sa/worker/worker.py:Worker.__init__": "each argument is a line of its signature",
}
LONG_FILES: dict[str, str] = {}
LONG_SQL: dict[str, str] = {
    "audit": "one statement, so that all faults are looked for in one snapshot",
    "claim_jobs": "queues, limited tasks and all others share what is left",
    "claim_ring": "the ring and the claim share their state, and a function called for each circle would plan anew",
    "ring_of": "one statement walks all lanes: begun anew for each tenant it took three times as long",
    "enqueue_job": "a function for each step would cost as much as the step, and it is held to an INSERT",
    "enqueue_jobs": "one statement stores 10,000 jobs in five tables, so that nothing is read twice",
}


def length(function: Function) -> int:
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def body(sql: str) -> int:
    """The lines between the dollars."""
    found = re.search(r"^as \$\$(.*?)\$\$;", sql, re.DOTALL | re.MULTILINE)
    assert found, sql
    return len(found[1].strip("\n").splitlines())


def long_functions() -> dict[str, int]:
    return {
        f"{name_of(file)}:{name}": length(function)
        for folder, (limit, _) in LIMITS.items()
        for file in python_files(folder)
        for name, function in functions(file)
        if length(function) > limit
    }


def long_files() -> dict[str, int]:
    return {
        name_of(file): size
        for folder, (_, limit) in LIMITS.items()
        for file in python_files(folder)
        if (size := len(file.read_text(encoding="utf-8").splitlines())) > limit
    }


def long_sql() -> dict[str, int]:
    sizes = {name: body(file.read_text(encoding="utf-8")) for name, file in sql_functions().items()}
    return {name: size for name, size in sizes.items() if size > SQL_BODY}


def test_functions_fit_on_a_screen() -> None:
    assert {name: size for name, size in long_functions().items() if name not in LONG_FUNCTIONS} == {}


def test_files_have_one_noun_each() -> None:
    assert {name: size for name, size in long_files().items() if name not in LONG_FILES} == {}


def test_sql_functions_fit_on_two_screens() -> None:
    assert {name: size for name, size in long_sql().items() if name not in LONG_SQL} == {}


def test_no_allowance_outlives_its_reason() -> None:
    assert LONG_FUNCTIONS.keys() <= long_functions().keys()
    assert LONG_FILES.keys() <= long_files().keys()
    assert LONG_SQL.keys() <= long_sql().keys()
