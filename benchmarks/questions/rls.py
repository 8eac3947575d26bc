"""What it costs that Postgres itself keeps tenants apart: the same calls with row level security on, off, and signed.

Each as the login that makes it in life, a member of jobforge_app or of jobforge_worker and of nothing else; medians of
single calls, seen from the client. "off" is the same schema after ALTER TABLE ... DISABLE ROW LEVEL SECURITY: the
functions ask for the tenant all the same, so does the last line of the view, and the selects name it. "signed" is
tenancy with tokens: each call of current_tenant() checks an HMAC inside Postgres.
A select is `select * from all_jobs order by id desc limit 50`, with a state or without, as an ORM asks.
Not fair: everything stands in the cache after the first calls, on a server with nothing else to do.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from benchmarks import crowd
from benchmarks.arena import Arena
from benchmarks.orders import order
from benchmarks.question import Case, Contender, Measured, Metric, Setting
from benchmarks.systems import ours
from benchmarks.systems.system import Database
from jobforge_sa import TenantKey

Connection = psycopg.Connection[Any]
KEY: Final = TenantKey.generate("bench")
WARM_UP: Final = 10
BATCH: Final = 100

WORK: Final = tuple(
    Metric(name, unit, more_is_better=False)
    for name, unit in (
        ("enqueue, one by one", "µs"), ("enqueue_jobs, 1,000 each", "µs/job"), ("claim, 100 each", "µs/job"),
        ("complete, 100 each", "µs/job"), ("get_job", "µs"), ("list_jobs", "µs"),
    )
)  # fmt: skip
STATES: Final = ("", "dead", "queued", "succeeded")
READ: Final = tuple(
    Metric(f"{way} of 50{f', {state}' if state else ''}", "ms", more_is_better=False)
    for way in ("list_jobs", "select")
    for state in STATES
)

OFF: Final = """do $$ declare t text; begin
for t in select oid::regclass from pg_class where relnamespace = 'jobforge'::regnamespace and relrowsecurity loop
    execute format('alter table %s disable row level security', t);
