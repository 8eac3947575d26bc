"""The programs in examples/ print what their last lines say, on a server of their own or one that is given for them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobforge_sa.db import migrate
from tests.fix_postgres import Database

PROGRAMS = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))
# an example drops tables and works off jobs: whatever an application's own variables name, it never connects there
APPLICATION = dict.fromkeys(migrate.URL_VARIABLES, "postgresql+psycopg://nobody@127.0.0.1:1/production")
OUTPUT = re.compile(r"^# Output:\n((?:#.*\n)+)\Z", re.MULTILINE)


def run(program: Path, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if name not in migrate.URL_VARIABLES}
    done = subprocess.run(
        [sys.executable, program],
        env=inherited | environment, capture_output=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_an_example_prints_what_it_says(program: Path, bare_database: Database) -> None:
    said = OUTPUT.search(program.read_text(encoding="utf-8"))
    assert said, "its last lines are its output"
    expected = re.sub(r"^# ?", "", said[1], flags=re.MULTILINE)

    url = bare_database.url().render_as_string(hide_password=False)
    for _ in range(2):  # what it leaves behind is not in its own way
        assert run(program, JOBFORGE_EXAMPLES_URL=url, **APPLICATION) == expected


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_an_example_is_short_and_takes_no_server_but_its_own(program: Path) -> None:
    text = program.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert 'with provide(("JOBFORGE_EXAMPLES_URL",)) as url:' in text
