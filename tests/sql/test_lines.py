"""Ordering keys, as enqueue, retry, replay and purge see them: who stands in line."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from psycopg.types.json import Json

from tests.support import Sql, refused


def lines(sql: Sql) -> list[tuple[str, str, uuid.UUID]]:
    found = sql.session("postgres").execute("select * from jobforge.lines order by tenant_id, ordering_key, job_id")
    return [(row["tenant_id"], row["ordering_key"], row["job_id"]) for row in found]


def many(sql: Sql, *items: dict[str, Any]) -> list[uuid.UUID]:
    rows = sql("enqueue_jobs", tenant="a", jobs=Json([{"type": "t", **item} for item in items]))
    return [row["id"] for row in rows]


def test_a_job_with_a_key_stands_in_its_tenants_line_wherever_it_waits(sql: Sql) -> None:
    first = sql.enqueue("a", ordering_key="k")
    second = sql.enqueue("a", "other", ordering_key="k", queue="mail", delay="1 hour")
    (theirs,) = sql("enqueue_job_for", user="jf_admin", tenant_id="b", type="t", ordering_key="k")
    sql.enqueue("a")

    assert lines(sql) == [("a", "k", first), ("a", "k", second), ("b", "k", theirs["id"])]
    assert sql.job(first)["ordering_key"] == "k"


def test_a_bulk_call_lines_its_jobs_up_as_they_stand_in_the_array(sql: Sql) -> None:
    items = [{"ordering_key": "zk"[n % 2], "idempotency_key": str(9 - n)} for n in range(8)]
    ids = many(sql, *items, {}, {"ordering_key": "u", "unique_key": "u"})

    assert [job for _, key, job in lines(sql) if key == "z"] == ids[0:8:2]
    assert [job for _, key, job in lines(sql) if key == "k"] == ids[1:8:2]
    assert [job for _, key, job in lines(sql) if key == "u"] == [ids[9]]
    assert many(sql, *items, {"ordering_key": "v", "unique_key": "u"})[:8] == ids[:8]  # who is there stands once
    assert len(lines(sql)) == 9


@pytest.mark.parametrize("key", ["", "k" * 201])
def test_a_key_has_1_to_200_characters(sql: Sql, key: str) -> None:
    with refused("JF003", "ordering_key"):
        sql("enqueue_job", tenant="a", type="t", ordering_key=key)
    with refused("JF003", "ordering_key"):
        many(sql, {"ordering_key": key})
    with refused("JF003", "ordering_key"):
        sql("replay_job", tenant="a", job_id=uuid.uuid4(), if_gone={"type": "t", "ordering_key": key})


def test_a_replay_stands_last_in_its_originals_line(sql: Sql) -> None:
    original, next_ = (sql.enqueue("a", ordering_key="k") for _ in range(2))
    (again,) = sql("replay_job", tenant="a", job_id=original)
    (gone,) = sql("replay_job", tenant="a", job_id=uuid.uuid4(), if_gone={"type": "t", "ordering_key": "k"})

    assert [job for _, _, job in lines(sql)] == [original, next_, again["id"], gone["id"]]
    assert again["ordering_key"] == gone["ordering_key"] == "k"


def test_a_retry_brings_a_job_back_to_its_old_place_in_line(sql: Sql) -> None:
    jobs = [sql.enqueue("a", ordering_key="k") for _ in range(2)]
    owner = sql.session("postgres")
    for table in ("ready", "lines"):
        owner.execute(f"delete from jobforge.{table} where job_id = %s".encode(), [jobs[0]])
    owner.execute("insert into jobforge.outcomes values (%s, 'a', 'canceled', 0, 0, 0, now())", [jobs[0]])

    sql("retry_job", tenant="a", job_id=jobs[0])

    assert [job for _, _, job in lines(sql)] == jobs


def test_a_purge_leaves_nobody_in_line(sql: Sql) -> None:
    for tenant in ("a", "b"):
        sql.enqueue(tenant, ordering_key="k")
    counted = {row["relation"]: row["rows"] for row in sql("count_tenant", user="jf_admin", tenant_id="a")}
    sql("purge_tenant", user="jf_admin", tenant_id="a")

    assert counted["lines"] == 1
    assert [tenant for tenant, _, _ in lines(sql)] == ["b"]


def test_a_tenant_sees_its_own_lines_only(sql: Sql) -> None:
    for tenant in ("a", "b"):
        sql.enqueue(tenant, ordering_key="k")
    seen = sql.connect("jf_app", tenant="a").execute("select tenant_id from jobforge.lines").fetchall()
    assert [row["tenant_id"] for row in seen] == ["a"]
    assert sql.connect("jf_app").execute("select from jobforge.lines").fetchall() == []
