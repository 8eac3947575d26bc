"""The projects that migrate in these tests: this repository by its command, and a host with a history."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from jobforge_sa.db import introspect, migrate

ROOT = Path(__file__).resolve().parents[2]


def snapshot(engine: sa.Engine) -> str:
    with engine.connect() as connection:
        return introspect.snapshot(connection)


def start_alembic(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start Alembic's own command in this repository, as a developer would; no URL but the one given."""
    inherited = {name: value for name, value in os.environ.items() if name not in migrate.URL_VARIABLES}
    return subprocess.Popen(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def alembic(*arguments: str, **environment: str) -> tuple[str, str]:
    """Run the command to its good end; give what it wrote to stdout and to stderr."""
    process = start_alembic(*arguments, **environment)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, output + errors
    return output, errors


ENV = """
    from alembic import context
    from sqlalchemy import Column, Integer, MetaData, NullPool, Table, create_engine

    from jobforge_sa import migrations

    config = context.config
    metadata = MetaData()
    Table("customers", metadata, Column("id", Integer, primary_key=True))
    Table("orders", metadata, Column("id", Integer, primary_key=True))
    look = {}
    if config.attributes.get("all"):
        look = {"include_schemas": True, "include_name": migrations.include_name}
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
    else:
        with create_engine(config.attributes["url"], poolclass=NullPool).connect() as connection:
            context.configure(connection=connection, target_metadata=metadata, **look)
            with context.begin_transaction():
                context.run_migrations()
"""
REVISIONS = {
    "a": ('op.create_table("customers", id_column())', 'op.drop_table("customers")'),
    "b": (
        'migrations.upgrade("0001"); op.create_table("orders", id_column())',
        'op.drop_table("orders"); migrations.downgrade("base", frm="0001")',
    ),
    "c": ('migrations.upgrade(HEAD, frm="0001")', 'migrations.downgrade("0001", frm=HEAD)'),
}
REVISION = """
    import sqlalchemy as sa
    from alembic import op

    from jobforge_sa import migrations

    revision, down_revision = {name!r}, {before!r}
    HEAD = {head!r}

    def id_column():
        return sa.Column("id", sa.Integer, primary_key=True)

    def upgrade():
        {up}

    def downgrade():
        {down}
"""


class Host:
    """An application with tables and an Alembic history of its own, in which our schema is a line or two."""

    def __init__(self, folder: Path, url: sa.URL) -> None:
        self.folder = folder
        self.url = url
        (folder / "versions").mkdir()
        (folder / "env.py").write_text(dedent(ENV))
        before: str | None = None
        for name, (up, down) in REVISIONS.items():
            self.add(name, before, up, down)
            before = name

    def add(self, name: str, before: str | None, up: str, down: str = "pass") -> None:
        text = REVISION.format(name=name, before=before, head=migrate.head(), up=up, down=down)
        (self.folder / "versions" / f"{name}.py").write_text(dedent(text))

    def config(self, output: io.StringIO | None = None, **attributes: object) -> Config:
        config = Config(output_buffer=output, stdout=io.StringIO(), attributes={"url": self.url, **attributes})
        config.set_main_option("script_location", str(self.folder).replace("%", "%%"))
        return config

    def upgrade(self, revision: str = "head") -> None:
        command.upgrade(self.config(), revision)

    def downgrade(self, revision: str) -> None:
        command.downgrade(self.config(), revision)

    def offline(self, span: str) -> str:
        """Write the SQL of `from:to`, up or, with the later revision first, down."""
        text = io.StringIO()
        start, _, end = span.partition(":")
        move = command.downgrade if end == "base" or end < start != "base" else command.upgrade
        move(self.config(text), span, sql=True)
        return text.getvalue()
