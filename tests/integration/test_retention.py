"""Retention, as an administrator says it in Python; and workers that prune by themselves."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Retention, Worker
from jobforge_sa.errors import AccessDenied, ConfigurationError, JobNotFound
from jobforge_sa.retention import Kept, Pruned
from tests.fix_postgres import Database
from tests.support import wait_for

NEVER = dt.timedelta(0)
DAY = dt.timedelta(days=1)

forge = JobForge(tenant="a")


@forge.task()
def greet(ctx: Context, payload: dict[str, str]) -> str:
    return f"Hello {payload.get('name')}"


def test_what_is_kept_is_listed_set_and_dropped(database: Database) -> None:
    with Session(database.engine("jf_admin")) as session, session.begin():
        retention = Retention(session)
        assert retention.list() == [
            Kept("canceled", None, 7 * DAY),
            Kept("dead", None, 90 * DAY),
            Kept("idempotency_key", None, 90 * DAY),
            Kept("result", None, None),
            Kept("succeeded", None, 7 * DAY),
        ]
        assert retention.set("result", DAY) == Kept("result", None, DAY)
        assert retention.set("succeeded", dt.timedelta(hours=1.5), type=greet).keep == dt.timedelta(hours=1.5)
        assert retention.set("dead", None, type="other") == Kept("dead", "other", None)
    with Session(database.engine("jf_admin")) as session, session.begin():
        kept = Retention(session).list()
        assert kept[-2:] == [Kept("succeeded", "greet", dt.timedelta(hours=1.5)), Kept("dead", "other", None)]
        assert Retention(session).drop("dead", "other")
        assert not Retention(session).drop("dead", "other")
        assert not Retention(session).drop("dead", greet)
        assert len(Retention(session).list()) == 6


@pytest.mark.parametrize(
    ("kind", "keep", "options", "words"),
    [
        ("queued", DAY, {}, "nothing is kept that is called 'queued'"),
        ("dead", -DAY, {}, "0 to 36,500 days, not for -1 day"),
        ("dead", DAY, {"type": "no type"}, "no job has the type"),
        ("dead", DAY, {"type": 5}, "type is a int"),
        ("dead", "1h", {}, "keep is a str"),
    ],
)
def test_what_cannot_work_is_refused_with_its_cure(
    database: Database, kind: str, keep: dt.timedelta, options: dict[str, Any], words: str
) -> None:
    with Session(database.engine("jf_admin")) as session, pytest.raises(ConfigurationError, match=words) as caught:
        Retention(session).set(kind, keep, **options)
    assert "cure:" in str(caught.value)


def test_a_batch_of_nothing_is_refused_and_so_is_who_may_not(database: Database) -> None:
    with Session(database.engine("jf_admin")) as session, pytest.raises(ConfigurationError, match="1 to 100,000"):
        Retention(session).prune(0)
    with Session(database.engine("jf_admin")) as session, pytest.raises(ConfigurationError, match="not 'all'"):
        Retention(session).prune("all")  # type: ignore[arg-type]
    with Session(database.engine("jf_app")) as session, pytest.raises(AccessDenied, match="jobforge_admin"):
        Retention(session).prune()
    with pytest.raises(ConfigurationError, match=r"(?s)Retention takes a Session.*run_sync"):
        Retention(AsyncSession())  # type: ignore[arg-type]


def test_what_is_pruned_is_counted(database: Database) -> None:
    engine = database.engine("jf_one")
    with Session(engine) as session, session.begin():
        Jobs(session).enqueue(greet, {"name": "you"}, idempotency_key="you")
    with Worker(engine, forge) as worker:
        worker.drain()
    with database.engine("jf_admin").begin() as connection:
        retention = Retention(connection)
        assert retention.prune(anew=True) == Pruned(0, 0, 0, more=False)
        retention.set("result", NEVER)
        assert retention.prune(anew=True) == Pruned(jobs=0, results=1, idempotency_keys=0, more=False)
        retention.set("idempotency_key", NEVER)
        retention.set("succeeded", NEVER)
        assert retention.prune(anew=True) == Pruned(jobs=1, results=0, idempotency_keys=1, more=False)


def test_a_worker_prunes_by_itself_and_who_looks_finds_no_job(database: Database) -> None:
    engine = database.engine("jf_one")
    with database.engine("jf_admin").begin() as connection:
        Retention(connection).set("succeeded", NEVER)
    with Session(engine) as session, session.begin():
        job = Jobs(session).enqueue(greet, {"name": "you"}).id
    with Worker(engine, forge, lease=dt.timedelta(seconds=1)):
        admin = database.engine(isolation_level="AUTOCOMMIT").connect()
        left = sa.text("select count(*) from jobforge.jobs")
        ended = sa.text("select count(*) = 0 from jobforge.ready r full join jobforge.leases l on true")
        wait_for(lambda: admin.scalar(ended), what="the job to end")
        admin.execute(sa.text("update jobforge.pruning set behind = default, began_at = '-infinity'"))  # a walk is due
        wait_for(lambda: not admin.scalar(left), 20, "upkeep to prune it")
        admin.close()
    with Session(engine) as session, pytest.raises(JobNotFound):
        Jobs(session).get(job)
