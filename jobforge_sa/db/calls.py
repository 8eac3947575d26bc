"""Every call of a function of the schema, built in one place. No I/O: statements go out, rows come back typed.

Application-side calls are prebuilt `text()` that psycopg, psycopg2 and asyncpg all take. Types are named with their
schema: an injection may have left a domain pg_temp.text on a pooled connection, and a cast to that would run its check,
in the next tenant's transaction. The tenant is set by the very statement that enqueues: one round trip, and the context
cannot be forgotten. The worker's calls are plain psycopg statements: they are its hot path.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    Text,
    Uuid,
    bindparam,
    column,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, INTERVAL, JSONB
from sqlalchemy.sql.selectable import TextualSelect

from jobforge_sa.db import tenant
from jobforge_sa.tenant import Named, SignedTenant


def sql(function: str, arguments: dict[str, str], columns: Iterable[Any], context: str | None) -> str:
    """`select ... from function(p_x => cast(:x as type), ...)`, under a tenant if asked for."""
    wanted = ", ".join(f"cast(r.{c.name} as pg_catalog.text)" if c.name in _JSON else f"r.{c.name}" for c in columns)
    values = ", ".join(
        f"p_{name} => cast({_bind(name, type_)} as pg_catalog.{type_})" for name, type_ in arguments.items()
    )
    if context == tenant.PLAIN and function in _REPEATS:  # an argument is there before its function is called
        return f"select {wanted} from jobforge.{function}(p_tenant_id => {context}, {values}) r"
    call = f"jobforge.{function}({values}) r"
    if context is None:
        return f"select {wanted} from {call}"
    # where the context is empty nothing is called: "c.tenant is not null" makes the order of evaluation certain
    return (
        f"with context as materialized (select {context} as tenant)\n"
        f"select {wanted} from context c, lateral {call}\n where c.tenant is not null"
    )


def _bind(name: str, type_: str) -> str:
    # psycopg2 writes '...'::uuid for these, whatever uuid means on that connection: they travel as text
    travels = type_ in ("uuid", "timestamptz", "interval", "bytea")
    return f"cast(:{name} as pg_catalog.text)" if travels else f":{name}"


def plain(value: object) -> object:
    """A value as every driver sends it: text, a number, a truth value."""
    match value:
        case uuid.UUID():
            return str(value)
        case bytes():
            return f"\\x{value.hex()}"
        case dt.datetime():
            return value.isoformat()
        case dt.timedelta():
            return f"{value.total_seconds():.6f} seconds"
    return value


_JOB = (
    column("id", Uuid()),
    column("tenant_id", Text()),
    column("queue", Text()),
    column("type", Text()),
    column("priority", Integer()),
    column("payload", Text()),
    column("run_at", DateTime(timezone=True)),
    column("max_attempts", Integer()),
    column("timeout", INTERVAL()),
    column("retry", JSONB()),
    column("idempotency_key", Text()),
    column("unique_key", Text()),
    column("ordering_key", Text()),
    column("subject", Text()),
    column("parent_id", Uuid()),
    column("cause", Text()),
    column("trace", Text()),
    column("created_at", DateTime(timezone=True)),
    column("state", Text()),
    column("run", Integer()),
    column("attempt", Integer()),
    column("crashes", Integer()),
    column("due_at", DateTime(timezone=True)),
    column("worker_id", Uuid()),
    column("claimed_at", DateTime(timezone=True)),
    column("deadline", DateTime(timezone=True)),
    column("finished_at", DateTime(timezone=True)),
    column("result", Text()),
)
# whose p_tenant_id may repeat the context: setting it there is 7 microseconds cheaper than beside it
_REPEATS = frozenset({"enqueue_job", "enqueue_jobs", "enqueue_payloads"})
# fetched as text, decoded by the caller
_JSON = frozenset({"payload", "trace", "result", "detail", "config", "secrets", "errors"})


class Call:
    """One function of the contract, with and without a tenant of its own."""

    def __init__(self, function: str, arguments: dict[str, str], columns: tuple[Any, ...]) -> None:
        self.function = function
        self.arguments = arguments
        self.columns = columns
        self._plain, self._signed, self._without = (
            text(sql(function, arguments, columns, context)).columns(*columns)
            for context in (tenant.PLAIN, tenant.SIGNED, None)
        )

    def statement(self, named: Named | None) -> TextualSelect:
        """The statement that sets the tenant and calls the function; without one it leaves the context alone."""
        if named is None:
            return self._without
        return self._signed if isinstance(named, SignedTenant) else self._plain

    def values(self, named: Named | None, **values: object) -> dict[str, object]:
        """The binds: what is not given is NULL, the function's default."""
        filled: dict[str, object] = dict.fromkeys(self.arguments) | {n: plain(value) for n, value in values.items()}
        return filled if named is None else filled | tenant.binds(named)


