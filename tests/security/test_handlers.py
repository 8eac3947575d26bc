"""Handlers act as their job's tenant: on the application's own tables, in what they enqueue, on pooled connections.

The worker logs in as one role and the handlers' sessions as another, which has a table of its own under a policy of
its own: what an application in production should look like.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from jobforge_sa import AsyncContext, AsyncJobs, Context, JobForge, Jobs, TenantKey, Worker, seal
from jobforge_sa.errors import TenantConflict
from jobforge_sa.tasks import Task
from tests.fix_postgres import Database

TENANT = "(select jobforge.current_tenant())"
SCHEMA = (
    "create table ledger (id serial primary key, tenant_id text not null, n int not null, pid int not null)",
    "alter table ledger enable row level security",
    "alter table ledger force row level security",
    f"create policy tenant on ledger using (tenant_id = {TENANT}) with check (tenant_id = {TENANT})",
    "grant select, insert, update, delete on ledger to jf_app",
    "grant usage on sequence ledger_id_seq to jf_app",
)
WRITE = sa.text("insert into ledger (tenant_id, n, pid) values (:tenant, :n, pg_backend_pid())")
READ = sa.text("select distinct tenant_id from ledger")
ASK = sa.text("select coalesce(jobforge.current_tenant(), '')")
LEFT = sa.text("select coalesce(current_setting('jobforge.tenant_id', true), '')")


class Number(BaseModel):
    n: int


class Shop:
    """An application whose worker, whose handlers and whose tables have three different owners."""

    def __init__(self, database: Database, tenancy: str) -> None:
        self.database = database
        self.admin = database.engine()
        self.key = TenantKey.generate("k1") if tenancy == "signed" else None
        with self.admin.begin() as connection:
            for statement in SCHEMA:
                connection.exec_driver_sql(statement)
            if self.key is not None:
                connection.execute(sa.text("set local role jobforge_owner"))
                signed = "select jobforge.add_tenant_key(:id, :secret), jobforge.use_tenancy('signed')"
                connection.execute(sa.text(signed), {"id": self.key.id, "secret": self.key.secret})
        self.app = database.engine("jf_app", pool_size=1, max_overflow=0)
        if tenancy == "signed":
            seal(self.app)
        self.forge = JobForge()
        self.seen: list[Any] = []

    @contextmanager
    def working(self, **options: Any) -> Iterator[Worker]:
        given: dict[str, Any] = {"session_engine": self.app, "poll": dt.timedelta(milliseconds=100)}
        with Worker(self.database.engine("jf_worker"), self.forge, **given | options) as worker:
            yield worker

    def run(self, **options: Any) -> Counter[str]:
        """Work until nothing is left to do; give how the runs ended."""
        with self.working(**options) as worker:
            assert worker.drain(30)
        return worker.outcomes

    def enqueue(self, tenant: str, task: Task[Any, Any], n: int = 1) -> Any:
        with Session(self.app) as session, session.begin():
            proved = tenant if self.key is None else self.key.tenant(tenant)
            return Jobs(session, tenant=proved).enqueue(task, Number(n=n)).id

    def look(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        with self.admin.connect() as connection:
            if "jobforge.all_" in query:
                connection.execute(sa.text("set local role jobforge_admin"))
            return [tuple(row) for row in connection.execute(sa.text(query), values)]

    def ledger(self) -> list[tuple[Any, ...]]:
        return self.look("select tenant_id, n from ledger order by tenant_id, n")


@pytest.fixture(params=["plain", "signed"])
def shop(database: Database, request: pytest.FixtureRequest) -> Shop:
    return Shop(database, request.param)


# --- handlers, each as a plain function and as a coroutine: given the shop, a task ----------------------------


def plain_write(shop: Shop) -> Task[Any, Any]:
    @shop.forge.task("write", max_attempts=1)
    def write(ctx: Context, payload: Number) -> None:
        shop.seen.append((ctx.job.tenant_id, ctx.session.scalar(ASK), set(ctx.session.scalars(READ))))
        ctx.session.execute(WRITE, {"tenant": ctx.job.tenant_id, "n": payload.n})

    return write


def async_write(shop: Shop) -> Task[Any, Any]:
    @shop.forge.task("write", max_attempts=1)
    async def write(ctx: AsyncContext, payload: Number) -> None:
        asked = await ctx.session.scalar(ASK)
        shop.seen.append((ctx.job.tenant_id, asked, set(await ctx.session.scalars(READ))))
        await ctx.session.execute(WRITE, {"tenant": ctx.job.tenant_id, "n": payload.n})

    return write


def plain_trespass(shop: Shop) -> Task[Any, Any]:
    @shop.forge.task("trespass", max_attempts=1)
    def trespass(ctx: Context, payload: Number) -> None:
        ctx.session.execute(WRITE, {"tenant": ctx.job.tenant_id, "n": 0})
        ctx.session.execute(WRITE, {"tenant": "b" if ctx.job.tenant_id == "a" else "a", "n": payload.n})

    return trespass


def async_trespass(shop: Shop) -> Task[Any, Any]:
    @shop.forge.task("trespass", max_attempts=1)
    async def trespass(ctx: AsyncContext, payload: Number) -> None:
        await ctx.session.execute(WRITE, {"tenant": ctx.job.tenant_id, "n": 0})
        await ctx.session.execute(WRITE, {"tenant": "b" if ctx.job.tenant_id == "a" else "a", "n": payload.n})

    return trespass


def plain_parent(shop: Shop, child: Task[Any, Any]) -> Task[Any, Any]:
    @shop.forge.task("parent")
    def parent(ctx: Context, payload: Number) -> None:
        with pytest.raises(TenantConflict, match="bound to the tenant 'a', not 'b'"):
            Jobs(ctx.session, tenant="b")
        Jobs(ctx.session).enqueue(child, Number(n=1))
        Jobs(ctx.session).enqueue_many([child.new(Number(n=2)), child.new(Number(n=3))])

    return parent


def async_parent(shop: Shop, child: Task[Any, Any]) -> Task[Any, Any]:
    @shop.forge.task("parent")
    async def parent(ctx: AsyncContext, payload: Number) -> None:
        with pytest.raises(TenantConflict, match="bound to the tenant 'a', not 'b'"):
            await AsyncJobs(ctx.session, tenant="b").enqueue(child, Number(n=1))
        await AsyncJobs(ctx.session).enqueue(child, Number(n=1))
        await AsyncJobs(ctx.session).enqueue_many([child.new(Number(n=2)), child.new(Number(n=3))])

    return parent


def plain_steps(shop: Shop) -> Task[Any, Any]:
    @shop.forge.task("steps", max_attempts=1)
    def steps(ctx: Context, payload: Number) -> None:
        session, tenant = ctx.session, ctx.job.tenant_id
        session.execute(WRITE, {"tenant": tenant, "n": 1})
        session.commit()
        session.execute(WRITE, {"tenant": tenant, "n": 2})
        session.rollback()
        session.execute(WRITE, {"tenant": tenant, "n": 3})
        with pytest.raises(sa.exc.ProgrammingError), session.begin_nested():
            session.execute(WRITE, {"tenant": f"not {tenant}", "n": 4})
        shop.seen.append((tenant, session.scalar(ASK), set(session.scalars(READ))))

    return steps


def async_steps(shop: Shop) -> Task[Any, Any]:
    @shop.forge.task("steps", max_attempts=1)
    async def steps(ctx: AsyncContext, payload: Number) -> None:
        session, tenant = ctx.session, ctx.job.tenant_id
        await session.execute(WRITE, {"tenant": tenant, "n": 1})
        await session.commit()
        await session.execute(WRITE, {"tenant": tenant, "n": 2})
        await session.rollback()
        await session.execute(WRITE, {"tenant": tenant, "n": 3})
        with pytest.raises(sa.exc.ProgrammingError):
            async with session.begin_nested():
                await session.execute(WRITE, {"tenant": f"not {tenant}", "n": 4})
        shop.seen.append((tenant, await session.scalar(ASK), set(await session.scalars(READ))))

    return steps


Makes = Callable[..., Task[Any, Any]]
both = pytest.mark.parametrize


# --- the application's own table -----------------------------------------------------------------------------


@both("make", [plain_write, async_write])
def test_a_handler_reads_and_writes_the_rows_of_its_jobs_tenant_alone(shop: Shop, make: Makes) -> None:
    write = make(shop)
    with shop.admin.begin() as connection:
        for tenant in "abc":
            connection.execute(WRITE, {"tenant": tenant, "n": 0})
    for tenant in "ab":
        shop.enqueue(tenant, write, n=1)

    assert shop.run() == {"succeeded": 2}
    assert sorted(shop.seen) == [("a", "a", {"a"}), ("b", "b", {"b"})]
    assert shop.ledger() == [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 0)]


@both(("make", "trespass"), [(plain_write, plain_trespass), (async_write, async_trespass)])
def test_a_row_for_another_tenant_is_refused_and_that_job_alone_fails(shop: Shop, make: Makes, trespass: Makes) -> None:
    write, bad = make(shop), trespass(shop)
    for n in range(4):
        shop.enqueue("a", write, n)
        shop.enqueue("b", write, n)
    culprit = shop.enqueue("a", bad, n=99)

    assert shop.run() == {"succeeded": 8, "failed": 1}
    assert shop.ledger() == [(tenant, n) for tenant in "ab" for n in range(4)]
    ((tenant, message),) = shop.look(
        "select tenant_id, error ->> 'message' from jobforge.attempts where job_id = :id", id=culprit
    )
    assert tenant == "a"
    assert "row-level security policy" in message
    assert shop.look("select state from jobforge.all_jobs where id = :id", id=culprit) == [("dead",)]


@both("make", [plain_steps, async_steps])
def test_a_handler_that_commits_in_steps_keeps_its_tenant_in_each(shop: Shop, make: Makes) -> None:
    steps = make(shop)
    for tenant in "ab":
        shop.enqueue(tenant, steps)

    assert shop.run() == {"succeeded": 2}
    assert sorted(shop.seen) == [("a", "a", {"a"}), ("b", "b", {"b"})]
    assert shop.ledger() == [("a", 1), ("a", 3), ("b", 1), ("b", 3)]


@pytest.mark.filterwarnings("ignore::jobforge_sa.errors.PoolNotSealedWarning")
def test_a_session_that_the_handler_opens_itself_has_no_tenant(shop: Shop) -> None:
    shop.app = shop.database.engine("jf_app", pool_size=2)

    @shop.forge.task()
    def look(ctx: Context, payload: Number) -> None:
        ctx.session.execute(WRITE, {"tenant": "a", "n": 1})
        ctx.session.commit()
        shop.seen.append(ctx.session.scalar(ASK))
        with Session(shop.app) as own:
            shop.seen.append((own.scalar(ASK), list(own.scalars(READ))))

    shop.enqueue("a", look)
    assert shop.run() == {"succeeded": 1}
    assert shop.seen == ["a", ("", [])]


@both("commits", [False, True])
def test_a_handler_that_names_another_tenant_by_sql_commits_nothing(shop: Shop, commits: bool) -> None:
    """The setting is no secret; but neither a completion nor a step holds under another tenant than the job's."""

    @shop.forge.task(max_attempts=1)
    def switch(ctx: Context, payload: Number) -> None:
        ctx.session.execute(WRITE, {"tenant": "a", "n": 1})
        ctx.session.execute(sa.text("select set_config('jobforge.tenant_id', 'b', true)"))
        ctx.session.execute(WRITE, {"tenant": "b", "n": 2})
        if commits:
            ctx.session.commit()

    shop.enqueue("a", switch)
    assert shop.run() == {"failed": 1}
    assert shop.ledger() == []


