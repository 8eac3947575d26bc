"""The real side of the machine: sessions, transactions that stay open, and the rows that stand committed."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.properties.model import Fact, Model, Work
from tests.support import Connection, Row, Sql, call

BEGINNING = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
TENANTS = ("a", "b", "c")
PATIENCE = "10s"  # who waits although the model says that nobody does fails after this

FACTS = """
select 'job', id, tenant_id, max_attempts, priority::integer, (payload ->> 'n')::integer, created_at, run_at,
       null::uuid, null::uuid, queue from jobforge.jobs
union all
select 'queued', job_id, tenant_id, run, attempt, crashes, null, null, null, null, queue from jobforge.ready
union all
select 'scheduled', job_id, tenant_id, run, attempt, crashes, run_at, null, null, null, queue from jobforge.scheduled
union all
select 'running', job_id, tenant_id, run, attempt, crashes, claimed_at, deadline, token, worker_id, null
  from jobforge.leases
union all
select state, job_id, tenant_id, run, attempt, crashes, finished_at, null, null, null, null from jobforge.outcomes
union all
select 'attempt', job_id, tenant_id, run, attempt, null, claimed_at, finished_at, token, worker_id, outcome
  from jobforge.attempts
union all
select 'request', job_id, tenant_id, null, null, null, requested_at, null, null, null, null
  from jobforge.cancel_requests