CANCEL_JOBS_OF = Call("cancel_jobs_of", {"subject": "text", "notify": "bool"}, (column("r", Integer()),))
CANCEL_JOB = Call("cancel_job", {"job_id": "uuid", "notify": "bool"}, _JOB)
RETRY_JOB = Call("retry_job", {"job_id": "uuid", "notify": "bool"}, _JOB)
REPLAY_JOB = Call("replay_job", {"job_id": "uuid", "if_gone": "json", "notify": "bool"}, _JOB)
RESCHEDULE_JOB = Call(
    "reschedule_job", {"job_id": "uuid", "run_at": "timestamptz", "delay": "interval", "notify": "bool"}, _JOB
)
GET_JOB = Call("get_job", {"job_id": "uuid"}, _JOB)
WHY_JOB = Call(
    "why_job", {"job_id": "uuid"}, (column("code", Text()), column("says", Text()), column("detail", Text()))
)
IMPACT_OF_JOB = Call(
    "impact_of_job",
    {"job_id": "uuid", "limit": "int4", "depth": "int4"},
    (
        column("job_id", Uuid()),
        column("depth", Integer()),
        column("parent_id", Uuid()),
        *(column(name, Text()) for name in ("cause", "tenant_id", "queue", "type", "subject", "trace", "state")),
        *(column(name, Integer()) for name in ("run", "attempt", "max_attempts", "crashes")),
        *(column(name, DateTime(timezone=True)) for name in ("created_at", "finished_at")),
        *(column(name, Text()) for name in ("outcome", "error_type")),
        column("cut", Boolean()),
    ),
)
AWAIT_JOB = Call("await_job", {"job_id": "uuid", "for": "interval"}, _JOB)
# for each statement that follows in the transaction; a tighter limit of the login's own stays
LIMIT = text(
    "select pg_catalog.set_config('statement_timeout', cast(:limit as pg_catalog.text), true) "
    "where cast(pg_catalog.current_setting('statement_timeout') as pg_catalog.interval) not between "
    "cast('1 ms' as pg_catalog.interval) and cast(cast(:limit as pg_catalog.text) as pg_catalog.interval)"
)
# a look at ten million jobs goes by an index, whatever the planner takes the tables for; until the transaction ends
BY_INDEX = text("select pg_catalog.set_config('enable_seqscan', 'off', true)")
LAST_ERROR = text(
    "select cast(a.error as pg_catalog.text) from jobforge.all_attempts a "
    "where a.job_id = cast(cast(:job_id as pg_catalog.text) as pg_catalog.uuid) order by a.run desc limit 1"
)
LIST_JOBS = Call(
    "list_jobs",
    {
        "state": "text",
        "type": "text",
        "queue": "text",
        "since": "timestamptz",
        "until": "timestamptz",
        "limit": "int4",
        "cursor": "uuid",
    },
    _JOB,
)
JOB_STATS = Call(
    "job_stats",
    {"since": "timestamptz", "type": "text", "queue": "text", "limit": "int4"},
    (
        column("type", Text()),
        column("queue", Text()),
        *(column(name, BigInteger()) for name in ("succeeded", "failed", "lost", "dead", "canceled")),
        *(column(name, Double()) for name in ("run_p50", "run_p95", "run_max", "wait_p50", "wait_p95")),
        column("looked_at", BigInteger()),
        column("back_to", DateTime(timezone=True)),
    ),
)
FITS: Final = "select revision, serves from jobforge.schema_version()"
# beside it: does the database look at tokens, do policies bind this login, who is it, which process of the server's
SCHEMA_VERSION = text(
    "select revision, serves, tenancy, row_security_active('jobforge.jobs'), current_user, pg_backend_pid() "
    "from jobforge.schema_version()"
)

ACT_FOR = text("select jobforge.act_for(cast(:tenant_id as pg_catalog.text))")