def test_a_commit_beneath_the_session_is_called_one_and_not_a_change_of_tenant(shop: Shop) -> None:
    @shop.forge.task(max_attempts=1)
    def commit(ctx: Context, payload: Number) -> None:
        ctx.session.execute(WRITE, {"tenant": "a", "n": 1})
        ctx.session.execute(sa.text("commit"))

    shop.enqueue("a", commit)
    assert shop.run() == {"failed": 1}
    ((message,),) = shop.look("select error ->> 'message' from jobforge.all_attempts")
    assert "was ended beneath it" in message
    assert "ctx.session.commit() alone" in message
    assert shop.ledger() == [("a", 1)], "nobody can roll that back"


# --- what handlers enqueue -----------------------------------------------------------------------------------


@both(("make", "parent"), [(plain_write, plain_parent), (async_write, async_parent)])
def test_what_a_handler_enqueues_is_its_tenants_and_knows_its_parent(shop: Shop, make: Makes, parent: Makes) -> None:
    child = make(shop)
    job = shop.enqueue("a", parent(shop, child))

    assert shop.run() == {"succeeded": 4}
    children = shop.look("select tenant_id, parent_id, state from jobforge.all_jobs where type = 'write'")
    assert children == [("a", job, "succeeded")] * 3
    assert shop.ledger() == [("a", 1), ("a", 2), ("a", 3)]


