"""The wheel, installed where nothing of this repository is, and used by an application with its own Alembic history."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import sqlalchemy as sa

from jobforge_sa.db import introspect, migrate
from tests.fix_postgres import Database
from tests.house import markdown
from tests.house.source import ROOT

UV = shutil.which("uv")
OFFLINE = ("No matching distribution", "Failed to establish a new connection", "Failed to fetch")

FILES = {
    "pyproject.toml": """
        [tool.alembic]
        script_location = "%(here)s/history"
        prepend_sys_path = ["."]
    """,
    "hostapp.py": """
        import os

        import pydantic
        from sqlalchemy import create_engine
        from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

        from jobforge_sa import Context, JobForge

        engine = create_engine(os.environ["DATABASE_URL"])
        forge = JobForge(tenant="host")

        class Base(DeclarativeBase): ...

        class Order(Base):
            __tablename__ = "orders"
            id: Mapped[int] = mapped_column(primary_key=True)
            paid: Mapped[bool] = mapped_column(default=False)

        class Charge(pydantic.BaseModel):
            order_id: int

        @forge.task()
        def charge(ctx: Context, payload: Charge) -> None:
            ctx.session.get_one(Order, payload.order_id).paid = True
    """,
    "place_orders.py": """
        from sqlalchemy.orm import Session

        from hostapp import Charge, Order, charge, engine
        from jobforge_sa import Jobs

        for kept in (True, False):
            with Session(engine) as session:
                order = Order()
                session.add(order)
                Jobs(session).enqueue(charge, lambda: Charge(order_id=order.id))
                session.commit() if kept else session.rollback()
    """,
    "history/env.py": """
        from alembic import context
        from hostapp import Base, engine

        with engine.connect() as connection:
            context.configure(connection=connection, target_metadata=Base.metadata)
            with context.begin_transaction():
                context.run_migrations()
    """,
    "history/versions/a_orders.py": """
        import sqlalchemy as sa
        from alembic import op

        revision, down_revision = "a", None

        def upgrade():
            op.create_table(
                "orders", sa.Column("id", sa.Integer, primary_key=True), sa.Column("paid", sa.Boolean, nullable=False)
            )
            op.execute("grant select, insert, update on orders to public")
            op.execute("grant usage on sequence orders_id_seq to public")

        def downgrade():
            op.drop_table("orders")
    """,
    "history/versions/b_jobs.py": 'revision, down_revision = "b", "a"\n',  # and the README's lines
}


def call(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command to its good end, with no URL but the one given; give what it printed."""
    mine = {name: value for name, value in os.environ.items() if name not in {*migrate.URL_VARIABLES, "PYTHONPATH"}}
    process = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=mine | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    if process.returncode and any(said in process.stdout for said in OFFLINE):
        pytest.skip("the package index cannot be reached")
    assert process.returncode == 0, process.stdout
    return process.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    if UV:
        call(UV, "build", "--wheel", "--out-dir", out, ROOT, cwd=out)
    else:
        ready = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
        call(sys.executable, "-m", "build", "--wheel", *ready, "--outdir", out, ROOT, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands' folder of an environment in which there is the wheel and what it asks for."""
    home = tmp_path_factory.mktemp("elsewhere")
    environment = home / "venv"
    bin_ = environment / "bin"
    if UV:
        call(UV, "venv", "--python", sys.executable, environment, cwd=home)
        call(UV, "pip", "install", "--python", bin_ / "python", f"{wheel}[binary,cli]", cwd=home)
    else:
        call(sys.executable, "-m", "venv", environment, cwd=home)
        call(bin_ / "python", "-m", "pip", "install", "--quiet", f"{wheel}[binary,cli]", cwd=home)
    return bin_


class Host:
    """The application: a folder with its files, and its database."""

    def __init__(self, folder: Path, bin_: Path, database: Database) -> None:
        self.folder = folder
        self._bin = bin_
        self._database = database
        for name, text in FILES.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(text))
        with file.open("a") as revision:
            revision.write(markdown.block(markdown.README, "from jobforge_sa import migrations").text)

    def run(self, command: str, *arguments: str, login: str = "jf_one") -> str:
        url = self._database.url(login).render_as_string(hide_password=False)
        return call(self._bin / command, *arguments, cwd=self.folder, DATABASE_URL=url)

    def alembic(self, *arguments: str) -> str:
        return self.run("alembic", *arguments, login="postgres")

    def ask(self, query: str) -> object:
        with self._database.engine().connect() as connection:
            return connection.scalar(sa.text(query))

    def states(self) -> list[str]:
        """The states of all jobs, as an administrator sees them."""
        with self._database.engine().connect() as connection:
            connection.execute(sa.text("set local role jobforge_admin"))
            return list(connection.scalars(sa.text("select state from jobforge.all_jobs")))

    def catalog(self) -> str:
        with self._database.engine().connect() as connection:
            return introspect.snapshot(connection)


@pytest.fixture
def host(installed: Path, template: str, bare_database: Database, tmp_path: Path) -> Iterator[Host]:
    """The application, migrated; the template has made the logins."""
    host = Host(tmp_path, installed, bare_database)
    host.alembic("upgrade", "head")
    yield host
    assert bare_database.audit() == []


def test_the_wheel_brings_the_package_and_its_revisions_and_nothing_else(wheel: Path) -> None:
    def files(folder: str) -> set[str]:
        return {
            file.relative_to(ROOT).as_posix()
            for file in (ROOT / folder).rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }

    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == files("jobforge_sa") | {f"jobforge_sa/{name}" for name in files("alembic")}
    assert "jobforge_sa/py.typed" in packed


def test_it_is_the_wheel_that_is_used(installed: Path, tmp_path: Path) -> None:
    said = call(installed / "python", "-c", "import jobforge_sa; print(jobforge_sa.__file__)", cwd=tmp_path)
    assert Path(said.strip()).is_relative_to(installed.parent)


def test_an_application_enqueues_with_its_rows_and_a_worker_changes_them(host: Host) -> None:
    host.run("python", "place_orders.py")
    assert host.ask("select count(*) from orders") == 1
    assert host.states() == ["queued"]

    host.run("jobforge", "worker", "hostapp:forge", "--once")

    assert host.ask("select bool_and(paid) from orders") is True
    assert host.states() == ["succeeded"]


def test_its_own_alembic_and_our_command_have_nothing_to_add(host: Host) -> None:
    assert "No new upgrade operations detected" in host.alembic("check")

    before = host.catalog()
    said = host.run("jobforge", "migrate", login="postgres")
    assert f"at {migrate.head()} (head) already" in said
    assert host.catalog() == before


def test_its_downgrade_takes_our_schema_down_too(host: Host) -> None:
    host.alembic("downgrade", "a")
    assert host.ask("select to_regclass('jobforge.jobs')") is None
    assert host.ask("select to_regclass('orders')") is not None

    host.alembic("upgrade", "head")
    assert host.ask("select to_regclass('jobforge.jobs')") is not None
    host.alembic("downgrade", "base")
    assert host.ask("select to_regclass('orders')") is None
