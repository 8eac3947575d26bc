"""replay_job and impact_of_job: a job made again, what caused it, and what it caused."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from psycopg.types.json import Json
from sqlalchemy.orm import Session

from jobforge_sa import Jobs
from jobforge_sa.errors import InvalidJob, JobNotFound
from tests.support import Row, Sql, refused


def impact(sql: Sql, job: uuid.UUID, tenant: str | None = "a", user: str = "jf_app", **options: Any) -> list[Row]:
    return sql("impact_of_job", tenant=tenant, user=user, job_id=job, **options)


def chain(sql: Sql, length: int, tenant: str = "a") -> list[uuid.UUID]:
    """Jobs of which each has caused the next one."""
    made = [sql.enqueue(tenant)]
    for _ in range(length - 1):
        made.append(sql.enqueue(tenant, parent_id=made[-1]))
    return made


# -- replay_job ------------------------------------------------------------------------


def test_a_replay_is_a_new_job_like_its_original_and_its_child(sql: Sql) -> None:
    asked: dict[str, Any] = {
        "queue": "mail", "priority": 7, "max_attempts": 3, "retry": {"delays": [1]}, "timeout": "5 s",
        "trace": {"traceparent": "x"}, "ordering_key": "o", "subject": "orders:1",
    }  # fmt: skip
    keyed = sql.enqueue("a", "t", {"n": 1}, idempotency_key="k", delay="1 h", **asked)
    unique = sql.enqueue("a", "t", {"n": 2}, unique_key="u", **asked)

    for original in (keyed, unique):
        (said,) = sql("replay_job", tenant="a", job_id=original)
        job, before = sql.job(said["id"]), sql.job(original)
        assert (job["parent_id"], job["cause"], job["state"]) == (original, "replay", "queued")
        assert (job["idempotency_key"], job["unique_key"]) == (None, None)
        same = ["tenant_id", "type", "payload", *asked]
        assert [job[name] for name in same] == [before[name] for name in same]
    assert sql("replay_job", tenant="a", job_id=keyed)[0]["id"] != said["id"]  # each call one more


def test_a_replay_is_for_ones_own_tenant_within_its_quota(sql: Sql) -> None:
    theirs, ours = sql.enqueue("b", "t", {"secret": 1}), sql.enqueue("a")
    assert sql("replay_job", tenant="a", job_id=theirs) == []
    assert sql("replay_job", tenant="a", job_id=uuid.uuid4()) == []
    with refused("JF001"):
        sql("replay_job", job_id=ours)
    with refused("42501"):
        sql("replay_job", tenant="a", user="jf_worker", job_id=ours)
    sql("limit_tenant", user="jf_admin", tenant_id="a", change={"max_waiting": 1})
    with refused("JF007"):
        sql("replay_job", tenant="a", job_id=ours)


def test_what_is_gone_is_made_from_what_it_was_and_checked(sql: Sql) -> None:
    gone, theirs = uuid.uuid4(), sql.enqueue("b", "t", {"theirs": True})
    item = {"type": "t", "payload": {"n": 1}, "timeout": "3.5 seconds", "id": str(theirs), "tenant_id": "b"}
    for job_id in (gone, theirs):  # another tenant's is as good as gone: the caller gets what he gave
        (said,) = sql("replay_job", tenant="a", job_id=job_id, if_gone=item)
        job = sql.job(said["id"])
        assert (job["tenant_id"], job["payload"], job["parent_id"]) == ("a", {"n": 1}, job_id)
        assert (job["queue"], job["max_attempts"], job["timeout"].total_seconds()) == ("default", 5, 3.5)
    for bad, code in (
        ({"type": ""}, "JF003"),
        ({"type": "t", "payload": []}, "JF004"),
        ({}, "JF003"),
        ([], "JF003"),
        ({"type": "t", "priority": 100_000}, "JF003"),
        ({"type": "t", "max_attempts": "x"}, "JF003"),
    ):
        with refused(code):
            sql("replay_job", tenant="a", job_id=gone, if_gone=Json(bad))


# -- impact_of_job ---------------------------------------------------------------------


def test_the_map_goes_up_to_the_first_and_down_to_all(sql: Sql) -> None:
    root = sql.enqueue("a", "root", subject="orders:1", trace={"traceparent": "t"})
    middle = sql.enqueue("a", "middle", parent_id=root)
    sql.enqueue("a", "aunt", parent_id=root)  # what the root caused beside it is not the middle's
    child = sql("enqueue_jobs", tenant="a", jobs=Json([{"type": "t", "parent_id": str(middle)}]))[0]["id"]
    run = sql.claim_one()
    sql.complete(run, "failed", error={"type": "ValueError"}, final=True)
    again = sql("replay_job", tenant="a", job_id=child)[0]["id"]

    rows = impact(sql, middle)

    assert [(row["depth"], row["job_id"], row["cause"]) for row in rows] == [
        (-1, root, None), (0, middle, "handler"), (1, child, "handler"), (2, again, "replay"),
    ]  # fmt: skip
    assert (rows[0]["type"], rows[0]["subject"], rows[0]["trace"]) == ("root", "orders:1", {"traceparent": "t"})
    dead = rows[2]
    assert (dead["state"], dead["outcome"], dead["error_type"], dead["run"]) == ("dead", "failed", "ValueError", 1)
    assert not any(row["cut"] for row in rows)


def test_the_map_ends_at_the_tenants_wall(sql: Sql) -> None:
    ours = sql.enqueue("a")
    theirs = sql.enqueue("b", parent_id=ours)  # a note of b's, that nobody checks
    sql("replay_job", tenant="b", job_id=ours, if_gone={"type": "t"})  # another such note
    (moved,) = sql("replay_job", tenant="b", user="jf_admin", job_id=ours, if_gone={"type": "t"})

    assert [row["job_id"] for row in impact(sql, ours)] == [ours]
    assert impact(sql, ours, tenant="b") == []
    assert [(row["job_id"], row["type"]) for row in impact(sql, theirs, tenant="b")] == [(ours, None), (theirs, "t")]
    assert [row["job_id"] for row in impact(sql, ours, tenant=None, user="jf_admin")] == [ours, moved["id"]]
    assert impact(sql, ours, tenant=None) == []
    with refused("42501"):
        impact(sql, ours, user="jf_worker")


def test_a_parent_that_was_pruned_is_told_as_gone(sql: Sql) -> None:
    gone = uuid.uuid4()
    job = sql.enqueue("a", parent_id=gone)
    above, itself = impact(sql, job)
    assert (above["job_id"], above["depth"], above["type"], above["state"]) == (gone, -1, None, None)
    assert (itself["job_id"], itself["cut"]) == (job, False)


def test_what_is_cut_says_so(sql: Sql) -> None:
    jobs = chain(sql, 5)
    assert [row["depth"] for row in impact(sql, jobs[2], depth=1)] == [-1, 0, 1]
    assert all(row["cut"] for row in impact(sql, jobs[2], depth=1))
    assert [row["cut"] for row in impact(sql, jobs[2], depth=2)] == [False] * 5
    assert {row["cut"] for row in impact(sql, jobs[0], limit=5)} == {False}
    for limit, depths in ((4, [0, 1, 2, 3]), (1, [0])):
        rows = impact(sql, jobs[0], limit=limit)
        assert [row["depth"] for row in rows] == depths
        assert all(row["cut"] for row in rows)
    assert impact(sql, jobs[4], limit=2)[0]["cut"]
    bounds: list[dict[str, Any]] = [{"limit": 0}, {"limit": 10_001}, {"depth": -1}]
    for bad in bounds:
        with refused("JF003"):
            impact(sql, jobs[0], **bad)


def test_a_cycle_that_somebody_wrote_by_hand_ends(sql: Sql) -> None:
    first, second = chain(sql, 2)
    sql.session("postgres").execute("update jobforge.jobs set parent_id = %s where id = %s", [second, first])
    rows = impact(sql, first, limit=50)
    assert len(rows) <= 100
    assert {row["cut"] for row in rows} == {True}
    with Session(sql.database.engine("jf_app")) as session:
        assert len(Jobs(session, tenant="a").impact(first, limit=50).mermaid().splitlines()) > 50


def test_10_000_children_and_a_chain_of_2_000_are_met_by_key(sql: Sql) -> None:
    """Among other jobs, after ANALYZE, and as the tenant that the policies bind."""
    sql.session("postgres").execute(
        "create or replace function public.id(n int) returns uuid language sql as "
        "$$ select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid $$"
    )
    root, first = uuid.UUID("00000000-0000-7000-8000-000000002001"), uuid.UUID("00000000-0000-7000-8000-000000001000")
    sql.session("postgres").execute(  # 2,000 jobs in a chain, and behind them one that has 10,000 children
        """
        with made as (
            insert into jobforge.jobs (id, tenant_id, queue, type, priority, payload, run_at, max_attempts, parent_id,
                                       cause, created_at)
            select id(n), 'a', 'q', 't', 0, '{}', now(), 5,
                   case when n > 2001 then id(2001) when n between 2 and 2000 then id(n - 1) end, 'handler', now()
              from generate_series(1, 12001) n returning id)
        insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
        select 'q', 'a', 0, id, 't', 0, 0, 0 from made""".replace("id(", "public.id(").encode()
    )
    sql.session("postgres").execute("analyze jobforge.jobs")
    with Session(sql.database.engine("jf_app")) as session:
        jobs = Jobs(session, tenant="a")
        began = time.monotonic()
        wide = jobs.impact(root, limit=10_000)
        assert (len(wide.jobs), wide.cut) == (10_000, True)
        assert wide.mermaid().count("-->") == 9_999
        wide_took, began = time.monotonic() - began, time.monotonic()
        deep = jobs.impact(first, limit=10_000, depth=10_000)
        deep_took = time.monotonic() - began
        assert (len(deep.jobs), deep.cut, deep.root.depth, deep.jobs[-1].depth) == (2_000, False, -999, 1_000)
        with pytest.raises(JobNotFound):
            jobs.impact(uuid.uuid4())
        with pytest.raises(InvalidJob):
            jobs.impact(root, limit=0)
    print(f"wide {wide_took:.2f} s, deep {deep_took:.2f} s")
    assert wide_took < 10
    assert deep_took < 10
