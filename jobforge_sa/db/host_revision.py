"""The revision that brings our schema into an application's own Alembic history: one line up, one line down."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobforge_sa.db import migrate
from jobforge_sa.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

BASE = "base"
_PINNED = re.compile(r"""migrations\.upgrade\(\s*["'](\w+)["']""")  # the line that we write


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, or, without a path, that nothing was missing."""

    path: Path | None
    before: str
    after: str


def write(ini: Path, *, message: str | None = None, head: str = "head") -> Written:
    """Write a revision that moves our schema from where the history leaves it to this release's head.

    Args:
        ini: The application's `alembic.ini`; a `pyproject.toml` beside it counts, too.
        message: What the revision is called. Default: "jobforge 0002".
        head: The revision to come behind, where the history has several heads.

    Raises:
        ConfigurationError: there is no such project, or its history has several heads.
    """
    from alembic.util import CommandError

    after, scripts = migrate.head(), _project(ini)
    try:
        before = _pinned(scripts, head)
        if before == after:
            return Written(None, before, after)
        with contextlib.redirect_stdout(io.StringIO()):  # else Alembic tells of it in words of its own
            made = scripts.generate_revision(
                _unused(scripts), message or f"jobforge {after}", head=head,
                imports="from jobforge_sa import migrations",
                upgrades=_line("upgrade", after, before), downgrades=_line("downgrade", before, after),
            )  # fmt: skip
    except CommandError as error:
        raise ConfigurationError(
            " ".join(str(error).split()), cure="alembic heads; then name one: --head, or join them: alembic merge heads"
        ) from error
    if made is None:
        raise ConfigurationError("Alembic wrote nothing", cure="look into script.py.mako of the project")
    return Written(Path(made.path), before, after)


def _project(ini: Path) -> ScriptDirectory:
    """As Alembic's own command finds it: what pyproject.toml says, and the .ini file beside it."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config(ini if ini.is_file() and ini.suffix != ".toml" else None, toml_file=ini.with_name("pyproject.toml"))
    try:
        return ScriptDirectory.from_config(config)
    except CommandError as error:
        raise ConfigurationError(
            f"{ini} leads to no Alembic project: {' '.join(str(error).split())}",
            cure="start jobforge in the folder of alembic.ini, or name it: --config; there is none: alembic init",
        ) from error


def _pinned(scripts: ScriptDirectory, head: str) -> str:
    """Where the history leaves our schema: the newest revision in it that moves it says so."""
    for script in scripts.walk_revisions(head=head):
        found = _PINNED.findall(Path(script.path).read_text())
        if found:
            return str(found[-1])
    return BASE


def _unused(scripts: ScriptDirectory) -> str:
    from alembic.util import rev_id

    taken = {script.revision for script in scripts.walk_revisions()}
    return next(name for name in iter(rev_id, "") if name not in taken)


def _line(direction: str, to: str, frm: str) -> str:
    return f'migrations.{direction}("{to}", frm="{frm}")'  # frm: for --sql, which cannot ask the database
