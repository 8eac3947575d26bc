"""The example application, as `make demo` runs it; and that it can fail."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from examples.orders import services
from examples.orders.__main__ import come_at_once, take, work
from examples.orders.database import application, make_tables, operator
from examples.orders.ledger import Ledger
from examples.orders.models import Invoice
from examples.orders.promises import check
from examples.orders.report import verdict
from examples.orders.rush_promises import of_the_rush
from examples.orders.shops import Shop
from jobforge_sa import Jobs, bind_tenant
from tests.fix_postgres import Database
from tests.security.cluster import own_cluster

ROOT = Path(__file__).resolve().parents[2]


def demo(url: sa.URL) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "JOBFORGE_DATABASE_URL": url.render_as_string(hide_password=False),
        "PYTHONIOENCODING": "utf-8",
    }
    return subprocess.run(
        [sys.executable, "-m", "examples.orders"],
        cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip


def test_the_demo_keeps_its_promises_in_a_minute_and_can_be_repeated(bare_database: Database) -> None:
    for _ in range(2):
        started = time.monotonic()
        done = demo(bare_database.url())
        assert done.returncode == 0, done.stdout + done.stderr
        assert time.monotonic() - started < 60
        assert "24 of 24 promises kept" in done.stdout
        for said in (
            "$ alembic upgrade head",
            "line  97  placed_at 'yesterday'",
            "✔ 384 orders committed",
            "✔ 384 invoices written, exactly one for each order",
            "✔ the batch rolled back on purpose: its 20 orders and 61 jobs never were",
            "✔ the mail that was refused twice went out at the third attempt",
            "✔ the card that is declined: dead after 2 attempts",
            "✔ 1,000 jobs of one bulk enqueue: all done",
            "✔ 4 jobs scheduled for later",
            "✔ 16 handlers looked for an order: only those of its own shop found it",
            "✔ the toolshop was paused: its 307 jobs ran after all others' were done",
            "✔ 2,000 jobs of the bookshop waited: the bakery's 6 began within a round each, before",
            "✔ the florist may run 3 jobs at a time: of its 48 so many ran, and never more",
            "✔ the courier takes 20 jobs a second, 5 at once: none of 20 began too early",
            "✔ 16 jobs in 2 lines ran one by one, in order; 1 failed, and its line waited",
            "✔ each shop, as the same role, reads its own orders and jobs and no other's",
            "✔ an order inserted for another shop is refused by Postgres; nothing is left",
            "✔ a shop over its quota is told so, and its order is rolled back with the job",
            "✔ jobforge.audit()",
        ):
            assert said in done.stdout, done.stdout
        assert "✘" not in done.stdout
        assert done.stderr == ""


def test_a_server_that_is_not_there_is_an_error_with_its_cure() -> None:
    done = demo(sa.make_url("postgresql://nobody:secret@127.0.0.1:1/nothing"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no connection to postgresql://nobody:***@127.0.0.1:1/nothing" in done.stdout
    assert "cure:" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_login_without_rights_is_told_what_a_dba_runs(bare_database: Database, template: str) -> None:
    done = demo(bare_database.url("jf_stranger"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "grant jobforge_owner to jf_stranger" in done.stdout


def test_a_login_that_is_no_superuser_makes_the_demos_role_or_is_told_what_a_dba_runs() -> None:
    with own_cluster() as cluster:
        cluster.run("create role maker login createrole", "create role plain login")
        cluster.run("create database one", "grant create on database one to maker")
        cluster.run("create database two", "grant create on database two to plain")
        maker, plain = (sa.make_url(cluster.server.url_for(*way)) for way in (("one", "maker"), ("two", "plain")))

        assert "24 of 24 promises kept" in (done := demo(maker)).stdout, done.stdout + done.stderr

        cluster.run("grant jobforge_owner to plain")
        assert (done := demo(plain)).returncode == 2, done.stdout + done.stderr
        command = "grant demo_orders, jobforge_admin to plain;"
        assert f"cure: a DBA runs: {command}" in done.stdout
        cluster.run(command)
        assert "24 of 24 promises kept" in (done := demo(plain)).stdout, done.stdout + done.stderr


@pytest.fixture
def imported(database: Database) -> Iterator[tuple[sa.Engine, Ledger]]:
    """The demo's work, done in this process, and its ledger."""
    services._calls.clear()  # the world outside knows of no earlier import
    make_tables(database.engine())
    engine = application(database.url())
    rows, ledger = take(engine)
    work(engine, rows, ledger)
    come_at_once(engine, ledger)
    yield engine, ledger
    engine.dispose()


