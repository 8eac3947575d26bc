"""examples/typescript: a worker in Node, written from docs/sql-contract.md, beside one in Python on the same queue.

JOBFORGE_UPDATE_SNAPSHOT=1 writes its payloads' schemas and its types down again.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from examples.typescript.tasks import Booking, Label, Watch, book_carrier, everything, forge, print_label, watch_carrier
from jobforge_sa import Jobs, Worker
from jobforge_sa.ops.schemas import command, payloads
from tests.house.source import ROOT
from tests.support import Sql, one_database, wait_for

EXAMPLE = ROOT / "examples" / "typescript"
UPDATE = bool(os.environ.get("JOBFORGE_UPDATE_SNAPSHOT"))
NEEDED = ("node", "npm")
NAME = 'Żółw "日本" \\ \U0001f422'
BIG = "123456789012345678901234567890"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built in a copy of its own."""
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        pytest.skip(f"{' and '.join(missing)} not installed: the example in TypeScript is not tried")
    place = tmp_path_factory.mktemp("typescript") / "example"
    shutil.copytree(EXAMPLE, place, ignore=shutil.ignore_patterns("node_modules", "dist", "__pycache__"))
    ran(place, "npm", "ci", "--no-audit", "--no-fund", "--prefer-offline")
    ran(place, "npm", "run", "build")
    return place