end loop; end $$"""
SIGN: Final = "select jobforge.add_tenant_key(%s, %s), jobforge.use_tenancy('signed')"


@dataclass(frozen=True)
class Way:
    """One of the contenders: how its database is prepared, how a transaction names its tenant."""

    prepare: Callable[[Connection], object]
    signed: bool = False
    predicate: bool = False

    def act(self, connection: Connection, tenant: str) -> None:
        """Set the tenant of a transaction."""
        name, value = ("tenant_token", KEY.token(tenant)) if self.signed else ("tenant_id", tenant)
        connection.execute("select set_config(%s, %s, true)", (f"jobforge.{name}", value))


def _sign(admin: Connection) -> None:
    admin.execute("set role jobforge_owner")
    admin.execute(SIGN, (KEY.id, KEY.secret))


WAYS: Final = {
    "policies": Way(lambda _: None),
    "row level security off": Way(lambda admin: admin.execute(OFF), predicate=True),
    "policies, signed tenants": Way(_sign, signed=True),
}


@contextlib.contextmanager
def _logins(database: Database, way: Way) -> Iterator[tuple[Connection, Connection]]:
    """The database made ready, and connections of an application and of a worker."""
    names = [f"bench_{role}_{secrets.token_hex(4)}" for role in ("app", "worker")]
    password = secrets.token_hex()
    with database.connect() as admin, contextlib.ExitStack() as stack:
        for name, role in zip(names, ("app", "worker"), strict=True):
            admin.execute(f"create role {name} login password '{password}' in role jobforge_{role}".encode())
            stack.callback(admin.execute, f"drop role {name}".encode())
        with database.connect() as owner:
            way.prepare(owner)
        app, worker = (
            stack.enter_context(psycopg.connect(database.dsn, user=name, password=password, autocommit=True))
            for name in names
        )
        yield app, worker


def _median(call: Callable[[], object], times: int, unit: float) -> float:
    """The middle one of several calls, after some that nobody counts."""
    taken = []
    for _ in range(times + WARM_UP):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[WARM_UP:]) * unit


def _work(way: Way, calls: int, tenants: int) -> Callable[[Database], Measured]:
    def run(database: Database) -> Measured:
        with _logins(database, way) as (app, worker):
            values = [*_enqueued(way, app, calls), *_worked(worker), *_looked_up(way, app, calls, tenants)]
        return dict(zip((metric.name for metric in WORK), values, strict=True))

    return run


def _enqueued(way: Way, app: Connection, calls: int) -> Iterator[float]:
    payload = order(1).model_dump_json()
    many = json.dumps([{"type": "nothing", "payload": json.loads(payload)}] * 1000)
    with app.transaction():
        way.act(app, "tenant-0000")
        yield _median(lambda: app.execute("select * from jobforge.enqueue_job('nothing', %s)", (payload,)), calls, 1e6)
        yield _median(lambda: app.execute("select count(*) from jobforge.enqueue_jobs(%s)", (many,)), 10, 1e3)


def _worked(worker: Connection) -> Iterator[float]:
    me, claims, completions = uuid.uuid4(), list[float](), list[float]()
    claim = "select job_id, lease_token, tenant_id from jobforge.claim_jobs(%s, '{default}', '{nothing}', %s, null, %s)"
    cursor = ""
    for _ in range(WARM_UP + 30):
        began = time.perf_counter()
        rows = worker.execute(claim, (me, BATCH, [cursor])).fetchall()
        claims.append(time.perf_counter() - began)
        if len(rows) != BATCH:
            raise AssertionError(f"{len(rows)} jobs were claimed instead of {BATCH}")
        cursor = rows[-1][2]
        ends = [{"job_id": str(row[0]), "lease_token": str(row[1]), "outcome": "succeeded"} for row in rows]
        began = time.perf_counter()
        worker.execute("select answer from jobforge.complete_jobs(%s)", (json.dumps(ends),)).fetchall()
        completions.append(time.perf_counter() - began)
    yield from (statistics.median(taken[WARM_UP:]) * 1e6 / BATCH for taken in (claims, completions))


def _looked_up(way: Way, app: Connection, calls: int, tenants: int) -> Iterator[float]:
    with app.transaction():
        way.act(app, f"tenant-{tenants // 2:04d}")
        listed = "select id from jobforge.list_jobs()"
        found = [row[0] for row in app.execute(listed).fetchall()]
        ids = (found * (calls // len(found) + WARM_UP))[: calls + WARM_UP]
        yield _median(lambda: app.execute("select * from jobforge.get_job(%s)", (ids.pop(),)).fetchall(), calls, 1e6)
        yield _median(lambda: app.execute("select * from jobforge.list_jobs()").fetchall(), 30, 1e6)


def _read(way: Way, tenant: str) -> Callable[[Database], Measured]:
    def run(database: Database) -> Measured:
        with _logins(database, way) as (app, _), app.transaction():
            way.act(app, tenant)
            own = f"tenant_id = '{tenant}'" if way.predicate else "true"
            pages = [f"select * from jobforge.list_jobs({repr(state) if state else ''})" for state in STATES]
            pages += [
                f"select * from jobforge.all_jobs where {own}{f' and state = {state!r}' if state else ''}"
                " order by id desc limit 50"
                for state in STATES
            ]
            values = [_median(lambda page=page: app.execute(page.encode()).fetchall(), 20, 1e3) for page in pages]  # type: ignore[misc]
        return dict(zip((metric.name for metric in READ), values, strict=True))

    return run


def cases(setting: Setting) -> list[Case]:
    """What an application and a worker do; then the pages of one tenant among many."""
    backlog, few, calls = setting.size(20_000, 5_000), setting.size(100, 10), setting.size(500, 50)
    jobs, tenants = setting.size(1_000_000, 2_000), setting.size(1_000, 20)

    def some(place: Arena) -> str:
        return place.template(
            ours.SYSTEM, f"{backlog} jobs of {few} tenants", lambda database: ours.SYSTEM.fill(database, backlog, few)
        )

    def crowded(place: Arena) -> str:
        return place.template(ours.SYSTEM, f"a crowd of {jobs}", fill)

    def fill(database: Database) -> None:
        with database.connect() as admin:
            crowd.fill(lambda script: admin.execute(script.encode()), jobs, tenants)

    tenant = f"tenant-{tenants // 2:04d}"
    return [
        Case(
            f"{few} tenants",
            {name: Contender(some, _work(way, calls, few)) for name, way in WAYS.items()}, WORK,
        ),
        Case(
            f"{jobs:,} jobs of {tenants:,} tenants",
            {name: Contender(crowded, _read(way, tenant)) for name, way in WAYS.items()}, READ,
        ),
    ]  # fmt: skip
