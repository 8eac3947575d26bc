"""The steps of the quickstart done wrong, as its table has them: what is said names the cure, and the cure works.

The right way is run by test_blocks.py. Here the same application stands ready, and each cure is taken out of what was
said, as whoever reads it would.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, bind_tenant
from jobforge_sa.errors import AccessDenied, InvalidJob, JobForgeError, JobNotFound, SchemaMismatch, TenantRequired
from jobforge_sa.handlers import Connectors, HttpRequest
from jobforge_sa.types import Enqueued
from tests.acceptance.blocks import PageRun, forget_modules
from tests.acceptance.cli import inside
from tests.fix_postgres import Database
from tests.house import markdown
from tests.house.source import ROOT

QUICKSTART = ROOT / "docs" / "quickstart.md"
LOGIN = "jf_first_hour"  # a login of its own: it gets a role, and logins belong to the cluster

# the application has one login for all, as on the page; once for each engine it is warned of
pytestmark = pytest.mark.filterwarnings("ignore::jobforge_sa.errors.SecurityWarning")


class Shop:
    """The application of the quickstart, with its own table, in a folder that is the current one."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.url = database, database.url()
        files = [block for block in markdown.steps(QUICKSTART) if block.title.startswith("shop/") or block.hidden]
        PageRun(database, folder, login="postgres")(files)

    def __getattr__(self, name: str) -> Any:
        return importlib.import_module(f"shop.{name}")

    def place_order(self, session: Session | None = None, customer: str = "Ann") -> uuid.UUID:
        """Call the application as its own code does, and give the id of the job that came with the order."""
        with session or self.db.new_session() as session, session.begin():
            self.orders.place_order(session, customer)
            session.flush()
            return Jobs(session, tenant="main").list().jobs[0].id

    def statuses(self) -> list[str]:
        with self.db.new_session() as session:
            return [*session.scalars(sa.select(self.models.Order.status))]

    def says(self, *arguments: str, status: int = 0, url: sa.URL | None = None) -> str:
        """What a command prints."""
        done = inside(url or self.url, *arguments, status=status, cwd=Path.cwd())
        return done.stdout + done.stderr

    def follow(self, advice: str, verb: str, *more: str) -> str:
        """Run what was advised behind "next:", with the name of the application."""
        (command,) = re.findall(rf"(?m)^  next: jobforge ({verb} .*?)(?:  #.*)?$", advice)
        return self.says(*command.replace("MODULE:FORGE", "shop.jobs:forge").split(), *more)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The current folder; what is imported from it is gone afterwards."""
    path, environment = sys.path[:], dict(os.environ)
    sys.path_importer_cache.pop(".", None)  # alembic.ini puts "." into the path: it would stay the folder before
    with contextlib.chdir(tmp_path):
        yield tmp_path
    sys.path[:] = path
    os.environ.clear()
    os.environ.update(environment)
    forget(tmp_path)


def forget(folder: Path) -> None:
    """Import the application anew."""
    if (db := sys.modules.get("shop.db")) is not None:
        db.engine.dispose()
    forget_modules(folder)


@pytest.fixture
def shop(database: Database, folder: Path) -> Shop:
    """Jobforge's schema is there, and the application's table."""
    made = Shop(database, folder)
    migrate()
    return made


def migrate() -> None:
    alembic.command.upgrade(alembic.config.Config("alembic.ini"), "head")


def cure_of(error: pytest.ExceptionInfo[JobForgeError]) -> str:
    """The line of the message that says what to do."""
    (cure,) = re.findall(r"(?m)^  cure: (.+)$", str(error.value))
    return str(cure)


def test_a_forgotten_migration(bare_database: Database, folder: Path) -> None:
    shop = Shop(bare_database, folder)
    migrate()
    shop.says("revision")  # and then nobody ran it
    with pytest.raises(SchemaMismatch) as error:
        shop.place_order()

    for said in (cure_of(error), *(shop.says(command, status=2) for command in ("doctor", "queues"))):
        assert "alembic upgrade head" in said
    assert "alembic upgrade head" in shop.says("worker", "shop.jobs:forge", "--once", status=2)
    migrate()

    shop.place_order()
    assert shop.statuses() == ["new"]  # and nothing of the order that was refused
    assert "alembic upgrade head" not in shop.says("doctor")


def _ship(ctx: Context, payload: dict[str, int]) -> None: ...


def _bound(session: Session) -> Jobs:
    bind_tenant(session, "main")
    return Jobs(session)


SHIP = JobForge().task("ship")(_ship)
SAID = HttpRequest(url="https://example.com/")
CURES: dict[str, Callable[[Session], Enqueued]] = {
    "Jobs(session, tenant=...)": lambda session: Jobs(session, tenant="main").enqueue(SHIP, {}),
    "bind_tenant(session, ...)": lambda session: _bound(session).enqueue(SHIP, {}),
    "JobForge(tenant=...)": lambda session: Jobs(session).enqueue(JobForge(tenant="main").task("ship")(_ship), {}),
    "Connectors(tenant=...)": lambda session: Jobs(session).enqueue(Connectors(tenant="main").http_request, SAID),
}


def test_no_tenant(shop: Shop) -> None:
    for cure, mended in CURES.items():
        with shop.db.new_session() as session, pytest.raises(TenantRequired) as error:
            Jobs(session).enqueue(SHIP, {})
        assert cure in cure_of(error)
        with shop.db.new_session() as session, session.begin():
            assert mended(session).created
    assert shop.says("jobs", "list").count("  main ") == len(CURES)


def test_a_naive_time(shop: Shop) -> None:
    enqueue, task, ship = Jobs.enqueue, shop.jobs.ship, shop.jobs.Ship(order_id=1)
    with shop.db.new_session() as session, session.begin():
        with pytest.raises(InvalidJob, match="has no time zone") as error:
            enqueue(Jobs(session), task, ship, run_at=dt.datetime.now() + dt.timedelta(hours=1))
        (better,) = re.findall(r"datetime\.now\(\w+\)", cure_of(error))
        now = eval(better, {"datetime": dt.datetime, "UTC": dt.UTC})
        job = enqueue(Jobs(session), task, ship, run_at=now + dt.timedelta(hours=1))  # nothing was spoilt
        assert Jobs(session).get(job.id).state == "scheduled"


@pytest.fixture
def own_login(database: Database) -> Iterator[sa.URL]:
    """A login of the application's own, with rights on its tables and none of our roles."""
    with database.engine().begin() as connection:
        connection.exec_driver_sql(f"create role {LOGIN} login")
        for rights in ("select, insert, update, delete on tables", "usage on sequences"):
            connection.exec_driver_sql(f"alter default privileges grant {rights} to {LOGIN}")
    yield database.url(LOGIN)
    with database.engine().begin() as connection:
        connection.exec_driver_sql(f"drop owned by {LOGIN}")
        connection.exec_driver_sql(f"drop role {LOGIN}")


