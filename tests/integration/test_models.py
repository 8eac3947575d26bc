"""The mapped classes: reading under the policies of who asks, and never writing."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from dataclasses import fields

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, selectinload

from jobforge_sa import bind_tenant
from jobforge_sa.errors import ReadOnly
from jobforge_sa.models import Attempt, Base, Job, Result
from jobforge_sa.types import JobInfo, JobState
from tests.support import Sql


@pytest.fixture(params=["psycopg", "psycopg2"])
def session(request: pytest.FixtureRequest, sql: Sql) -> Iterator[Session]:
    """A session of the tenant "a"; psycopg2 decodes JSON in its own way."""
    engine = sa.create_engine(sql.database.url("jf_app").set(drivername=f"postgresql+{request.param}"))
    with Session(engine) as session:
        bind_tenant(session, "a")
        yield session
    engine.dispose()


def one_of_each_state(sql: Sql, tenant: str) -> dict[str, uuid.UUID]:
    jobs = {}
    for outcome, state in (("succeeded", "succeeded"), ("failed", "dead"), ("canceled", "canceled"), (None, "running")):
        jobs[state] = sql.enqueue(tenant, type_=f"{tenant}.{state}")
        run = sql.claim_one(types=[f"{tenant}.{state}"])
        if outcome:
            sql.complete(run, outcome, final=True, result={"n": 1}, error={"type": "X", "message": "m"})
    jobs["queued"] = sql.enqueue(tenant)
    jobs["scheduled"] = sql.enqueue(tenant, delay=dt.timedelta(hours=1))
    return jobs


def retried(sql: Sql) -> uuid.UUID:
    """A job of two runs: one failed, one good."""
    job = sql.enqueue(payload={"x": 1}, timeout=dt.timedelta(minutes=1), retry={"base": 1}, trace={"t": "1"})
    sql.complete(sql.claim_one(), "failed", delay=0, error={"type": "X", "message": "m"}, run_ms=5)
    sql.complete(sql.claim_one(), result={"sum": [1, None]})
    return job


def test_jobs_are_selected_by_their_state(session: Session, sql: Sql) -> None:
    mine, _ = one_of_each_state(sql, "a"), one_of_each_state(sql, "b")

    for state in JobState:
        found = session.scalars(sa.select(Job).where(Job.state == state)).all()
        assert [job.id for job in found] == [mine[state]]
    ended = sa.select(Job.id).where(Job.state.in_(["dead", "canceled"])).order_by(Job.finished_at)
    assert session.scalars(ended).all() == [mine["dead"], mine["canceled"]]
    counted = sa.select(Job.state, sa.func.count()).group_by(Job.state)
    rows = session.execute(counted).all()
    assert sorted(tuple(row) for row in rows) == sorted((str(state), 1) for state in JobState)


def test_a_job_carries_what_was_asked_how_it_stands_and_its_result(session: Session, sql: Sql) -> None:
    job = session.get_one(Job, retried(sql))

    assert (job.tenant_id, job.queue, job.type, job.priority, job.payload) == ("a", "default", "t", 0, {"x": 1})
    assert (job.timeout, job.retry, job.trace) == (dt.timedelta(minutes=1), {"base": 1}, {"t": "1"})
    assert (job.state, job.run, job.attempt, job.crashes) == (JobState.SUCCEEDED, 2, 2, 0)
    assert job.result is not None
    assert job.result.value == {"sum": [1, None]}
    assert job.result.job is job
    assert job.finished_at is not None
    assert job.finished_at >= job.created_at
    assert (job.worker_id, job.deadline, job.due_at) == (None, None, None)


def test_jobs_are_selected_by_what_their_payload_and_result_say(session: Session, sql: Sql) -> None:
    id_ = retried(sql)
    sql.enqueue(payload={"x": 2})

    for condition in (Job.payload["x"].as_integer() == 1, Job.result.has(Result.value["sum"][0].as_integer() == 1)):
        assert session.scalars(sa.select(Job.id).where(condition)).all() == [id_]


def test_a_payload_that_python_cannot_decode_spoils_no_other_row(session: Session, sql: Sql) -> None:
    digits = "9" * 5000
    sql("enqueue_job", tenant="a", type="t", payload=f'{{"n": {digits}}}')
    sql.enqueue(payload={"x": 1})
    payloads = [job.payload for job in session.scalars(sa.select(Job).order_by(Job.id))]

    assert payloads == [f'{{"n": {digits}}}', {"x": 1}]


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_an_async_session_reads_the_same(sql: Sql, driver: str) -> None:
    id_ = retried(sql)
    digits = "9" * 5000
    sql("enqueue_job", tenant="a", type="t", payload=f'{{"n": {digits}}}')

    async def read() -> tuple[Job, Job]:
        engine = create_async_engine(sql.database.url("jf_app").set(drivername=f"postgresql+{driver}"))
        async with AsyncSession(engine) as session:
            bind_tenant(session, "a")
            query = sa.select(Job).options(selectinload(Job.attempts), selectinload(Job.result)).order_by(Job.id)
            jobs = (await session.scalars(query)).all()
        await engine.dispose()
        return jobs[0], jobs[1]

    job, other = asyncio.run(read())
    assert (job.id, job.payload, job.trace) == (id_, {"x": 1}, {"t": "1"})
    assert job.result is not None
    assert (job.result.value, other.result) == ({"sum": [1, None]}, None)
    assert (job.timeout, job.retry) == (dt.timedelta(minutes=1), {"base": 1})
    assert [attempt.error for attempt in job.attempts] == [{"type": "X", "message": "m"}, None]
    payloads: list[object] = [other.payload]
    assert payloads == [f'{{"n": {digits}}}']


def test_a_job_knows_its_attempts_in_order_and_an_attempt_its_job(session: Session, sql: Sql) -> None:
    id_ = retried(sql)
    job = session.scalars(sa.select(Job).options(selectinload(Job.attempts)).where(Job.id == id_)).one()

    assert [(a.run, a.attempt, a.outcome, a.run_ms) for a in job.attempts] == [
        (1, 1, "failed", 5),
        (2, 2, "succeeded", None),
    ]
    assert job.attempts[0].error == {"type": "X", "message": "m"}
    assert all(attempt.job is job for attempt in job.attempts)
    failed = sa.select(Attempt).join(Attempt.job).where(Job.state == "succeeded", Attempt.outcome == "failed")
    assert session.scalars(failed).one().job.id == id_


def test_a_session_sees_its_tenants_jobs_and_attempts_alone_and_without_one_none(session: Session, sql: Sql) -> None:
    mine, theirs = one_of_each_state(sql, "a"), one_of_each_state(sql, "b")

    assert set(session.scalars(sa.select(Job.id))) == set(mine.values())
    assert {attempt.tenant_id for attempt in session.scalars(sa.select(Attempt))} == {"a"}
    assert {(result.tenant_id, result.job_id) for result in session.scalars(sa.select(Result))} == {
        ("a", mine["succeeded"])
    }
    assert session.get(Job, theirs["dead"]) is None
    session.commit()
    assert len(session.scalars(sa.select(Job)).all()) == 6
    with Session(sql.database.engine("jf_app")) as unbound:
        assert unbound.scalars(sa.select(Job)).all() == []
        assert unbound.scalars(sa.select(Attempt)).all() == []
        assert unbound.scalars(sa.select(Result)).all() == []
    with Session(sql.database.engine("jf_admin")) as admin:
        assert len(admin.scalars(sa.select(Job)).all()) == 12


def writes(session: Session, job: uuid.UUID) -> list[Callable[[], object]]:
    def change() -> None:
        session.get_one(Job, job).priority = 5

    def change_attempt() -> None:
        session.scalars(sa.select(Attempt).where(Attempt.job_id == job)).all()[0].outcome = "lost"

    return [
        lambda: session.add(Job(id=uuid.uuid4(), type="t")),
        lambda: session.add(Attempt(job_id=job, run=9)),
        lambda: session.add(Result(job_id=job, value=9)),
        change,
        change_attempt,
        lambda: session.delete(session.get_one(Job, job)),
        lambda: session.merge(Job(id=job, priority=7)),
    ]


@pytest.mark.parametrize(
    "n", range(7), ids=["insert", "insert attempt", "insert result", "update", "update attempt", "delete", "merge"]
)
@pytest.mark.parametrize("user", ["jf_app", "postgres"])
def test_a_write_through_the_session_is_refused_with_the_way_that_works(sql: Sql, user: str, n: int) -> None:
    job = retried(sql)
    before = (sql.job(job), sql.attempts(job))
    with Session(sql.database.engine(user)) as session:
        bind_tenant(session, "a")
        writes(session, job)[n]()
        with pytest.raises(ReadOnly, match=r"cure: use Jobs\(session\)"):
            session.flush()

    assert (sql.job(job), sql.attempts(job)) == before


@pytest.mark.parametrize(
    "statement",
    [
        sa.update(Job).values(priority=1),
        sa.delete(Job),
        sa.insert(Job).values(id=uuid.uuid4()),
        sa.update(Attempt).values(outcome="lost"),
        sa.delete(Attempt),
        sa.update(Result).values(value=1),
        sa.delete(Result),
    ],
    ids=str,
)
def test_a_write_in_bulk_is_refused_by_the_database(session: Session, sql: Sql, statement: sa.Executable) -> None:
    job = retried(sql)
    with pytest.raises((ReadOnly, sa.exc.DBAPIError)):
        session.execute(statement)
    session.rollback()

    assert len(sql.attempts(job)) == 2
    assert sql.state(job) == "succeeded"


def test_the_mapped_classes_make_no_tables_and_drop_none(sql: Sql) -> None:
    engine = sql.database.engine()
    job = retried(sql)
    with pytest.raises(ReadOnly, match="jobforge migrate"):
        Base.metadata.create_all(engine)
    with pytest.raises(ReadOnly, match="jobforge migrate"):
        Base.metadata.drop_all(engine)

    assert len(sql.attempts(job)) == 2


@pytest.mark.parametrize("model", [Job, Attempt, Result])
def test_a_class_has_exactly_the_columns_of_its_view(shared: Sql, model: type[Base]) -> None:
    rows = shared.look(
        "select attname as name, format_type(atttypid, null) as type from pg_attribute "
        "where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
        f"jobforge.{model.__tablename__}",
    )
    mapped = sa.inspect(model).local_table.columns
    left = {"result"} if model is Job else set()  # a relationship, so that a list of jobs drags no results along
    rows = [row for row in rows if row["name"] not in left]
    assert [column.name for column in mapped] == [row["name"] for row in rows]
    dialect = shared.database.engine().dialect
    names = {"timestamp with time zone": "TIMESTAMP WITH TIME ZONE"}
    for row in rows:
        wanted = names.get(row["type"], row["type"].upper())
        assert mapped[row["name"]].type.compile(dialect) == wanted, row


def test_jobinfo_has_the_columns_of_the_view_too() -> None:
    assert [field.name for field in fields(JobInfo)] == [*Job.__table__.columns.keys(), "result"]
