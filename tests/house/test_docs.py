"""The pages are true: links lead somewhere, code runs, what the contract says is what the SQL does."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobforge_sa.db import contract
from jobforge_sa.errors import BY_SQLSTATE
from tests.fix_postgres import Database
from tests.house import markdown
from tests.house.markdown import README, Block
from tests.house.source import ROOT, callers, functions, sql_functions

CONTRACT = ROOT / "docs" / "sql-contract.md"
PAGES = markdown.pages()

TEST = re.compile(r"tests/[\w/.-]+?\.py(?:(?:::\w+)+|#L\d+(?:-L\d+)?)?")
TEST_NAMED = re.compile(r"\[`?(?P<name>test_\w+)`?\]\((?P<file>tests/[\w/.-]+\.py)")


# -- links -----------------------------------------------------------------------------


def fault(page: Path, target: str) -> str | None:
    """What is wrong with a relative link."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.is_relative_to(ROOT):
        return "leads out of the repository"
    if not file.exists():
        return "leads nowhere"
    if not anchor:
        return None
    if file.suffix == ".md":
        return None if anchor in markdown.anchors(file) else f"{file.name} has no heading #{anchor}"
    lines = re.fullmatch(r"L(\d+)(?:-L(\d+))?", anchor)
    if lines is None or int(lines[2] or lines[1]) > len(markdown.read(file).splitlines()):
        return "names no line of that file"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    relative = [(line, to) for line, to in markdown.links(page) if not re.match(r"[a-z][a-z0-9+.-]*:|//", to)]
    wrong = [f"{page.name}:{line} {to}: {why}" for line, to in relative if (why := fault(page, to))]
    assert wrong == []


# -- the README's guarantees -----------------------------------------------------------


def guarantees() -> list[str]:
    """The rows of the README's table of guarantees."""
    return re.findall(r"^\|\s*\W*G\d+\b.*$", markdown.read(README), re.MULTILINE)


def named_tests(text: str) -> list[str]:
    """The tests that a text names: `file::name`, `file#L12`, or a link [test_name](file)."""
    return [*TEST.findall(text), *(f"{found['file']}::{found['name']}" for found in TEST_NAMED.finditer(text))]


def missing(test: str) -> str | None:
    """Why there is no such test."""
    path, _, rest = test.replace("#", "::").partition("::")
    file = ROOT / path
    if not file.is_file():
        return f"{test}: no such file"
    tests = {name: node for name, node in functions(file) if name.split(".")[-1].startswith("test_")}
    if line := re.match(r"L(\d+)", rest):
        hit = any(node.lineno <= int(line[1]) <= (node.end_lineno or 0) for node in tests.values())
        return None if hit else f"{test}: no test stands there"
    if rest and rest.replace("::", ".") not in tests:
        return f"{test}: no such test"
    return None if tests else f"{test}: no tests in it"


def test_every_test_that_the_readme_names_exists() -> None:
    assert [why for test in named_tests(markdown.read(README)) if (why := missing(test))] == []


def test_every_guarantee_of_the_readme_names_its_test() -> None:
    assert [row for row in guarantees() if not named_tests(row)] == []


# -- code ------------------------------------------------------------------------------


def python_blocks() -> list[Block]:
    read = [README, *sorted((ROOT / "docs").rglob("*.md"))]
    return [block for page in read for block in markdown.blocks(page) if block.language in {"python", "py"}]


def contract_program() -> Block:
    return next(block for block in markdown.blocks(CONTRACT) if block.language == "python")


