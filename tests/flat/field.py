"""A database with as many jobs as wanted, and a worker without a process: what it reads, how large the tables are."""

from __future__ import annotations

import statistics
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row

from jobforge_sa.testing import database as databases
from jobforge_sa.testing.database import Database
from jobforge_sa.testing.server import EmbeddedServer, ServerError
from tests.fix_postgres import ROLES

Connection = psycopg.Connection[dict[str, Any]]

BATCH = 500
# With a hundred times the rows an index is one level higher: where a row was found by it with three pages, one of them
# the table's, it takes four
LEVEL = 1.5
DEAD = 200  # pages with rows that were deleted, which a claim may pass while they cannot leave, but not more and more
TASKS = ["t", "slow"]  # the types that the worker knows

# Rows as enqueueing would leave them, tenants in turn; a hundred ids for each second, so that they have an order
FILL = """
with told as materialized (
    select (lpad(to_hex((extract(epoch from now() - %(age)s) * 1000)::bigint + n * 10), 12, '0') || '7000'
            || '8' || substr(md5(random()::text), 1, 15))::uuid as id,
           %(name)s || case when %(tenants)s > 1 then lpad((n %% %(tenants)s)::text, 5, '0') else '' end as tenant
      from generate_series(0, %(jobs)s - 1) n
), asked as (
    insert into jobforge.jobs (id, tenant_id, queue, type, priority, payload, run_at, max_attempts, created_at)
    select id, tenant, %(queue)s, %(type)s, 0, '{"some": "payload", "of": 100, "bytes": "or so"}', now(), 5, now()
      from told
)
insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
select %(queue)s, tenant, 0, id, %(type)s, 0, 0, 0 from told
"""
CLAIM = "jobforge.claim_jobs(%(worker)s, %(queues)s, %(types)s, %(limit)s, null, %(cursors)s)"
TAKE = f"""
select json_agg(json_build_object('job_id', c.job_id, 'lease_token', c.lease_token, 'outcome', 'succeeded'))::text
       as runs, (array_agg(c.tenant_id))[count(*)] as tenant, count(*) as jobs from {CLAIM} c
"""
HELD = """
select json_agg(json_build_object('job_id', job_id, 'lease_token', token, 'outcome', 'succeeded'))::text as runs
  from jobforge.leases
"""
ENQUEUE = """
select count(*) from jobforge.enqueue_jobs((
    select json_agg(json_build_object('type', 't', 'payload', json_build_object('n', n)))
      from generate_series(1, %s) n))
"""
# of each key so many: all but the first have to wait
ENQUEUE_ORDERED = """
select count(*) from jobforge.enqueue_jobs((
    select json_agg(json_build_object('type', 't', 'ordering_key', %s || n / %s)) from generate_series(0, %s - 1) n))
"""


