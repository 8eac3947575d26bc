"""The applications of examples/frameworks, behind the servers that they are made for, until these are told to end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Jobs
from tests.acceptance.cli import ROOT, environment
from tests.acceptance.door import ask, listens, running
from tests.fix_postgres import Database
from tests.support import wait_for

APPLICATIONS = sorted((ROOT / "examples" / "frameworks").glob("[!_]*.py"))
UVICORN = ("uvicorn", "--lifespan", "on", "--uds", "{door}")
GUNICORN = ("gunicorn", "--preload", "-w", "2", "--bind", "unix:{door}")
WORKER = ("jobforge_sa", "worker", "examples.frameworks.flask_app:forge")
# the application, its tenant, and the modules that are run
SERVED: dict[str, tuple[str, list[tuple[str, ...]]]] = {
    "fastapi_app": ("acme", [(*UVICORN, "examples.frameworks.fastapi_app:app")]),
    "starlette_app": ("main", [(*UVICORN, "examples.frameworks.starlette_app:app")]),
    "litestar_app": ("main", [(*UVICORN, "examples.frameworks.litestar_app:app")]),
    "flask_app": ("main", [(*GUNICORN, "examples.frameworks.flask_app:app"), WORKER]),
}


@pytest.fixture
def shop(database: Database) -> Database:
    """What the application's own history has made."""
    with database.engine().begin() as connection:
        connection.exec_driver_sql(
            "create table shop_orders (id serial primary key, email text not null, receipt text)"
        )
        connection.exec_driver_sql("grant all on shop_orders, shop_orders_id_seq to jf_one")
    return database


def receipts(shop: Database) -> list[tuple[str, str | None]]:
    with shop.engine().connect() as connection:
        rows = connection.execute(sa.text("select email, receipt from shop_orders order by id"))
        return [(row.email, row.receipt) for row in rows]


@contextmanager
def started(shop: Database, folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the examples, which raises nothing and ends well when it is told to."""
    log = folder / "log"
    with running(command, log, ROOT, environment(shop.url("jf_one"))) as process:
        yield process
    assert "Traceback" not in log.read_text()


def post(door: Path, email: str, tenant: str) -> int:
    """Order something; give the answer's status."""
    return ask(door, "POST", f"/orders?email={email}", X_Tenant=tenant)[0]


@pytest.mark.parametrize("name", SERVED)
def test_what_is_ordered_has_its_receipt_and_the_server_ends_when_it_is_told(
    shop: Database, tmp_path: Path, name: str
) -> None:
    tenant, commands = SERVED[name]
    door = tmp_path / "door"
    with ExitStack() as stack:
        processes = [
            stack.enter_context(started(shop, tmp_path, *(word.format(door=door) for word in command)))
            for command in commands
        ]
        wait_for(lambda: listens(door) or any(one.poll() is not None for one in processes), 30, f"{name} to listen")
        assert [post(door, f"{n}@example.com", tenant) for n in range(3)] == [201] * 3
        wait_for(lambda: all(receipt for _, receipt in receipts(shop)), 30, "the receipts")
    assert receipts(shop) == [(f"{n}@example.com", f"for {n}@example.com, of {tenant}") for n in range(3)]


def test_the_script_ends_when_its_jobs_have(shop: Database) -> None:
    command = [sys.executable, "-m", "examples.frameworks.script", "ann@example.com", "bob@example.com"]
    said = subprocess.check_output(command, cwd=ROOT, env=environment(shop.url("jf_one")), text=True)
    assert said == "2 orders, 2 receipts\n"
    assert receipts(shop) == [(f"{who}@example.com", f"for {who}@example.com, of main") for who in ("ann", "bob")]


def test_a_worker_under_a_supervisor_gives_back_what_it_is_at_and_the_next_one_does_it(
    shop: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBFORGE_DATABASE_URL", "postgresql://unused")
    from examples.frameworks.service import Order, Receipt, forge, send_receipt

    monkeypatch.setenv("JOBFORGE_GRACE", "0.1")
    engine = shop.engine("jf_one")
    with Session(engine) as session, session.begin():
        session.add(order := Order(email="ann@example.com"))
        session.flush()
        job = Jobs(session, tenant=forge.tenant).enqueue(send_receipt, Receipt(order_id=order.id, seconds=2)).id
    with started(shop, tmp_path, "examples.frameworks.service"):
        wait_for(lambda: state(engine, job)[0] == "running", 30, "the job to run")
    assert state(engine, job) == ("queued", 0), "given back, it is not charged"
    with started(shop, tmp_path, "examples.frameworks.service"):
        wait_for(lambda: state(engine, job)[0] == "succeeded", 30, "the job to end")
    assert receipts(shop) == [("ann@example.com", "for ann@example.com, of main")]


def state(engine: sa.Engine, job: object) -> tuple[str, int]:
    with Session(engine) as session:
        found = Jobs(session, tenant="main").get(job)  # type: ignore[arg-type]
        return found.state, found.attempt


@pytest.mark.parametrize("program", APPLICATIONS, ids=lambda program: program.name)
def test_an_application_is_short(program: Path) -> None:
    assert len(program.read_text(encoding="utf-8").splitlines()) < 60
    assert program.stem in {*SERVED, "script", "service"}
