"""Behind a held snapshot claims do not pass what was deleted again and again: heads say where a tenant's jobs begin."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import Sql, wait_for

LOOK = "jobforge.look_875b84ac6d7005605736f60815ce2dbb"  # of the main lane of "default": see look_due
FILL = """
with told as (
    insert into jobforge.jobs (id, tenant_id, queue, type, priority, payload, run_at, max_attempts, created_at)
    select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'a', 'default', 't', 0, '{}', now(), 5, now()
      from generate_series(1, 30000) n returning *
)
insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
select queue, tenant_id, priority, id, type, 0, 0, 0 from told
"""


@pytest.fixture
def drained(sql: Sql) -> Iterator[list[uuid.UUID]]:
    """Most of a tenant's jobs have gone by while somebody holds a snapshot. Gives those that are left."""
    admin = sql.session("postgres")
    admin.execute(FILL)
    holder = sql.connect("postgres", isolation="repeatable read")
    holder.execute("select count(*) from jobforge.jobs")
    for table, column in (("ready", "job_id"), ("jobs", "id")):
        admin.execute(f"delete from jobforge.{table} where {column} < '00000000-0000-7000-8000-000000029901'".encode())
    sql.claim(1)
    yield [uuid.UUID(f"00000000-0000-7000-8000-{n:012}") for n in range(29902, 30001)]
    holder.rollback()


def pages(sql: Sql) -> int:
    session = sql.session("jf_worker")
    ask = "explain (analyze, buffers, format json) select * from jobforge.claim_jobs(%s, '{default}', '{t}', 10)"
    with session.transaction():
        (row,) = session.execute(ask, [sql.worker]).fetchall()
    return int(row["QUERY PLAN"][0]["Plan"]["Shared Hit Blocks"])


def look_again(sql: Sql) -> None:
    """As if the time of this session's next full look had come."""
    sql.session("jf_worker").execute(f"select set_config('{LOOK}', '', false)".encode())


def test_a_claim_passes_what_was_deleted_once(sql: Sql, drained: list[uuid.UUID]) -> None:
    assert [row["tenant_id"] for row in sql.look("select * from jobforge.heads")] == ["a"]
    assert min(pages(sql) for _ in range(3)) < 200  # and not the 300 of ready and of its index, twice


def test_a_job_before_the_head_is_found_by_the_next_full_look_and_so_are_those_beside_it(
    sql: Sql, drained: list[uuid.UUID]
) -> None:
    urgent = [sql.enqueue("a", priority=-1) for _ in range(4)]
    look_again(sql)
    assert [run["job_id"] for run in sql.claim(2)] == urgent[:2]
    assert [run["job_id"] for run in sql.claim(3)] == [*urgent[2:], drained[0]]  # the head went back to them


def test_a_tenant_whose_jobs_are_all_done_is_no_step_for_the_others(sql: Sql, drained: list[uuid.UUID]) -> None:
    while sql.claim(500):
        pass
    job = sql.enqueue("b")
    assert [run["job_id"] for run in sql.claim()] == [job]
    assert sql.claim() == []
    new = sql.enqueue("a")
    assert [run["job_id"] for run in sql.claim()] == [new]


def test_heads_are_forgotten_when_a_vacuum_has_been_there(sql: Sql) -> None:
    sql.clock().advance(minutes=2)
    sql.session("postgres").execute(
        "insert into jobforge.heads values ('q', '!main', 'a', 0, gen_random_uuid(), now() - interval '1 minute')"
    )
    sql.session("postgres").execute("vacuum jobforge.ready")
    wait_for(lambda: sql("upkeep") and not sql.look("select * from jobforge.heads"), what="a count of few dead rows")


def test_a_session_reads_what_it_has_noted_in_any_datestyle(sql: Sql) -> None:
    """A pool lends one session to many: a day that one wrote first another reads as a month."""
    worker = sql.connect("jf_worker")
    sql.session("postgres").execute(
        "insert into jobforge.heads values ('default', '!main', 'a', 0, gen_random_uuid(), now())"
    )
    for style in ("SQL, DMY", "SQL, MDY"):
        worker.execute(f"set timezone = 'Asia/Kolkata'; set datestyle = '{style}'".encode())
        worker.execute("select count(*) from jobforge.claim_jobs(%s, '{default}', '{t}')", [sql.worker])
    noted = worker.execute(
        f"select to_timestamp(current_setting('{LOOK}')::float8) - now() < interval '1 minute' as soon".encode()
    ).fetchone()
    assert noted == {"soon": True}