def test_children_of_a_handler_that_fails_do_not_exist(shop: Shop) -> None:
    child = plain_write(shop)

    @shop.forge.task(max_attempts=1)
    def fails(ctx: Context, payload: Number) -> None:
        Jobs(ctx.session).enqueue(child, Number(n=1))
        raise ValueError("after the enqueue")

    shop.enqueue("a", fails)
    assert shop.run() == {"failed": 1}
    assert shop.look("select type from jobforge.jobs where type = 'write'") == []


# --- pooled connections --------------------------------------------------------------------------------------


def test_tenants_that_take_turns_on_one_connection_never_mix_and_leave_it_clean(shop: Shop) -> None:
    """Handlers that succeed, raise, commit in steps and trespass, of two tenants, through a pool of one connection."""

    @shop.forge.task(max_attempts=1)
    def one_of_many(ctx: Context, payload: Number) -> None:
        session, tenant = ctx.session, ctx.job.tenant_id
        before = (session.scalar(ASK), set(session.scalars(READ)) <= {tenant})
        session.execute(WRITE, {"tenant": tenant, "n": payload.n})
        if payload.n % 4 == 1:
            raise ValueError("rolled back")
        if payload.n % 4 == 2:
            session.commit()
        if payload.n % 4 == 3:
            session.execute(WRITE, {"tenant": "b" if tenant == "a" else "a", "n": payload.n})
        shop.seen.append((tenant, *before, session.scalar(ASK), set(session.scalars(READ)) == {tenant}))

    for n in range(60):
        for tenant in "ab":
            shop.enqueue(tenant, one_of_many, n)

    assert shop.run(concurrency=4) == {"succeeded": 60, "failed": 60}
    assert Counter(shop.seen) == {("a", "a", True, "a", True): 30, ("b", "b", True, "b", True): 30}
    kept = [n for n in range(60) if n % 4 in (0, 2)]
    assert shop.ledger() == [(tenant, n) for tenant in "ab" for n in kept]
    assert len(shop.look("select distinct pid from ledger")) == 1
    with shop.app.connect() as connection:
        assert shop.look("select distinct pid from ledger") == [
            (connection.scalar(sa.text("select pg_backend_pid()")),)
        ]
        assert (connection.scalar(LEFT), list(connection.scalars(READ))) == ("", [])


