"""The demo's place in a database: our schema by Alembic, the shops' tables, and nothing of an earlier run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, inspect, text
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateSchema, DropSchema

from examples.orders.models import SCHEMA, Base
from examples.orders.shops import PREFIX
from jobforge_sa.errors import JobForgeError
from jobforge_sa.ops.database import engine as engine_for
from jobforge_sa.ops.database import translated

ROLE = "demo_orders"
ROOT = Path(__file__).resolve().parents[2]


def migrate(url: URL) -> list[str]:
    """Run Alembic's own command, and give what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=ROOT,
        env=os.environ | {"JOBFORGE_DATABASE_URL": url.render_as_string(hide_password=False)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        raise JobForgeError("\n  ".join(["alembic upgrade head failed:", *lines[-3:]]))
    return lines


def check_roles(engine: Engine) -> None:
    """One login plays all parts here. In production each has its own, with one of these roles."""
    for role in ("jobforge_app", "jobforge_worker", "jobforge_admin"):
        with translated(engine, role), engine.connect() as connection:
            connection.execute(text(f"set local role {role}"))


@contextmanager
def operator(engine: Engine) -> Iterator[Session]:
    """A session that may read the jobs of all tenants."""
    with Session(engine) as session:
        session.execute(text("set local role jobforge_admin"))
        yield session


def application(url: URL) -> Engine:
    """The application's engine: it acts as a role of its own, so that row level security binds it."""
    acting = url.update_query_dict({"options": f"-c role={ROLE}"})
    return engine_for(acting.render_as_string(hide_password=False), pool_size=20)


def make_role(connection: Connection) -> None:
    if connection.scalar(text("select to_regrole(:role) is null"), {"role": ROLE}):
        connection.execute(text(f"create role {ROLE} in role jobforge_app, jobforge_worker, jobforge_admin"))
    connection.execute(text(f"grant {ROLE} to current_user"))
    connection.execute(text(f"grant usage on schema {SCHEMA} to {ROLE}"))
    connection.execute(text(f"grant all on all tables in schema {SCHEMA} to {ROLE}"))
    connection.execute(text(f"grant all on all sequences in schema {SCHEMA} to {ROLE}"))


def make_tables(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(DropSchema(SCHEMA, cascade=True, if_exists=True))
        connection.execute(CreateSchema(SCHEMA))
        Base.metadata.create_all(connection)
        connection.execute(text(f"grant usage on schema {SCHEMA} to jobforge_admin"))
        connection.execute(text(f"grant select on all tables in schema {SCHEMA} to jobforge_admin"))
        make_role(connection)
        forget_jobs(connection)


def forget_jobs(connection: Connection) -> None:
    """Delete the jobs of an earlier demo. Applications never do this."""
    connection.execute(text("set local role jobforge_owner"))
    catalog = inspect(connection)
    for table in catalog.get_table_names("jobforge"):
        if any(column["name"] == "tenant_id" for column in catalog.get_columns(table, "jobforge")):
            connection.execute(text(f"delete from jobforge.{table} where starts_with(tenant_id, :it)"), {"it": PREFIX})