class Field:
    """The jobs of one database, and one worker that takes them by the functions that workers call."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.admin = self.connect()
        self.worker = self.connect("jf_worker")
        self.worker.execute("set synchronous_commit = off")
        self.cursor: str | None = None
        self.done = 0
        self.ordered = 0  # so many of what is enqueued have one ordering key
        self.enqueued = 0

    def connect(self, login: str = "postgres") -> Connection:
        return connect(self.database, login)

    def fill(
        self, jobs: int, tenants: int = 1, *, name: str = "a", type_: str = "t", queue: str = "default", days: int = 1
    ) -> None:
        """So many waiting jobs of so many tenants, enqueued `days` ago; and the planner has seen them."""
        values = {"jobs": jobs, "tenants": tenants, "name": name, "type": type_, "queue": queue, "age": f"{days} days"}
        self.admin.execute(FILL.replace("%(age)s", "%(age)s::interval").encode(), values)
        self.admin.execute("vacuum analyze jobforge.jobs, jobforge.ready")

    def enqueue(self, jobs: int, tenant: str = "a") -> None:
        """As an application does."""
        with self.admin.transaction():
            self.admin.execute("select set_config('jobforge.tenant_id', %s, true)", [tenant])
            if self.ordered:
                self.admin.execute(ENQUEUE_ORDERED, [f"{self.enqueued}-", self.ordered, jobs])
            else:
                self.admin.execute(ENQUEUE, [jobs])
        self.enqueued += jobs

    def _asked(self, limit: int, cursor: str | None, queues: list[str] | None) -> dict[str, object]:
        queues = queues or ["default"]
        return {
            "worker": uuid.UUID(int=1), "queues": queues, "types": TASKS, "limit": limit,
            "cursors": None if cursor is None else [cursor] * len(queues),
        }  # fmt: skip

    def take(self, limit: int = BATCH, queues: list[str] | None = None) -> int:
        """Claim and complete, in two transactions."""
        row = self.worker.execute(TAKE.encode(), self._asked(limit, self.cursor, queues)).fetchone()
        assert row is not None
        if row["jobs"]:
            self.cursor = row["tenant"]
            self.worker.execute("select count(*) from jobforge.complete_jobs(%s::json)", [row["runs"]])
        self.done += row["jobs"]
        return int(row["jobs"])

    def work(self, jobs: int, queues: list[str] | None = None) -> None:
        """Take so many jobs, with the upkeep that a worker would have done meanwhile."""
        until = self.done + jobs
        while self.done < until:
            assert self.take(min(BATCH, until - self.done), queues), "jobs wait, and a claim gives none"
            if self.done // BATCH % 20 == 0:
                self.upkeep()

    def trickle(self, jobs: int, few: int, tenants: int = 1) -> None:
        """Enqueue few, of one tenant after the other, claim few, complete few, until it were so many."""
        until = self.done + jobs
        while self.done < until:
            turn = self.done // few
            self.enqueue(few, tenant("a", turn, tenants))
            assert self.take(few), "jobs wait, and a claim gives none"
            while self.ordered > 1 and self.take(few):  # those that had to wait
                pass
            if turn % 20 == 0:
                self.upkeep()

    def upkeep(self) -> None:
        """What a worker does now and then."""
        self.worker.execute("select count(*) from jobforge.heartbeat_jobs(%s)", [uuid.UUID(int=1)])
        self.worker.execute("select count(*) from jobforge.upkeep(%s)", [uuid.UUID(int=1)])

    def pages(self, limit: int = 100, *, cursor: str | None = "", queues: list[str] | None = None) -> int:
        """The pages that a claim reads, all that its functions read included; as many jobs have to be there.

        The claims are real ones, and their jobs are done afterwards: a session remembers what it has met, and a
        rollback would take that back. The median of five: the first calls of a session read the catalog as well, and
        plan, and once a second one looks at more.
        """
        return statistics.median_low([self._once(limit, cursor, queues) for _ in range(7)][2:])

    def _once(self, limit: int, cursor: str | None, queues: list[str] | None) -> int:
        plan = explained(self.worker, f"select * from {CLAIM}", self._asked(limit, cursor, queues))
        assert plan["Actual Rows"] == limit, "a claim that gives less says nothing"
        row = self.admin.execute(HELD.encode()).fetchone()
        assert row is not None
        self.worker.execute("select count(*) from jobforge.complete_jobs(%s::json)", [row["runs"]])
        self.done += limit
        return read(plan)

    def size(self, table: str) -> int:
        """The bytes of a table with its indexes."""
        row = self.admin.execute("select pg_total_relation_size(%s::regclass) as n", [f"jobforge.{table}"]).fetchone()
        assert row is not None
        return int(row["n"])

    def vacuum(self) -> None:
        """As autovacuum does, but now."""
        self.admin.execute("vacuum jobforge.ready, jobforge.leases, jobforge.scheduled, jobforge.workers")

    @contextmanager
    def held_snapshot(self) -> Iterator[None]:
        """Somebody looked once, in a transaction that he forgot."""
        with self.connect() as reader, reader.transaction():
            reader.execute("set transaction isolation level repeatable read")
            reader.execute("select")
            yield

    def call(self, function: str, *values: object) -> None:
        """Call a function as administrator; skip the test where it does not exist yet."""
        binds = ", ".join("%s" for _ in values)
        with self.connect("jf_admin") as admin:
            try:
                admin.execute(f"select * from jobforge.{function}({binds})".encode(), values)
            except psycopg.errors.UndefinedFunction as error:
                pytest.skip(str(error).splitlines()[0])

    def close(self) -> None:
        self.admin.close()
        self.worker.close()


@contextmanager
def own_server(settings: Mapping[str, str] | None = None) -> Iterator[tuple[EmbeddedServer, Database]]:
    """A server of the test's own, and a migrated database on it."""
    server = EmbeddedServer(settings=settings)
    try:
        server.start()
    except ServerError as error:
        pytest.skip(f"needs a server of its own: {error}")
    try:
        url = sa.make_url(server.url)
        with databases.template(url, ROLES) as template, databases.fresh(url, template) as database:
            yield server, database
    finally:
        server.stop()


def connect(database: Database, login: str = "postgres") -> Connection:
    """A connection in autocommit."""
    return psycopg.connect(database.dsn(login), autocommit=True, row_factory=dict_row)


def more(few: Mapping[Any, int], read: Mapping[Any, int], spare: int = 0) -> dict[Any, tuple[int, int]]:
    """Where more pages were read than an index of one more level and `spare` ones: how few it were, and how many."""
    return {what: (few[what], read[what]) for what in few if read[what] > LEVEL * few[what] + spare}


def tenant(name: str, n: int, tenants: int) -> str:
    """One of the tenants of `fill`, in turn."""
    return f"{name}{n % tenants:05}" if tenants > 1 else name


def explained(connection: Connection, statement: str, values: object = None) -> dict[str, Any]:
    """The plan of a statement that was run."""
    row = connection.execute(f"explain (analyze, buffers, format json) {statement}".encode(), values).fetchone()  # type: ignore[call-overload]
    return dict(row["QUERY PLAN"][0]["Plan"])


def read(plan: Mapping[str, Any]) -> int:
    """The pages that a statement has found in the cache or read, those of nested ones in functions included."""
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