def test_tenants_never_mix_on_the_loop_either(shop: Shop) -> None:
    @shop.forge.task(max_attempts=1)
    async def one_of_many(ctx: AsyncContext, payload: Number) -> None:
        session, tenant = ctx.session, ctx.job.tenant_id
        await session.execute(WRITE, {"tenant": tenant, "n": payload.n})
        await asyncio.sleep(0)  # others' turn, in the middle of the transaction
        if payload.n % 2:
            raise ValueError("rolled back")
        await session.commit()
        await asyncio.sleep(0)
        shop.seen.append((tenant, await session.scalar(ASK), set(await session.scalars(READ))))

    for n in range(30):
        for tenant in "ab":
            shop.enqueue(tenant, one_of_many, n)

    assert shop.run(concurrency=4) == {"succeeded": 30, "failed": 30}
    assert all(asked == tenant and read == {tenant} for tenant, asked, read in shop.seen)
    assert shop.ledger() == [(tenant, n) for tenant in "ab" for n in range(0, 30, 2)]
    assert len(shop.look("select distinct pid from ledger")) <= 4


# --- where the sessions connect ------------------------------------------------------------------------------


def _name_it(raw: Any, _record: object) -> None:
    cursor = raw.cursor()
    cursor.execute("set application_name = 'shop'")
    cursor.close()
    raw.commit()