union all
select 'worker', null, null, null, null, null, alive_until, null, null, worker_id, null from jobforge.workers
union all
select 'key', job_id, tenant_id, null, null, null, created_at, null, null, null, key from jobforge.idempotency_keys
union all
select 'unique', job_id, tenant_id, null, null, null, null, null, null, null, key from jobforge.unique_keys
union all
select 'result', job_id, tenant_id, (value #>> '{}')::integer, null, null, null, null, null, null, null
  from jobforge.results
union all
select 'walk', behind, null, null, null, null, nullif(began_at, '-infinity'), null, null, null, walk
  from jobforge.pruning where walk in ('jobs', 'results', 'idempotency_keys')  -- nothing is kept by number here
union all
select 'effect', job_id, null, null, null, null, null, null, token, null, null from public.effects
"""

# claim_suspect begins at a tenant by chance, and takes no cursor: a failure could not be repeated.
NO_CHANCE = """
create or replace function jobforge.ring_start(p_queue text, p_lane text, p_heads boolean default false) returns text
language sql volatile set search_path = pg_catalog, pg_temp as $$ select '' $$
"""

# The rows go by delete: truncating the tables takes ten times as long as running an example of a few steps.
CLEAN = """
delete from jobforge.jobs; delete from jobforge.idempotency_keys; delete from jobforge.ready;
delete from jobforge.scheduled; delete from jobforge.leases; delete from jobforge.workers;
delete from jobforge.cancel_requests; delete from jobforge.attempts; delete from jobforge.outcomes;
delete from jobforge.limits; delete from jobforge.lines; delete from jobforge.turns;
delete from jobforge.heads;
delete from jobforge.unique_keys; delete from jobforge.results;
delete from public.effects; update jobforge.pruning set behind = default, began_at = '-infinity'
"""


@dataclass(eq=False)
class Place:
    """Where a call is made: a session that commits at once, or a transaction that stays open."""

    name: str
    connection: Connection
    tenant: str | None = None  # set in its transaction
    work: Work | None = None  # of the one that is open

    def __repr__(self) -> str:
        return f"{self.name}{'' if self.tenant is None else ' of ' + self.tenant}{', open' if self.work else ''}"

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(repr(self))  # as hypothesis shows it: it would print the fields of a dataclass

    @property
    def marks(self) -> int:
        """How many savepoints are open."""
        return len(self.work.marks) if self.work else 0

    def call(self, function: str, /, **arguments: object) -> list[Row]:
        if self.work is not None:
            return call(self.connection, function, **arguments)
        with self.connection.transaction():
            self._set_tenant()
            return call(self.connection, function, **arguments)

    def begin(self, tenant: str | None, model: Model, isolation: str = "read committed") -> None:
        self.tenant = tenant
        self.connection.execute(f"begin isolation level {isolation}".encode())
        self._set_tenant()
        self.work = model.begin()

    def end(self, model: Model, commits: bool) -> None:
        assert self.work is not None
        if commits:
            self.connection.execute("commit")
            model.commit(self.work)
        else:
            self.connection.execute("rollback")
            model.roll_back(self.work)
        self.work = None

    def savepoint(self) -> None:
        assert self.work is not None
        self.connection.execute(f"savepoint s{len(self.work.marks)}".encode())
        self.work.mark()

    def release(self) -> None:
        assert self.work is not None
        self.work.marks.pop()
        self.connection.execute(f"release savepoint s{len(self.work.marks)}".encode())

    def undo(self, model: Model) -> None:
        """Go back to the last savepoint; without one the whole transaction is rolled back."""
        assert self.work is not None
        if not self.work.marks:
            self.end(model, commits=False)
            return
        self.work.undo()
        name = f"s{len(self.work.marks)}"
        self.connection.execute(f"rollback to savepoint {name}".encode())
        self.connection.execute(f"release savepoint {name}".encode())

    def jobs(self) -> dict[uuid.UUID, str]:
        """Every job that is seen here, with its state."""
        if self.work is not None:
            rows = self.connection.execute("execute seen").fetchall()
        else:  # in one message, and planned once: this is asked three times at each step
            tenant = f"select set_config('jobforge.tenant_id', '{self.tenant}', true)"
            cursor = self.connection.execute(f"begin; {tenant}; execute seen; commit".encode())
            cursor.nextset(), cursor.nextset()
            rows = cursor.fetchall()
        assert len(rows) == len({row["id"] for row in rows}), "a job is seen twice"
        return {row["id"]: row["state"] for row in rows}

    def _set_tenant(self) -> None:
        if self.tenant is not None:
            self.connection.execute("select set_config('jobforge.tenant_id', %s, true)", [self.tenant])


@dataclass
class Real:
    """The sessions and transactions that one database is driven with; they outlive the examples."""

    sql: Sql
    tenants: dict[str, Place] = field(default_factory=dict)
    handlers: list[Place] = field(default_factory=list)  # applications' transactions
    engines: list[Place] = field(default_factory=list)  # workers' transactions
    admins: dict[str, Place] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sql.clock()
        self._root = self.sql.session("postgres")
        self._root.execute("set synchronous_commit = off")  # of the clock, which moves at each step
        self._root.execute("create table public.effects (job_id uuid not null, token uuid not null)")
        self._root.execute("grant insert on public.effects to public")
        self._root.execute(NO_CHANCE)
        self.tenants = {name: Place("session", self._open("jf_app"), name) for name in TENANTS}
        self.worker = Place("worker", self._open("jf_worker"))
        self.admin = Place("admin", self._open("jf_admin"))
        self.admins = {name: Place("admin", self.admin.connection, name) for name in TENANTS}
        self.handlers = [Place(f"handler {n}", self._open("jf_app")) for n in (1, 2)]
        self.engines = [Place("engine", self._open("jf_worker"))]
        self.pruner = Place("pruner", self._open("jf_admin"))
        self.reader = Place("reader", self._open("jf_app"))  # at REPEATABLE READ; it locks nothing

    @property
    def transactions(self) -> list[Place]:
        return [*self.handlers, *self.engines, self.pruner]

    def _open(self, user: str) -> Connection:
        connection = self.sql.connect(user)
        connection.autocommit = True
        connection.execute(f"set lock_timeout = '{PATIENCE}'".encode())
        connection.prepare_threshold = None  # with one of its own, psycopg deallocates ours after each rollback
        if user == "jf_app":
            connection.execute("prepare seen as select id, state from jobforge.all_jobs")
        return connection

    def clean(self) -> None:
        """Take away what the last example left, also when it failed halfway."""
        for place in (*self.transactions, self.reader, *self.tenants.values()):
            place.connection.rollback()
            place.work = None
        self._root.execute(CLEAN)
        self.set_now(BEGINNING)

    def set_now(self, at: dt.datetime) -> None:
        self._root.execute("update public.jobforge_clock set at = %s", [at])

    def run(self, script: str) -> None:
        """Change the schema, as its owner would."""
        self._root.execute(script.encode())

    def facts(self) -> Counter[Fact]:
        with self._root.cursor(row_factory=_tuples) as cursor:
            return Counter(cursor.execute(FACTS).fetchall())

    def audit(self) -> list[tuple[uuid.UUID, str]]:
        return [(row["job_id"], row["fault"]) for row in call(self.admin.connection, "audit")]

    def waits(self, place: Place, work: Callable[[], list[Row]]) -> Any:
        return self.sql.waits(place.connection, work)


def _tuples(_: Any) -> Callable[[Any], Fact]:
    return tuple
