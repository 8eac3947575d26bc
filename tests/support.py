"""How tests wait: for a fact, never for a time; how they call the schema's functions, and own its clock."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar, cast

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row
from psycopg.types.json import Json

from jobforge_sa.testing.database import Database, fresh

T = TypeVar("T")


def wait_for(predicate: Callable[[], T], timeout: float = 10, what: str = "") -> T:
    """Ask until the answer is true, and give it; fail with `what` and the last answer when time is up."""
    deadline = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s for {what or predicate}; it is still {answer!r}")
        time.sleep(0.005)
    return answer


def blocked(admin: sa.Connection, pid: int, timeout: float = 10) -> None:
    """Wait until the backend `pid` waits for a lock, so that a race stands exactly where the test wants it.

    Args:
        admin: a connection in autocommit; a transaction would see the same pg_stat_activity for ever.
    """
    waiting = sa.text("select wait_event_type = 'Lock' from pg_stat_activity where pid = :pid")
    wait_for(lambda: admin.scalar(waiting, {"pid": pid}), timeout, f"backend {pid} to wait for a lock")


# --- the functions of the schema, by raw psycopg calls -----------------------------------------------------

Row = dict[str, Any]
Connection = psycopg.Connection[Row]

_WORKERS = frozenset(
    {
        "claim_jobs",
        "claim_suspect",
        "complete_job",
        "complete_jobs",
        "doze",
        "has_suspect",
        "heartbeat_job",
        "heartbeat_jobs",
        "rescue_expired_jobs",
        "upkeep",
    }
)


def call(connection: Connection, function: str, /, **arguments: object) -> list[Row]:
    """Call a function of the schema by its argument names (without p_); dicts and Json go as JSON texts."""
    binds = ", ".join(f"p_{name} => %({name})s" for name in arguments)
    values = {name: _plain(value) for name, value in arguments.items()}
    return connection.execute(f"select * from jobforge.{function}({binds})".encode(), values).fetchall()


def _plain(value: object) -> object:
    if isinstance(value, dict | Json):  # as text: the function's parameter says whether it is json or jsonb
        return json.dumps(value.obj if isinstance(value, Json) else value)
    return value


@contextmanager
def refused(sqlstate: str, *words: str) -> Iterator[None]:
    """Expect an error of the database; one of the contract also says the cure."""
    with pytest.raises(psycopg.Error) as caught:
        yield
    error = caught.value
    assert error.sqlstate == sqlstate, f"{error.sqlstate}: {error}"
    if sqlstate.startswith("JF"):
        assert error.diag.message_hint, f"no hint: {error}"
    for word in words:
        assert word in str(error)


class Sql:
    """The database as a client in any language sees it; each call in a transaction of its own, by a role that may."""

    worker = uuid.UUID(int=1)

    def __init__(self, database: Database) -> None:
        self.database = database
        self._connections = ExitStack()  # of one test
        self._sessions: dict[str, Connection] = {}
        self._clock: Clock | None = None
        self._threads = ThreadPoolExecutor(max_workers=20)

    def __enter__(self) -> Sql:
        return self

    def __exit__(self, *_: object) -> None:
        self._connections.close()
        for session in self._sessions.values():
            session.close()
        self._threads.shutdown()

    def asleep(self, *queues: str) -> Connection:
        """A connection that listens, of a worker that sleeps: to who does not sleep nobody sends a hint."""
        listener = self.connect("jf_worker")
        listener.autocommit = True
        listener.execute("listen jobforge")
        assert call(listener, "doze", queues=list(queues)) == [{"doze": True}]
        return listener

    def clean(self) -> None:
        """Ask the auditor, then take all jobs away: tests share a database, for making one costs 200 ms."""
        self._connections.close()
        found = self("audit")
        if self._clock is not None:
            self._clock.remove()
            self._clock = None
        self.session("postgres").execute(
            "truncate jobforge.jobs, jobforge.idempotency_keys, jobforge.ready, jobforge.scheduled, jobforge.leases, "
            "jobforge.workers, jobforge.cancel_requests, jobforge.attempts, jobforge.outcomes, jobforge.limits, "
            "jobforge.tenant_keys, jobforge.unique_keys, jobforge.waits, jobforge.results, jobforge.connectors, "
            "jobforge.connector_secrets, jobforge.webhook_endpoints, jobforge.webhook_deliveries, "
            "jobforge.artifacts, jobforge.lines, jobforge.turns, jobforge.heads"
        )
        self.session("postgres").execute("update jobforge.settings set tenancy = 'plain', artifact_bytes = default")
        self.session("postgres").execute("update jobforge.pruning set behind = default, began_at = '-infinity'")
        assert found == []

    def clock(self) -> Clock:
        """The database's clock, which now stands still until the test moves it."""
        self._clock = Clock(self.database)
        return self._clock

    def connect(self, user: str = "jf_app", tenant: str | None = None, isolation: str | None = None) -> Connection:
        """A connection of its own; with a tenant or an isolation level its transaction has begun."""
        connection = psycopg.connect(self.database.dsn(user), row_factory=dict_row)
        self._connections.callback(connection.close)
        self._connections.callback(connection.cancel_safe, timeout=2)
        if isolation is not None:
            connection.execute(f"set transaction isolation level {isolation}".encode())
        if tenant is not None:
            connection.execute("select set_config('jobforge.tenant_id', %s, true)", [tenant])
        return connection

    def session(self, user: str) -> Connection:
        """The connection in autocommit that all calls of one user share."""
        session = self._sessions.get(user)
        if session is None or session.closed:
            session = psycopg.connect(self.database.dsn(user), row_factory=dict_row, autocommit=True)
            session.execute("set lock_timeout = '10s'")  # a test that leaves a lock behind fails, it does not hang
            self._sessions[user] = session
        return session

    def __call__(
        self, function: str, /, *, tenant: str | None = None, user: str = "", **arguments: object
    ) -> list[Row]:
        """Call a function in a transaction of its own, and commit."""
        user = user or ("jf_worker" if function in _WORKERS else "jf_admin" if function == "audit" else "jf_app")
        session = self.session(user)
        with session.transaction():
            if tenant is not None:
                session.execute("select set_config('jobforge.tenant_id', %s, true)", [tenant])
            return call(session, function, **arguments)

    def look(self, query: str, *values: object, user: str = "postgres") -> list[Row]:
        """Look at anything, as superuser. Only to look."""
        return self.session(user).execute(query.encode(), values).fetchall()

    def job(self, job_id: uuid.UUID) -> Row:
        """A job with its state."""
        (row,) = self.look("select * from jobforge.all_jobs where id = %s", job_id, user="jf_admin")
        return row

    def state(self, job_id: uuid.UUID) -> str:
        """A job's state."""
        return str(self.job(job_id)["state"])

    def attempts(self, job_id: uuid.UUID) -> list[Row]:
        """What is on record of a job's runs, in their order."""
        return self.look("select * from jobforge.attempts where job_id = %s order by run", job_id)

    def enqueue(self, tenant: str = "a", type_: str = "t", payload: object = None, **options: Any) -> uuid.UUID:
        """Enqueue one job and commit."""
        (row,) = self("enqueue_job", tenant=tenant, type=type_, payload=payload or {}, **options)
        return cast(uuid.UUID, row["id"])

    def fill(self, tenant: str, count: int, **options: Any) -> list[uuid.UUID]:
        """Enqueue many jobs and commit."""
        item = {"type": "t", **options}
        return [row["id"] for row in self("enqueue_jobs", tenant=tenant, jobs=Json([item] * count))]

    def claim(self, limit: int = 10, **options: Any) -> list[Row]:
        """Claim of the queue "default" and of the type "t", if not said otherwise."""
        given: dict[str, Any] = {"worker_id": self.worker, "queues": ["default"], "types": ["t"], "limit": limit}
        return self("claim_jobs", **given | options)

    def claim_one(self, **options: Any) -> Row:
        """Claim the only job there is."""
        (row,) = self.claim(**options)
        return row

    def suspects(self, **options: Any) -> list[Row]:
        """Ask for a suspect, of the same queue and type."""
        given: dict[str, Any] = {"worker_id": self.worker, "queues": ["default"], "types": ["t"]}
        return self("claim_suspect", **given | options)

    def claim_suspect(self, **options: Any) -> Row:
        """Claim a suspect; there is one."""
        (row,) = self.suspects(**options)
        return row

    def complete(self, run: Row, outcome: str = "succeeded", **more: object) -> str:
        """End a run and commit; give the answer."""
        (row,) = self("complete_jobs", results=Json([item(run, outcome, **more)]))
        return str(row["answer"])

    def waits(self, connection: Connection, work: Callable[[], T]) -> Future[T]:
        """Do some work on a connection in another thread; give its future when the backend waits for a lock."""
        future = self._threads.submit(work)
        asked = "select wait_event_type = 'Lock' as locked from pg_stat_activity where pid = %s"
        pid = connection.info.backend_pid

        def stands() -> bool:
            if future.done():
                raise AssertionError(f"it did not wait: {future.exception() or future.result()!r}")
            return bool(self.look(asked, pid)[0]["locked"])

        wait_for(stands, what="the rival to wait for a lock")
        return future

    def together(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """Do all of this at the same time, each in a thread."""
        barrier = threading.Barrier(len(works))

        def start(work: Callable[[], T]) -> T:
            barrier.wait(timeout=10)
            return work()

        return [future.result(timeout=30) for future in [self._threads.submit(start, work) for work in works]]


def item(run: Row, outcome: str = "succeeded", **more: object) -> Row:
    """An item of complete_jobs for what claim_jobs gave."""
    return {"job_id": str(run["job_id"]), "lease_token": str(run["lease_token"]), "outcome": outcome, **more}


_NOW = (
    "create or replace function jobforge.now() returns timestamptz language sql volatile parallel safe "
    "set search_path = pg_catalog, pg_temp as '{}'"
)


class Clock:
    """jobforge.now() of one test database, replaced: it stands still until the test moves it."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine(isolation_level="AUTOCOMMIT")
        self._run("create table public.jobforge_clock (at timestamptz not null)")
        self._run("insert into public.jobforge_clock values (clock_timestamp())")
        self._run("grant select on public.jobforge_clock to public")
        self._run(_NOW.format("select at from public.jobforge_clock"))

    def now(self) -> dt.datetime:
        """What the database takes for now."""
        with self._engine.connect() as connection:
            return cast(dt.datetime, connection.exec_driver_sql("select jobforge.now()").scalar_one())

    def advance(self, **by: float) -> None:
        """Move on, by what timedelta takes: seconds=..., minutes=...; also back."""
        self._run(f"update public.jobforge_clock set at = at + interval '{dt.timedelta(**by).total_seconds()} seconds'")

    def remove(self) -> None:
        """Let time go on by itself again."""
        self._run(_NOW.format("select clock_timestamp()"))
        self._run("drop table public.jobforge_clock")

    def _run(self, statement: str) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql(statement)


@contextmanager
def one_database(admin_url: sa.URL, template: str) -> Iterator[Database]:
    """A migrated database for a whole module: for tests that leave nothing, or keep apart by tenant and queue."""
    with fresh(admin_url, template) as database:
        yield database
        database.dispose()
        assert database.audit() == []
