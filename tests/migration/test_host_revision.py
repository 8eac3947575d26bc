"""`jobforge revision`: our schema as a revision of somebody else's history, written by a command."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from jobforge_sa.db import migrate
from tests.acceptance.cli import inside
from tests.fix_postgres import Database
from tests.migration.projects import snapshot

HEAD = migrate.head()


@pytest.fixture(params=["generic", "pyproject", "async"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project as `alembic init` leaves it, with a first revision of its own."""
    config = Config(tmp_path / "alembic.ini", toml_file=tmp_path / "pyproject.toml")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "shop"\n')
    command.init(config, str(tmp_path / "migrations"), template=request.param)
    env = (
        tmp_path / "migrations" / "env.py"
    )  # its logging is the process's: it would silence the loggers of other tests
    env.write_text(env.read_text().replace("fileConfig(config.config_file_name)", "pass"))
    command.revision(host(tmp_path), message="first")
    return tmp_path


def host(project: Path, url: str = "") -> Config:
    config = Config(project / "alembic.ini", toml_file=project / "pyproject.toml")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def versions(project: Path) -> list[Path]:
    return sorted((project / "migrations" / "versions").glob("*.py"), key=lambda file: file.stat().st_mtime_ns)


def test_one_command_writes_it_and_alembic_runs_it_up_down_and_offline(
    project: Path, database: Database, bare_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    said = inside(None, "revision", cwd=project).stdout
    made = versions(project)[-1]
    assert said == f"{made}: schema jobforge base -> {HEAD}\nrun: alembic upgrade head\n"
    assert "from jobforge_sa import migrations\n" in made.read_text()
    assert f'    migrations.upgrade("{HEAD}", frm="base")\n' in made.read_text()
    assert f'    migrations.downgrade("base", frm="{HEAD}")\n' in made.read_text()

    url = bare_database.url().render_as_string(hide_password=False)
    command.upgrade(host(project, url), "head")
    assert snapshot(bare_database.engine()) == snapshot(database.engine())
    command.downgrade(host(project, url), "-1")
    assert migrate.current(bare_database.engine()) is None
    capsys.readouterr()
    command.upgrade(host(project, url), "head", sql=True)
    assert "create table jobforge.jobs" in capsys.readouterr().out


def test_a_history_that_has_it_gets_nothing_and_an_older_one_the_difference(project: Path) -> None:
    inside(None, "revision", cwd=project)
    before = versions(project)
    assert inside(None, "revision", cwd=project).stdout == (
        f"the history has the schema jobforge at {HEAD} (head) already\n"
    )
    assert versions(project) == before

    made = before[-1]
    made.write_text(made.read_text().replace(f'upgrade("{HEAD}"', 'upgrade("0001"'))
    inside(None, "revision", "-m", "newer jobs", cwd=project)
    text = versions(project)[-1].read_text()
    assert f'migrations.upgrade("{HEAD}", frm="0001")' in text
    assert f'migrations.downgrade("0001", frm="{HEAD}")' in text
    assert re.search(r"newer_jobs\.py$", versions(project)[-1].name)


def test_several_heads_and_missing_projects_are_errors_with_their_cure(project: Path) -> None:
    first = command.revision(host(project), message="one")
    assert not isinstance(first, list)
    assert first is not None
    other = command.revision(host(project), message="two", head="base", splice=False)
    assert not isinstance(other, list)
    assert other is not None
    failed = inside(None, "revision", cwd=project, status=2)
    assert "heads" in failed.stderr
    assert "--head" in failed.stderr
    inside(None, "revision", "--head", first.revision, cwd=project)
    assert f"Revises: {first.revision}\n" in versions(project)[-1].read_text()

    shutil.rmtree(project / "migrations")
    (project / "alembic.ini").unlink()
    assert "alembic init" in inside(None, "revision", cwd=project, status=2).stderr


def test_a_project_in_pyproject_alone_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "%(here)s/migrations"\n')
    scripts = tmp_path / "migrations"
    (scripts / "versions").mkdir(parents=True)
    (scripts / "env.py").write_text("")
    template = Path(sa.__file__).parent.parent / "alembic" / "templates" / "generic" / "script.py.mako"
    shutil.copy(template, scripts / "script.py.mako")
    inside(None, "revision", "-c", "pyproject.toml", cwd=tmp_path)
    assert f'migrations.upgrade("{HEAD}", frm="base")' in versions(tmp_path)[0].read_text()