@pytest.mark.parametrize("block", python_blocks(), ids=lambda block: f"{block.page}:{block.line}")
def test_every_python_block_is_python(block: Block) -> None:
    compile(block.text, f"{block.page}:{block.line}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)


def test_the_worker_of_the_contract_works(database: Database, tmp_path: Path) -> None:
    """A worker written from the page alone: it needs nothing of ours."""
    assert "jobforge_sa" not in contract_program().text
    script = tmp_path / "worker.py"
    script.write_text(contract_program().text)
    with database.engine("jf_app").begin() as connection:
        connection.execute(sa.text("select set_config('jobforge.tenant_id', 'acme', true)"))
        for name in ("Ann", "Ben", ""):
            payload = sa.text(
                "select id from jobforge.enqueue_job('greet', json_build_object('name', cast(:n as text)))"
            )
            connection.execute(payload, {"n": name})

    run = subprocess.run(
        [sys.executable, script], env=os.environ | {"DSN": database.dsn("jf_worker")}, capture_output=True, check=False
    )

    assert run.returncode == 0, run.stderr.decode()
    assert run.stdout.decode().splitlines() == ["done", "done", "done"]
    with database.engine("jf_admin").connect() as connection:
        states = connection.execute(
            sa.text("select payload ->> 'name', state, result #>> '{}' from jobforge.all_jobs order by id")
        ).all()
        assert [tuple(row) for row in states] == [
            ("Ann", "succeeded", "Hello Ann"),
            ("Ben", "succeeded", "Hello Ben"),
            ("", "scheduled", None),
        ]
        assert connection.scalar(sa.text("select error ->> 'message' from jobforge.attempts where error is not null"))


# -- the contract ----------------------------------------------------------------------

GRANTED = {name: text for name, file in sql_functions().items() if callers(text := file.read_text(encoding="utf-8"))}


def sections() -> dict[str, str]:
    """The contract's text about each function, by its heading."""
    parts = re.split(r"^### `(\w+)`$", markdown.read(CONTRACT), flags=re.MULTILINE)
    texts = [re.split(r"^#{1,3} ", text, flags=re.MULTILINE)[0] for text in parts[2::2]]
    return dict(zip(parts[1::2], texts, strict=True))


def signature(sql: str) -> set[str]:
    """The names of a function's arguments and of the columns that it returns."""
    head = re.split(r"^language ", sql[sql.index("create ") :], maxsplit=1, flags=re.MULTILINE)[0]
    head = re.sub(r"--[^\n]*", "", head)
    columns = re.search(r"returns table \((.*)\)", head, re.DOTALL)
    found = re.findall(r'(?:^|,)\s*"?(\w+)"?\s+\w', columns[1]) if columns else []
    return set(re.findall(r"\bp_\w+", head)) | set(found)


def test_every_function_of_the_contract_is_on_its_page() -> None:
    assert sections().keys() == GRANTED.keys()


@pytest.mark.parametrize("name", GRANTED)
def test_the_page_says_who_may_call_what_with_which_arguments(name: str) -> None:
    section = sections()[name]
    said = re.search(r"^Callers: (.+?)\.", section, re.MULTILINE)

    assert said is not None
    assert set(said[1].split(", ")) == callers(GRANTED[name])
    words = set(re.findall(r"`\"?(\w+)\"?", section))
    assert signature(GRANTED[name]) - words == set()
    assert {word for word in words if word.startswith("p_")} <= signature(GRANTED[name])


def test_every_sqlstate_is_in_the_table_and_no_other() -> None:
    raised = {
        code
        for file in sql_functions().values()
        for line in file.read_text(encoding="utf-8").splitlines()
        if "errcode" in line
        for code in re.findall(r"'(JF\d{3})'", line)
    }
    assert set(re.findall(r"^\| `(JF\d{3})`", markdown.read(CONTRACT), re.MULTILINE)) == raised
    assert BY_SQLSTATE.keys() == raised


def test_the_table_of_errors_is_what_the_schemas_tell_clients() -> None:
    rows = re.findall(r"^\| `(JF\d{3})` \| (.+) \| (.+) \|$", markdown.read(CONTRACT), re.MULTILINE)
    assert {code: (cause, cure) for code, cause, cure in rows} == contract.REFUSALS