def broken(engine: sa.Engine, ledger: Ledger) -> str:
    return "\n".join(promise.text for promise in check(engine, ledger) if not promise.kept)


def test_the_demo_can_fail(
    database: Database, imported: tuple[sa.Engine, Ledger], capsys: pytest.CaptureFixture[str]
) -> None:
    engine, ledger = imported
    assert broken(engine, ledger) == ""

    forgetful = deepcopy(ledger)
    del forgetful.batches[0].sales[0]
    assert "orders committed, and no other" in broken(engine, forgetful)
    assert "jobs committed with them" in broken(engine, forgetful)

    forgetful.looks = dict.fromkeys(ledger.looks, (Shop.FLORIST, Shop.FLORIST))
    assert "handlers looked for an order" in broken(engine, forgetful)

    mistaken = deepcopy(ledger)
    mistaken.lost.append(mistaken.batches[-1])
    assert broken(engine, mistaken).startswith("the batch rolled back on purpose: its")

    with Session(engine) as session:
        bind_tenant(session, Shop.FLORIST.tenant)
        twice = session.scalars(sa.select(Invoice).limit(1)).one()
        session.add(Invoice(order_id=twice.order_id, total=twice.total, job_id=twice.job_id))
        session.commit()
    assert broken(engine, ledger) == "384 invoices written, exactly one for each order"

    scheduled = ledger.batches[0].summary.id
    with Session(engine) as session:
        Jobs(session, tenant=ledger.batches[0].shop.tenant).cancel(scheduled)
        session.commit()
    assert "wait for their hour" in broken(engine, ledger)

    with database.engine().begin() as connection:
        connection.execute(sa.text("alter policy own_shop on demo_orders.orders using (true)"))
    for promise in ("each shop, as the same role", "without a tenant it reads", "is refused by Postgres"):
        assert promise in broken(engine, ledger)

    assert not verdict(check(engine, ledger))
    said = capsys.readouterr().out
    assert "✘ 384 invoices written" in said
    assert "expected 384, of which only here: (" in said


def test_each_promise_of_the_rush_can_fail(imported: tuple[sa.Engine, Ledger]) -> None:
    """Jobs of which something else was said are held against it."""
    engine, ledger = imported
    true = ledger.rush
    tail = dict(zip(true.flood[-6:], true.guests.values(), strict=True))  # as behind a flood in one line for all
    swapped = [true.lines["plane"][place] for place in (1, 0, *range(2, 8))]
    cases = [
        (true, []),
        (replace(true, guests=tail), ["2,000 jobs of the bookshop waited"]),
        (replace(true, photos=true.flood), ["the florist may run 3 jobs at a time"]),
        (replace(true, photos=true.lines["plane"]), ["the florist may run 3 jobs at a time"]),
        (replace(true, parcels=true.photos), ["the courier takes 20 jobs a second"]),
        (replace(true, lines={"photos": true.photos}), ["48 jobs in 1 lines ran one by one"]),
        (replace(true, lines={"plane": swapped}), ["8 jobs in 1 lines ran one by one"]),
    ]
    for rush, said in cases:
        with operator(engine) as session:
            broken = [promise.text for promise in of_the_rush(session, rush) if not promise.kept]
        assert [text[: len(start)] for text, start in zip(broken, said, strict=True)] == said