def test_lanes_are_looked_for_behind_their_heads_and_again_by_a_full_look(sql: Sql) -> None:
    admin = sql.session("postgres")
    admin.execute(FILL.replace("'t'", "'other'").encode())
    for _ in range(8):
        sql.claim()
    holder = sql.connect("postgres", isolation="repeatable read")
    holder.execute("select count(*) from jobforge.jobs")
    claim: dict[str, Any] = {"types": ["other"]}
    for table, column in (("ready", "job_id"), ("jobs", "id")):
        admin.execute(f"delete from jobforge.{table} where {column} < '00000000-0000-7000-8000-000000029901'".encode())
    sql.claim(1, **claim)
    assert {row["lane"] for row in sql.look("select * from jobforge.heads")} >= {"other"}
    look = sql.connect("postgres")
    look.execute("set enable_seqscan = off")  # as in a claim
    ask = "explain (analyze, buffers, format json) select jobforge.lanes_of('default', '{other}', false)"
    read = [look.execute(ask.encode()).fetchone() for _ in range(3)]
    assert min(row["QUERY PLAN"][0]["Plan"]["Shared Hit Blocks"] for row in read if row) < 50
    while sql.claim(500, **claim):
        pass
    urgent = sql.enqueue("a", "other", priority=-1)
    assert sql.claim() == []  # by another worker it is put aside, before the head
    look_again(sql)
    assert [run["job_id"] for run in sql.claim(**claim)] == [urgent]
    holder.rollback()


def test_a_purge_leaves_no_head(sql: Sql) -> None:
    for tenant in "ab":
        sql.session("postgres").execute(
            "insert into jobforge.heads values ('q', '!main', %s, 0, gen_random_uuid(), now())", [tenant]
        )
    assert sql("purge_tenant", user="jf_admin", tenant_id="a") == [{"purge_tenant": 0}]
    assert [row["tenant_id"] for row in sql.look("select * from jobforge.heads")] == ["b"]


def test_each_queue_has_its_own_full_look(sql: Sql, drained: list[uuid.UUID]) -> None:
    """A session's one look was spent by the queue that it claimed first: a late job of the other was never found."""
    sql.session("postgres").execute(
        "insert into jobforge.heads values ('other', '!main', 'a', 0, gen_random_uuid(), now())"
    )
    urgent = sql.enqueue("a", priority=-1)
    look_again(sql)
    sql.claim(1, queues=["other"])
    assert sql.claim(1)[0]["job_id"] == urgent


def test_a_job_in_a_lane_beyond_the_last_number_is_found(sql: Sql) -> None:
    """Replication carries no sequence, and a partial restore may leave one behind."""
    admin = sql.session("postgres")
    admin.execute("select setval('jobforge.turn_lanes', 5)")
    admin.execute("insert into jobforge.heads values ('x', '!main', 'a', 0, gen_random_uuid(), now())")
    sql.enqueue()
    sql.complete(sql.claim_one(), "released")
    assert sql.look("select lane from jobforge.ready") == [{"lane": "!turn000000005"}]
    admin.execute("delete from jobforge.heads")
    admin.execute("select setval('jobforge.turn_lanes', 1, false)")
    assert len(sql.claim()) == 1


def test_a_claim_goes_round_however_many_have_a_head_and_nothing_more(sql: Sql) -> None:
    """The first one behind many of these had the whole claim."""
    holder = sql.connect("postgres", isolation="repeatable read")
    holder.execute("select count(*) from jobforge.jobs")
    for busy in range(5):
        for idle in range(30):
            sql.fill(f"t{busy}-{idle:02}", 20)
    while sql.claim(500):
        pass
    assert sql.look("select count(distinct tenant_id) > 100 as many from jobforge.heads") == [{"many": True}]
    for busy in range(5):
        sql.fill(f"t{busy}", 200)
    cursor = None
    for _ in range(5):
        runs = sql.claim(50, cursors=[cursor])
        assert len({run["tenant_id"] for run in runs}) == 5
        cursor = runs[-1]["tenant_id"]
    holder.rollback()