@pytest.mark.filterwarnings("ignore::jobforge_sa.errors.PoolNotSealedWarning")
@both("kind", ["plain", "async"])
@both("way", ["connect_args", "event"])
def test_a_handlers_session_connects_as_its_engine_was_told_to(shop: Shop, kind: str, way: str) -> None:
    """Such as a role: where what a connection does at its start is lost, handlers work with other rights."""
    arguments = {"options": "-c application_name=shop"} if way == "connect_args" else {}
    shop.app = shop.database.engine("jf_app", connect_args=arguments)
    if way == "event":
        sa.event.listen(shop.app, "connect", _name_it)
    beside = create_async_engine(shop.app.url, connect_args=arguments)
    if way == "event":
        sa.event.listen(beside.sync_engine, "connect", _name_it)
    ask = sa.text("show application_name")

    @shop.forge.task("plain")
    def plain(ctx: Context, payload: Number) -> None:
        shop.seen.append(ctx.session.scalar(ask))

    @shop.forge.task("async")
    async def asynchronous(ctx: AsyncContext, payload: Number) -> None:
        shop.seen.append(await ctx.session.scalar(ask))

    shop.enqueue("a", plain if kind == "plain" else asynchronous)
    assert shop.run(async_session_engine=beside) == {"succeeded": 1}
    assert shop.seen == ["shop"]


@both("after", ["", "b"])
@both("kind", ["plain", "async"])
def test_a_handler_that_leaves_its_tenant_commits_nothing_and_is_told_why(shop: Shop, kind: str, after: str) -> None:
    """In plain tenancy SQL can name any tenant; what does not name the job's own again is not committed."""
    become = sa.text("select set_config('jobforge.tenant_id', :tenant, true)")

    def leave(session: Session) -> None:
        session.execute(become, {"tenant": "b"})
        session.execute(WRITE, {"tenant": "b", "n": 7})
        session.execute(become, {"tenant": after})

    @shop.forge.task("plain", max_attempts=1)
    def plain(ctx: Context, payload: Number) -> None:
        leave(ctx.session)

    @shop.forge.task("async", max_attempts=1)
    async def asynchronous(ctx: AsyncContext, payload: Number) -> None:
        await ctx.session.run_sync(leave)

    shop.enqueue("a", plain if kind == "plain" else asynchronous)
    assert shop.run() == {"failed": 1}
    assert shop.ledger() == []
    ((error,),) = shop.look("select error ->> 'type' from jobforge.attempts")
    assert error == ("TenantConflict" if shop.key is None else "DatabaseError")  # signed, the policy refuses at once
