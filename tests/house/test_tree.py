"""The tree keeps its shape: what must not be there, what every file of a kind has, where SQL may stand."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.source import (
    PACKAGE,
    ROOT,
    SQL,
    Function,
    callers,
    docstrings,
    name_of,
    python_files,
    sql_functions,
    tree_of,
)

FILES = python_files("jobforge_sa")
SQL_FUNCTIONS = sorted((SQL / "functions").glob("*/v*.sql"))
ROLES = {"app", "worker", "admin"}

STATEMENT = re.compile(
    r"\bselect\b.+\bfrom\b|\bselect\s+(jobforge\.|set_config|pg_|current_)|\binsert\s+into\s|\bdelete\s+from\s|"
    r"\bjobforge\.[a-z_]+\s*\(|\b(from|join|update|table)\s+jobforge\.",
    re.IGNORECASE | re.DOTALL,
)
MAY_HOLD_SQL = ("db/", "testing/")
NO_STATEMENT: dict[str, str] = {}  # strings elsewhere that look like one: "file:line" and the reason


def declared_names(file: Path) -> list[str] | None:
    for node in tree_of(file).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def public(node: ast.AST, path: str) -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """The public functions and classes, and the public methods of these."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function | ast.ClassDef) or child.name.startswith("_"):
            continue
        if any(ast.unparse(decorator).endswith("overload") for decorator in child.decorator_list):
            continue
        yield f"{path}{child.name}", child
        if isinstance(child, ast.ClassDef):
            yield from public(child, f"{path}{child.name}.")


def strings(file: Path) -> Iterator[tuple[int, str]]:
    """The texts in the code, docstrings left out."""
    tree = tree_of(file)
    skipped = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped:
            yield node.lineno, node.value


def test_the_alembic_folder_is_no_package() -> None:
    """As one it would hide the library of that name from everybody who works in the repository."""
    assert list((ROOT / "alembic").rglob("__init__.py")) == []


def test_no_file_is_called_after_nothing() -> None:
    assert [name_of(file) for file in FILES if file.stem in {"utils", "util", "common", "helpers", "misc"}] == []


def test_type_hints_ship() -> None:
    assert (PACKAGE / "py.typed").is_file()
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["jobforge_sa"], "force-include": {"alembic": "jobforge_sa/alembic"}}


@pytest.mark.parametrize("file", SQL_FUNCTIONS, ids=name_of)
def test_every_sql_function_carries_its_contract(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    name = file.parent.name

    assert text.startswith("-- "), "says first what it is for"
    assert re.search(rf"^create (or replace )?function jobforge\.{name}\(", text, re.MULTILINE)
    assert len(re.findall(r"^create ", text, re.MULTILINE)) == 1, "one function, one file"
    assert re.search(r"^set search_path = pg_catalog, pg_temp$", text, re.MULTILINE)
    assert re.search(rf"^comment on function jobforge\.{name}\b", text, re.MULTILINE)
    assert callers(text) <= ROLES, "granted by role, to nobody else"


def test_versions_of_a_sql_file_have_no_gaps() -> None:
    for name, newest in sql_functions().items():
        versions = {int(file.stem[1:]) for file in newest.parent.glob("*.sql")}
        assert versions == set(range(1, max(versions) + 1)), name


def test_every_sql_file_belongs_to_a_revision() -> None:
    said = "".join(file.read_text() for file in python_files("alembic/versions"))
    kinds = [file for file in SQL.rglob("v*.sql") if file.parent != SQL / "schema"]
    assert [name_of(file) for file in kinds if file.parent.name not in said] == []


@pytest.mark.parametrize("file", [file for file in FILES if declared_names(file) is not None], ids=name_of)
def test_what_a_module_offers_is_sorted_and_there(file: Path) -> None:
    names = declared_names(file)
    assert names is not None
    assert names == sorted(set(names))

    module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    assert [name for name in names if not hasattr(importlib.import_module(module), name)] == []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_what_is_public_says_what_it_is_for(file: Path) -> None:
    tree = tree_of(file)
    assert ast.get_docstring(tree), "each module says why it exists"
    if not file.stem.startswith("_") or file.stem == "__init__":
        assert [name for name, node in public(tree, "") if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_sql_stands_in_sql_files_and_its_calls_in_one_place(file: Path) -> None:
    if file.relative_to(PACKAGE).as_posix().startswith(MAY_HOLD_SQL):
        return
    found = [f"{name_of(file)}:{line} {text[:60]!r}" for line, text in strings(file) if STATEMENT.search(text)]
    assert [one for one in found if one.split(" ")[0] not in NO_STATEMENT] == []