# an administrator's, without a tenant of the transaction's own
COUNT_TENANT = Call("count_tenant", {"tenant_id": "text"}, (column("relation", Text()), column("rows", BigInteger())))
EXPORT_TENANT = Call(
    "export_tenant",
    {"tenant_id": "text", "cursor": "uuid", "limit": "int4"},
    (column("job_id", Uuid()), column("record", Text())),
)
PURGE_TENANT = Call("purge_tenant", {"tenant_id": "text", "limit": "int4"}, (column("r", Integer()),))
LIST_QUEUES = Call(
    "list_queues",
    {"count": "int4"},
    (
        column("queue", Text()),
        column("queued", BigInteger()),
        column("oldest", DateTime(timezone=True)),
        column("suspects", BigInteger()),
        column("scheduled", BigInteger()),
        column("next_due", DateTime(timezone=True)),
        column("running", BigInteger()),
        column("workers", BigInteger()),
        column("paused_at", DateTime(timezone=True)),
        column("max_running", Integer()),
    ),
)
LIST_WORKERS = Call(
    "list_workers",
    {},
    (
        column("worker_id", Uuid()),
        column("name", Text()),
        column("started_at", DateTime(timezone=True)),
        column("alive_until", DateTime(timezone=True)),
        column("queues", ARRAY(Text())),
        column("types", ARRAY(Text())),
        column("running", BigInteger()),
    ),
)
_KEPT = (column("kind", Text()), column("type", Text()), column("keep", INTERVAL()), column("newest", Integer()))
LIST_RETENTION = Call("list_retention", {}, _KEPT)
SET_RETENTION = Call("set_retention", {"kind": "text", "keep": "interval", "type": "text", "newest": "int4"}, _KEPT)
DROP_RETENTION = Call("drop_retention", {"kind": "text", "type": "text"}, _KEPT)
PRUNE = Call(
    "prune",
    {"limit": "int4", "anew": "bool"},
    (column("kind", Text()), column("pruned", Integer()), column("more", Boolean())),
)

# the owner's
TENANCY = text("select s.tenancy from jobforge.settings s")
TENANT_KEYS = text(
    "select k.key_id, k.created_at, k.retired_at from jobforge.tenant_keys k order by k.created_at desc, k.key_id"
)
ADD_TENANT_KEY = text("select jobforge.add_tenant_key(cast(:key_id as text), :secret)").bindparams(
    bindparam("secret", type_=LargeBinary())
)
# handlers hold the token that their claim gave them, of the key that was the newest then; before there was one, none
LEASES_BEFORE_KEYS = text(
    "select count(*) from jobforge.leases l where l.claimed_at < "
    "(select min(k.created_at) from jobforge.tenant_keys k where k.retired_at is null)"
)
LEASES_BEFORE_KEY = text(
    "select count(*) from jobforge.leases l where l.claimed_at < (select max(k.created_at) from jobforge.tenant_keys k "
    "where k.retired_at is null and k.key_id <> :key_id)"
)
RETIRE_TENANT_KEY = text(
    "select jobforge.retire_tenant_key(cast(:key_id as text), cast(:at as timestamptz))"
).bindparams(bindparam("at", type_=DateTime(timezone=True)))
USE_TENANCY = text("select jobforge.use_tenancy(cast(:tenancy as text))")

# a handler's session, in the handler's own transaction
COMPLETE_IN_SESSION = text(
    "select answer, reason, jobforge.current_tenant() from jobforge.complete_jobs(cast(:results as pg_catalog.json))"
)
HOLD_LEASE = text(
    "select held, jobforge.current_tenant() "
    "from jobforge.heartbeat_job(cast(cast(:job_id as pg_catalog.text) as pg_catalog.uuid), "
    "cast(cast(:lease_token as pg_catalog.text) as pg_catalog.uuid))"
)

# the worker's, through psycopg. The commit of a claim need not wait for the disk: a claim that a crash forgets is a
# job still queued. Set in the statement, because inside the function it would leak into a caller's commit.
_CLAIM: Final = """
with hurry as materialized (select set_config('synchronous_commit', 'off', true) as done)
select j.job_id, j.tenant_id, j.queue, j.type, j.priority, j.payload, j.run, j.attempt, j.max_attempts, j.crashes,
       j.lease_token, j.claimed_at, j.deadline, j.timeout, j.run_at, j.created_at, j.idempotency_key, j.parent_id,
       j.trace, j.tenant_token
  from hurry h, lateral jobforge.{}) j
 where h.done is not null"""