def test_the_wrong_role(own_login: sa.URL, shop: Shop) -> None:
    theirs = shop.database.engine(LOGIN)
    with pytest.raises(AccessDenied) as error:
        shop.place_order(Session(theirs))
    found = shop.says("doctor", url=own_login, status=1)

    (grant,) = re.findall(r"grant \w+ to \S+;", cure_of(error).partition(" Or,")[0])
    assert grant.replace('"', "") in found.replace('"', "")  # the doctor has it too
    with shop.database.engine().begin() as connection:
        connection.exec_driver_sql(grant)

    shop.place_order(Session(theirs))
    assert "no_role" in found
    assert "no_role" not in shop.says("doctor", url=own_login)


def test_a_handler_that_raises(shop: Shop) -> None:
    good = Path("shop/jobs.py").read_text(encoding="utf-8")
    Path("shop/jobs.py").write_text(good.replace('"shipped"', '"shipped" / 0'), encoding="utf-8")
    job = str(shop.place_order())
    assert "1 failed" in shop.says("worker", "shop.jobs:forge", "--once", status=1)
    forget(Path.cwd())

    assert re.search(rf"{job}  scheduled .*  1/5 .* TypeError: unsupported", shop.says("jobs", "list"))
    why = shop.says("why", job)
    assert "  run 1 ended as failed: TypeError: unsupported operand" in why
    shown = shop.says("jobs", "show", job)
    assert "TypeError: unsupported operand" in shown
    (traceback,) = re.findall(r"with tracebacks: jobforge (.+)", shown)
    assert re.search(r'shop/jobs\.py\\", line \d+, in ship', shop.says(*traceback.split()))

    Path("shop/jobs.py").write_text(good, encoding="utf-8")
    if "next: jobforge jobs reschedule" in why:  # else its second has passed meanwhile
        shop.follow(why, "jobs reschedule")
    assert "1 succeeded" in shop.follow(why, "worker", "--once")
    assert shop.statuses() == ["shipped"]


def test_a_worker_that_was_not_started(shop: Shop) -> None:
    job = str(shop.place_order())
    assert re.search(r"(?m)^default +1 .* 0$", shop.says("queues"))
    why = shop.says("why", job)
    assert "  no live worker works on the queue default\n" in why

    assert "1 succeeded" in shop.follow(why, "worker", "--once")
    assert shop.statuses() == ["shipped"]
    assert "it succeeded in run 1" in shop.says("why", job)


def test_a_forgotten_commit(shop: Shop) -> None:
    with shop.db.new_session() as session:
        job = Jobs(session).enqueue(shop.jobs.ship, shop.jobs.Ship(order_id=1)).id
    with shop.db.new_session() as session, pytest.raises(JobNotFound) as error:
        Jobs(session, tenant="main").get(job)
    assert "was committed" in cure_of(error)
    assert "was committed" in shop.says("why", str(job), status=2)
