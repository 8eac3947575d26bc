"""Import a file of orders with a worker beside it, and prove what is promised. `make demo` runs this."""

import datetime as dt
import logging
import sys
from pathlib import Path

from sqlalchemy import Engine, func
from sqlalchemy.orm import Session

from examples.orders.database import application, make_tables, manage, migrate
from examples.orders.importer import import_orders, look_around, reindex
from examples.orders.ledger import Ledger
from examples.orders.progress import JobsDone
from examples.orders.promises import check
from examples.orders.report import tenants, verdict
from examples.orders.rows import Row, read
from examples.orders.rush import FLOODS, come, limit
from examples.orders.screen import Log, console, line, title
from examples.orders.shops import PAUSED, Shop
from examples.orders.tasks import forge
from examples.orders.timeline import timeline
from jobforge_sa import Worker
from jobforge_sa.errors import JobForgeError
from jobforge_sa.ops.database import engine as engine_for
from jobforge_sa.ops.database import translated
from jobforge_sa.testing.server import ServerError, describe, provide

FILE = Path(__file__).with_name("orders.csv")


def main() -> int:
    logging.basicConfig(level=logging.WARNING, handlers=[Log()])
    try:
        title(f"A database: {describe()}")
        with provide() as url:
            prepare(owner := engine_for(url))
            return run(application(owner.url))
    except (JobForgeError, ServerError) as error:
        line(str(error), mark="[bold red]✘[/] ")
        return 2


def prepare(engine: Engine) -> None:
    with translated(engine, "jobforge_owner"):
        engine.connect().close()
        title("$ alembic upgrade head")
        for said in migrate(engine.url):
            line(said, "dim")
        make_tables(engine)


def run(engine: Engine) -> int:
    rows, ledger = take(engine)
    work(engine, rows, ledger)
    come_at_once(engine, ledger)
    title("What the database says")
    console.print(tenants(engine))
    title("What was promised")
    return 0 if verdict(check(engine, ledger)) else 1


def take(engine: Engine) -> tuple[list[Row], Ledger]:
    """Read the file. What is wrong with it is kept, and shown with its line."""
    rows, problems = read(FILE)
    title(f"{FILE.name}: {len(rows)} good lines, {len(problems)} bad ones")
    for problem in problems:
        line(problem.reason, mark=f"line {problem.line:3}  ")
    with Session(engine) as session:
        session.add_all(problems)
        session.commit()
    return rows, Ledger(lines=len(rows) + len(problems))


def work(engine: Engine, rows: list[Row], ledger: Ledger) -> None:
    title("The import with a worker beside it; some of the world outside fails on purpose")
    manage(engine, func.jobforge.pause_tenant(PAUSED.tenant))
    with Worker(engine, forge, poll=dt.timedelta(seconds=0.1)), JobsDone(engine, ledger) as done:
        reindex(engine, Shop.BOOKSHOP, 1000, ledger)
        for _ in import_orders(engine, rows, ledger):
            done.show(PAUSED)
        look_around(engine, ledger)
        done.wait(PAUSED)
        manage(engine, func.jobforge.resume_tenant(PAUSED.tenant))
        done.wait()


def come_at_once(engine: Engine, ledger: Ledger) -> None:
    title(f"A rush: the {FLOODS} floods a queue; the others come through, limits hold, lines keep their order")
    limit(engine)
    with Worker(engine, forge, poll=dt.timedelta(seconds=0.1)), JobsDone(engine, ledger) as done:
        come(engine, ledger.rush)
        done.wait()
    limit(engine, at_once=None, rate=None)
    console.print("", timeline(engine, ledger.rush, console.width))


if __name__ == "__main__":
    sys.exit(main())