def ran(place: Path, *words: str, status: int = 0, **variables: str) -> str:
    done = subprocess.run(words, cwd=place, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sql(admin_url: sa.URL, template: str) -> Iterator[Sql]:
    """A database with the application's tables. Tests keep apart by their tenants."""
    with one_database(admin_url, template) as database, Sql(database) as sql:
        session = sql.session("postgres")
        session.execute((EXAMPLE / "schema.sql").read_bytes())
        session.execute("grant select, insert on shop_orders, shop_labels to jf_one")
        yield sql


class Node:
    """A worker's process, and what it has said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as said:
            self.lines.extend(said)

    def said(self, *words: str) -> None:
        wait_for(lambda: [line for line in self.lines if all(word in line for word in words)], 15, f"{words}")

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        status = self.process.wait(timeout=15)
        self._reader.join()
        return status


@contextmanager
def node(program: Path, sql: Sql, **variables: str) -> Iterator[Node]:
    settings = {"DATABASE_URL": sql.database.dsn("jf_one"), "ALIVE": "2", "GRACE": "0.2"} | variables
    process = subprocess.Popen(
        ["node", "dist/main.js"], cwd=program, env=os.environ | settings,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
    )  # fmt: skip
    worker = Node(process)
    try:
        worker.said("ready")
        yield worker
    finally:
        worker.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def worker(program: Path, sql: Sql) -> Iterator[Node]:
    with node(program, sql) as worker:
        yield worker
        assert worker.end() == 0
        assert worker.lines[-1] == "gone\n"


def enqueue(sql: Sql, task: Any, payload: Any, tenant: str, **options: Any) -> uuid.UUID:
    with Session(sql.database.engine("jf_one")) as session:
        job = Jobs(session, tenant=tenant).enqueue(task, payload, **options)
        session.commit()
    return job.id


def ended(sql: Sql, job: uuid.UUID, state: str = "succeeded") -> dict[str, Any]:
    wait_for(lambda: sql.state(job) == state, 15, f"{job} to be {state}")
    return sql.job(job)


def rows(sql: Sql, table: str, tenant: str) -> list[dict[str, Any]]:
    return sql.look(f"select * from {table} where tenant_id = %s", tenant)


# --- what it is made from -----------------------------------------------------------------------------------


def test_the_schemas_and_types_of_the_example_are_those_of_its_tasks(program: Path, tmp_path: Path) -> None:
    folder = EXAMPLE / "schemas" if UPDATE else tmp_path
    for schema in payloads.of_tasks(everything):
        (folder / f"{schema['x-type']}.json").write_text(command.text_of(schema))
    ran(program, "node", "scripts/generate.mjs", str(ROOT / "docs" / "schemas"), str(folder))
    if UPDATE:
        shutil.copy(program / "src" / "contract.ts", EXAMPLE / "src" / "contract.ts")

    made, committed = (
        {file.name: file.read_text() for file in one.glob("*.json")} for one in (folder, EXAMPLE / "schemas")
    )
    assert committed == made, "JOBFORGE_UPDATE_SNAPSHOT=1 writes them down"
    assert (program / "src" / "contract.ts").read_text() == (EXAMPLE / "src" / "contract.ts").read_text()


def test_the_lock_file_names_no_machine_and_every_version_is_pinned() -> None:
    lock = json.loads((EXAMPLE / "package-lock.json").read_text())
    places = {one.get("resolved", "https://registry.npmjs.org/") for one in lock["packages"].values()}
    assert {place for place in places if not place.startswith("https://registry.npmjs.org/")} == set()
    said = json.loads((EXAMPLE / "package.json").read_text())
    assert all(version[0].isdigit() for version in (said["dependencies"] | said["devDependencies"]).values())


# --- enqueueing ---------------------------------------------------------------------------------------------


def order(program: Path, sql: Sql, tenant: str, *words: str, status: int = 0) -> list[uuid.UUID]:
    said = ran(
        program, "node", "dist/enqueue.js", tenant, *words, status=status, DATABASE_URL=sql.database.dsn("jf_one")
    )
    return [uuid.UUID(line) for line in said.split()]


def test_an_order_and_its_jobs_commit_together_or_not_at_all(program: Path, sql: Sql) -> None:
    order(program, sql, "commits", NAME, BIG)
    assert len(order(program, sql, "rolls-back", NAME, BIG, "--fail", status=1)) == 2

    assert [len(rows(sql, table, "commits")) for table in ("shop_orders", "jobforge.jobs")] == [1, 2]
    assert [len(rows(sql, table, "rolls-back")) for table in ("shop_orders", "jobforge.jobs")] == [0, 0]


# --- working ------------------------------------------------------------------------------------------------


def test_beside_a_python_worker_each_takes_its_types_and_payloads_come_through(
    program: Path, sql: Sql, worker: Node
) -> None:
    engine = sql.database.engine("jf_one")
    with Worker(engine, forge, queues={"shop": 2}, poll=dt.timedelta(milliseconds=100)):
        label, receipt = order(program, sql, "beside", NAME, BIG)
        by_python = enqueue(sql, print_label, Label(order=7, name=NAME, weight=BIG), "beside")

        assert ended(sql, receipt)["result"] == {"sent_to": NAME, "total": BIG}
        doubled = str(2 * int(BIG))
        assert ended(sql, label)["result"]["weight"] == doubled
        assert ended(sql, by_python)["result"] == {"label": f"7/{NAME}", "weight": doubled}
    assert {str(row["weight"]) for row in rows(sql, "shop_labels", "beside")} == {BIG}
    children = sql.look("select id from jobforge.jobs where parent_id = %s and type = 'carrier.book'", label)
    assert [ended(sql, child["id"])["cause"] for child in children] == ["handler"]
    ran_by = {job: sql.attempts(job)[0]["worker_id"] for job in (label, receipt, by_python)}
    assert ran_by[label] == ran_by[by_python] != ran_by[receipt]


def test_a_failure_is_retried_when_it_says_by_its_policy_or_never(sql: Sql, worker: Node) -> None:
    book = partial(enqueue, sql, book_carrier, tenant="fails")
    busy, unknown = book(Booking(order=1, carrier="busy")), book(Booking(order=1, carrier="\u0001 pigeons"))
    (misfit,) = sql.fill("fails", 1, type="carrier.book", queue="shop", payload={"order": "one"})
    late = enqueue(
        sql, watch_carrier, Watch(order=1, seconds=60), "fails", timeout=dt.timedelta(seconds=0.2), max_attempts=1
    )

    waits = ended(sql, busy, "scheduled")
    assert waits["due_at"] - waits["created_at"] > dt.timedelta(minutes=59)
    wait_for(lambda: len(sql.attempts(unknown)) == 3, 15, "three attempts")
    assert ended(sql, unknown, "dead")["attempt"] == 3
    assert ended(sql, misfit, "dead")["attempt"] == 1
    assert ended(sql, late, "dead")["attempt"] == 1
    told = [sql.attempts(job)[0] for job in (busy, unknown, misfit, late)]
    assert [one["error"]["type"] for one in told] == ["Retry", "Error", "Final", "Error"]
    assert [one["outcome"] for one in told] == ["failed", "failed", "failed", "timed_out"]


def test_a_cancel_reaches_the_handler_and_its_writes_are_gone(sql: Sql, worker: Node) -> None:
    job = enqueue(sql, watch_carrier, Watch(order=1, seconds=60), "cancels")
    worker.said("run", str(job))
    sql("cancel_job", tenant="cancels", job_id=job)

    ended(sql, job, "canceled")
    assert [one["outcome"] for one in sql.attempts(job)] == ["canceled"]
    assert rows(sql, "shop_labels", "cancels") == []


def test_a_worker_that_is_killed_loses_no_job_and_its_effects_are_there_once(program: Path, sql: Sql) -> None:
    with node(program, sql, QUEUE="killed", ALIVE="1") as first:
        job = enqueue(sql, watch_carrier, Watch(order=1, seconds=1.5), "killed", queue="killed")
        first.said("run", str(job))
        first.end(signal.SIGKILL)
    with node(program, sql, QUEUE="killed", ALIVE="1") as second:
        ended(sql, job)

    assert [one["outcome"] for one in sql.attempts(job)] == ["lost", "succeeded"]
    assert [row["printed_by"] for row in rows(sql, "shop_labels", "killed")] == [second.process.pid]


def test_connections_that_are_cut_do_not_stop_it(sql: Sql, worker: Node) -> None:
    cut = "select pg_terminate_backend(pid) as cut from pg_stat_activity where application_name = %s and datname = %s"
    assert len(sql.look(cut, "jobforge worker (node)", sql.database.name)) >= 3
    for _ in range(2):
        job = enqueue(sql, print_label, Label(order=1, name="x", weight="1"), "cut")
        ended(sql, job)


def test_a_graceful_stop_gives_back_what_does_not_end_and_takes_leave(program: Path, sql: Sql) -> None:
    with node(program, sql, QUEUE="stops") as worker:
        job = enqueue(sql, watch_carrier, Watch(order=1, seconds=60), "stops", queue="stops")
        worker.said("run", str(job))
        assert worker.end() == 0

    assert (sql.state(job), sql.job(job)["attempt"]) == ("queued", 0)
    assert [one["outcome"] for one in sql.attempts(job)] == ["released"]
    assert rows(sql, "shop_labels", "stops") == []
    assert [one for one in sql("list_workers", user="jf_admin") if one["queues"] == ["stops"]] == []


def test_a_job_that_has_lost_two_workers_is_run_alone(sql: Sql, worker: Node) -> None:
    job = enqueue(sql, print_label, Label(order=1, name="x", weight="1"), "suspects", queue="other")
    for _ in range(2):
        lost: Callable[[], Any] = partial(
            sql.claim, worker_id=uuid.UUID(int=9), queues=["other"], types=["label.print"]
        )
        wait_for(lost, 10, "a claim")
        sql("heartbeat_jobs", worker_id=uuid.UUID(int=9), alive="0")
        sql("rescue_expired_jobs")
    sql.session("postgres").execute("update jobforge.jobs set queue = 'shop' where id = %s", [job])
    sql.session("postgres").execute("update jobforge.scheduled set queue = 'shop' where job_id = %s", [job])

    assert ended(sql, job)["crashes"] == 2


def test_where_tenants_are_signed_the_token_of_the_job_lets_its_handler_complete(sql: Sql, worker: Node) -> None:
    owner = sql.session("postgres")
    owner.execute(
        "select jobforge.add_tenant_key('k', decode(repeat('ab', 32), 'hex')), jobforge.use_tenancy('signed')"
    )
    try:
        label = {"order": 1, "name": "x", "weight": "1"}
        given: dict[str, Any] = {"type": "label.print", "payload": label, "queue": "shop"}
        (row,) = sql("enqueue_job_for", user="jf_admin", tenant_id="signed", **given)
        assert ended(sql, row["id"])["result"]["weight"] == "2"
    finally:
        owner.execute("select jobforge.use_tenancy('plain')")
