"""The source as these tests read it: files, syntax trees, imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "jobforge_sa"
SQL = ROOT / "alembic" / "sql"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(*folders: str) -> list[Path]:
    found = (file for folder in folders for file in (ROOT / folder).rglob("*.py"))
    return sorted(file for file in found if "node_modules" not in file.parts)


def sql_functions() -> dict[str, Path]:
    """The newest version of each function of the schema."""
    newest: dict[str, Path] = {}
    for file in sorted((SQL / "functions").glob("*/v*.sql"), key=lambda file: int(file.stem[1:])):
        newest[file.parent.name] = file
    return dict(sorted(newest.items()))


def callers(sql: str) -> set[str]:
    """The roles that a function's file grants it to, without their prefix."""
    granted = re.findall(r"^grant execute on function [^;]*? to ([^;]+);", sql, re.MULTILINE)
    return {role.strip().removeprefix("jobforge_") for roles in granted for role in roles.split(",")}


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def functions(file: Path) -> Iterator[tuple[str, Function]]:
    """Every function of a file, however deep, with its path: `Worker.start`, `task.decorate`."""
    yield from _functions(tree_of(file), "")


def _functions(node: ast.AST, path: str) -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield f"{path}{child.name}", child
        inner = f"{path}{child.name}." if isinstance(child, Function | ast.ClassDef) else path
        yield from _functions(child, inner)


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Each import of a file, wherever it stands, TYPE_CHECKING included: its line and the module it means."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                yield node.lineno, _meant(module, alias.name)


def _meant(module: str, name: str) -> str:
    """`from jobforge_sa.db import calls` means the module, `from jobforge_sa.types import Done` what is in it."""
    path = ROOT.joinpath(*module.split("."), name)
    return f"{module}.{name}" if path.is_dir() or path.with_suffix(".py").is_file() else module


def docstrings(tree: ast.Module) -> set[ast.AST]:
    """The constants that are docstrings."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, owners)]
    return {body[0].value for body in bodies if body and isinstance(body[0], ast.Expr)}