CLAIM_JOBS: Final = _CLAIM.format(
    "claim_jobs(%(worker_id)s, %(queues)s::text[], %(types)s::text[], %(limit)s, %(queue_limits)s::integer[], "
    "%(cursors)s::text[], %(alive)s::interval, %(alone)s"
)
CLAIM_SUSPECT: Final = _CLAIM.format(
    "claim_suspect(%(worker_id)s, %(queues)s::text[], %(types)s::text[], %(alive)s::interval"
)
HAS_SUSPECT: Final = "select jobforge.has_suspect(%(queues)s::text[], %(types)s::text[])"
# a lease that somebody holds in a transaction that he keeps open must not keep all others' ends waiting
COMPLETE_JOBS: Final = """
with patience as materialized (select set_config('lock_timeout', '500ms', true) as is)
select count(*) filter (where j.answer = 'done'),
       coalesce(json_agg(json_build_array(j.item, j.answer, j.reason)) filter (where j.answer <> 'done'), '[]')
  from patience p, lateral jobforge.complete_jobs(%(results)s::json) j
 where p.is is not null"""
HEARTBEAT_JOBS: Final = """
select signal, job_id, lease_token from jobforge.heartbeat_jobs(
       %(worker_id)s, %(runs)s::uuid[], %(alive)s::interval, %(name)s, %(queues)s::text[], %(types)s::text[],
       %(connections)s)"""
UPKEEP: Final = "select step, moved, jobs from jobforge.upkeep(%(worker_id)s, p_prune => false)"
# a table that somebody has locked (VACUUM FULL) must not keep the next rescue waiting; what a crash forgets to delete
# is deleted again, so nobody waits for the disk
PRUNE_STEP: Final = """
with patience as materialized (
    select set_config('lock_timeout', '500ms', true), set_config('synchronous_commit', 'off', true) as is)
select sum(r.pruned) from patience p, lateral jobforge.prune() r where p.is is not null"""
# one server, as long as it runs, and one database of it
_WHERE: Final = """(select concat(pg_postmaster_start_time(), '/', d.oid)
                     from pg_database d where d.datname = current_database())"""
MAY_WORK: Final = f"""
select has_function_privilege(to_regproc('jobforge.claim_jobs')::oid, 'execute'), current_user, {_WHERE}"""
SESSIONS = text(f"""
select {_WHERE}, has_function_privilege(to_regproc('jobforge.enqueue_job')::oid, 'execute')
       and has_function_privilege(to_regproc('jobforge.complete_job')::oid, 'execute'), current_user""")
LISTEN: Final = "listen jobforge"
DOZE: Final = "select jobforge.doze(%(queues)s::text[], %(asleep)s)"
LISTEN_DONE: Final = "listen jobforge_done"
PIN_PATH: Final = "select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false)"
HOW_IT_STANDS: Final = """
select current_setting('default_transaction_isolation'), pg_backend_pid(), current_setting('idle_session_timeout')"""

# a rehearsal: a handler in a transaction that nobody can commit, whatever the handler does
READ_ONLY = text("set session default_transaction_read_only = on")  # any transaction that would come behind it
READ_WRITE = text("set transaction read write")  # this one
# A cursor that outlives its transaction is run when that commits, and this one fails then. Who prepares the transaction
# is refused by Postgres for the cursor's sake. It needs no right; the planner evaluates no random number before.
NEVER_COMMIT = text(
    "declare jobforge_dry_run no scroll cursor with hold for select "
    "cast(pg_catalog.concat('a dry run is never committed: ', pg_catalog.random()) as pg_catalog.int4)"
)
CHECK_CONSTRAINTS = text("set constraints all immediate")
ENQUEUED_BY = text("""
select j.type, coalesce(j.idempotency_key, j.unique_key) is not null as keyed from jobforge.jobs j
 where j.parent_id = cast(cast(:job_id as pg_catalog.text) as pg_catalog.uuid) and j.cause = 'handler'
   and j.tenant_id = cast(:tenant_id as pg_catalog.text)
   and j.created_at >= coalesce((select max(a.claimed_at) from jobforge.attempts a where a.job_id = j.parent_id),
                                '-infinity')  -- by its last run, and not what an earlier one has committed
 order by j.id limit 10000""")
TENANT_OF = text(
    "select j.tenant_id from jobforge.jobs j where j.id = cast(cast(:job_id as pg_catalog.text) as pg_catalog.uuid)"
)
# one database of one cluster, however often that is restarted; a copy of the data directory has it too, a dump has not
IDENTITY = text("""
select pg_catalog.concat(s.system_identifier, '/', d.oid)
  from pg_catalog.pg_control_system() s, pg_catalog.pg_database d
 where d.datname operator(pg_catalog.=) pg_catalog.current_database()""")
