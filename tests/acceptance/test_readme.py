"""The program of the README runs, on a fresh database, and prints what the README says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from jobforge_sa.db import migrate
from tests.fix_postgres import Database
from tests.house import markdown


def test_the_program_of_the_readme_prints_what_it_says(bare_database: Database, tmp_path: Path) -> None:
    program, printed = markdown.program(markdown.README)
    script = tmp_path / "program.py"
    script.write_text(program.text, encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if name not in migrate.URL_VARIABLES}
    url = bare_database.url().render_as_string(hide_password=False)

    run = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        env=inherited | {"JOBFORGE_DATABASE_URL": url},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == printed.text.strip()
