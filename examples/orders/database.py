"""The demo's place in a database: our schema by Alembic, the shops' tables and policies, nothing of an earlier run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, ColumnElement, Connection, Engine, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateSchema, DropSchema

from examples.orders.models import SCHEMA, Base
from examples.orders.shops import Shop
from jobforge_sa.errors import AccessDenied, JobForgeError
from jobforge_sa.ops.database import engine as engine_for

ROLE = "demo_orders"
POLICIES = Path(__file__).with_name("policies.sql")
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


@contextmanager
def operator(engine: Engine) -> Iterator[Session]:
    """A session that may read the rows of all tenants, and look after them."""
    with Session(engine) as session:
        session.execute(text("set local role jobforge_admin"))
        yield session


def manage(engine: Engine, call: ColumnElement[Any]) -> None:
    """Call a function for operators."""
    with operator(engine) as session:
        session.execute(select(call))
        session.commit()


def application(url: URL) -> Engine:
    """The application's engine: it acts as a role of its own, so that row level security binds it."""
    acting = url.update_query_dict({"options": f"-c role={ROLE}"})
    return engine_for(acting.render_as_string(hide_password=False), pool_size=20)


def make_role(connection: Connection) -> None:
    """One login plays all parts here: the application's, and the operator's. In production each has its own."""
    login = connection.scalar(text("select quote_ident(current_user)"))
    create = f"create role {ROLE} in role jobforge_app, jobforge_worker; "
    if connection.scalar(text("select to_regrole(:role) is not null"), {"role": ROLE}):
        create = ""
    try:
        if create:
            connection.exec_driver_sql(create)
        for role in (ROLE, "jobforge_admin"):
            join(connection, role)
    except ProgrammingError as error:
        raise AccessDenied(
            f"{login} may not act as {ROLE} and jobforge_admin",
            cure=f"a DBA runs: {create}grant {ROLE}, jobforge_admin to {login};",
        ) from error


def join(connection: Connection, role: str) -> None:
    """Become a member of the role; whoever has made it may do so."""
    try:
        with connection.begin_nested() as savepoint:
            connection.execute(text(f"set local role {role}"))
            savepoint.rollback()
    except ProgrammingError:
        connection.execute(text(f"grant {role} to current_user"))


def make_tables(engine: Engine) -> None:
    with engine.begin() as connection:
        make_role(connection)
        connection.execute(DropSchema(SCHEMA, cascade=True, if_exists=True))
        connection.execute(CreateSchema(SCHEMA))
        Base.metadata.create_all(connection)
        connection.exec_driver_sql(POLICIES.read_text(), execution_options={"no_parameters": True})
        forget_jobs(connection)


def forget_jobs(connection: Connection) -> None:
    """Purge what an earlier demo has left of its tenants."""
    connection.execute(text("set local role jobforge_admin"))
    for shop in Shop:
        while connection.scalar(text("select jobforge.purge_tenant(:tenant)"), {"tenant": shop.tenant}):
            pass
