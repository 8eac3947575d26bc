"""Enqueues go to the driver past SQLAlchemy's results where nobody listens: all else is as with any other statement."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs
from jobforge_sa.errors import BY_SQLSTATE, InvalidJob
from tests.support import Sql

forge = JobForge(tenant="a")


@forge.task()
def plain(ctx: Context, payload: dict[str, Any]) -> None: ...


@forge.task(queue="mail", ordering_key=lambda payload: f"account:{payload['n'] % 2}")
def lined(ctx: Context, payload: dict[str, Any]) -> None: ...


@pytest.fixture(params=["psycopg", "psycopg2"])
def engine(request: pytest.FixtureRequest, sql: Sql) -> Iterator[sa.Engine]:
    url = sql.database.url("jf_app").set(drivername=f"postgresql+{request.param}")
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


def statements(engine: sa.Engine) -> list[str]:
    heard: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda _c, _cursor, text, *_: heard.append(text))
    return heard


def rows(sql: Sql) -> list[dict[str, Any]]:
    names = "type, payload, queue, idempotency_key, ordering_key, created_at > now() - interval '1 min' as young"
    return sql.look(f"select {names} from jobforge.jobs order by id")


def enqueue_all(connection: sa.Connection) -> list[bool]:
    jobs = Jobs(connection)
    said = [
        jobs.enqueue(plain, {"n": 0}),
        *(jobs.enqueue(plain, {"n": 1}, idempotency_key="k", delay=dt.timedelta(hours=n)) for n in range(2)),
        *jobs.enqueue_many(plain.new({"n": n}) for n in range(3)),
        *jobs.enqueue_many([lined.new({"n": 3}), plain.new({"n": 4}), lined.new({"n": 5}, idempotency_key="k")]),
    ]
    assert len({one.id for one in said}) == 8
    return [one.created for one in said]


def test_who_listens_hears_of_enqueues_and_gets_the_same(engine: sa.Engine, sql: Sql) -> None:
    with engine.begin() as connection:
        first = enqueue_all(connection)
    alone = rows(sql)
    sql.clean()
    heard = statements(engine)
    with engine.begin() as connection:
        assert enqueue_all(connection) == first
    assert rows(sql) == alone
    assert sum("jobforge.enqueue_" in text for text in heard) == 5


def test_the_first_statement_of_a_transaction_may_be_an_enqueue(engine: sa.Engine, sql: Sql) -> None:
    with engine.connect() as connection:
        Jobs(connection).enqueue(plain, {"n": 1})
        connection.rollback()
        Jobs(connection).enqueue(plain, {"n": 2})
        with connection.begin_nested() as savepoint:
            Jobs(connection).enqueue(plain, {"n": 3})
            savepoint.rollback()
        Jobs(connection).enqueue(plain, {"n": 4})
        connection.commit()
    assert [row["payload"]["n"] for row in rows(sql)] == [2, 4]


def test_a_refusal_is_ours_and_a_lost_connection_is_sqlalchemys(engine: sa.Engine, sql: Sql) -> None:
    with engine.connect() as connection:
        connection.execute(sa.text("select 1"))
        sql("limit_tenant", user="jf_admin", tenant_id="a", change={"max_waiting": 0})
        with pytest.raises(BY_SQLSTATE["JF007"]):
            Jobs(connection).enqueue(plain, {"n": 1})
        connection.rollback()
        pid = connection.scalar(sa.text("select pg_backend_pid()"))
        sql.session("postgres").execute("select pg_terminate_backend(%s, 5000)", [pid])
        with pytest.raises(sa.exc.DBAPIError) as caught:
            Jobs(connection).enqueue(plain, {"n": 1})
        assert caught.value.connection_invalidated
        assert connection.invalidated


def test_jobs_of_several_kinds_run_in_the_order_in_which_they_came(engine: sa.Engine, sql: Sql) -> None:
    with engine.begin() as connection:
        Jobs(connection).enqueue_many((plain if n % 3 else lined).new({"n": n}) for n in range(9))
    assert [row["payload"]["n"] for row in rows(sql)] == [*range(9)]


def test_lines_are_as_the_caller_has_them_over_several_statements(
    engine: sa.Engine, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobforge_sa.enqueue.bulk.CHUNK", 4)
    with Session(engine) as session:
        Jobs(session).enqueue_many(lined.new({"n": n}, idempotency_key=f"{9 - n}") for n in range(10))
        Jobs(session).add(lined, {"n": 10})
        Jobs(session).enqueue(lined, {"n": 12}, ordering_key="mine")
        Jobs(session).enqueue(lined, {"n": 14}, ordering_key=None)
        Jobs(session).enqueue(lined, {"n": 16}, ordering_key=lambda _: None)
        session.commit()
    lines: dict[str | None, list[int]] = {}
    for row in rows(sql):
        lines.setdefault(row["ordering_key"], []).append(row["payload"]["n"])
    assert lines == {"account:0": [0, 2, 4, 6, 8, 10], "account:1": [1, 3, 5, 7, 9], "mine": [12], None: [14, 16]}


@pytest.mark.parametrize("key", ["", "k" * 201, "\x00", 7])
def test_an_ordering_key_that_cannot_be_one_is_refused_at_its_line(engine: sa.Engine, key: Any) -> None:
    with engine.connect() as connection, pytest.raises(InvalidJob, match="ordering key"):
        Jobs(connection).enqueue(plain, {}, ordering_key=key)
    with engine.connect() as connection, pytest.raises(InvalidJob, match="ordering key"):
        Jobs(connection).enqueue_many([plain.new({}, ordering_key=lambda _: key)])


def test_a_function_that_gives_no_text_is_told_what_it_gave(engine: sa.Engine) -> None:
    with engine.connect() as connection, pytest.raises(InvalidJob, match="ordering key is of the type int: 7"):
        Jobs(connection).enqueue(plain, {}, ordering_key=lambda _: 7)  # type: ignore[arg-type,return-value]
