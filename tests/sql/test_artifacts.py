"""Artifacts in SQL: kept by a run's token, up to a size, read by their tenant alone, and gone with their job."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from typing import Any

import pytest

from jobforge_sa import TenantKey
from tests.support import Row, Sql, call, item, refused

SHA = hashlib.sha256(b"hello").hexdigest()


def running(sql: Sql, tenant: str = "a") -> Row:
    sql.enqueue(tenant)
    return sql.claim_one()


def store(sql: Sql, run: Row, name: str = "a.txt", body: bytes | None = b"hello", **more: Any) -> list[Row]:
    given = {"job_id": run["job_id"], "lease_token": run["lease_token"], "name": name, "media_type": "text/plain"}
    body_ = {} if body is None else {"body": body}
    return sql("store_artifact", **given | body_ | more)


def names(sql: Sql, tenant: str | None = "a", **more: Any) -> list[str]:
    return [row["name"] for row in sql("list_artifacts", tenant=tenant, **more)]


def get(sql: Sql, job: uuid.UUID, tenant: str | None = "a", name: str = "a.txt", **more: Any) -> Row | None:
    rows = sql("get_artifact", tenant=tenant, job_id=job, name=name, **more)
    return rows[0] if rows else None


# -- kept by the token -----------------------------------------------------------------


def test_a_run_keeps_a_file_that_its_tenant_reads_again(sql: Sql) -> None:
    run = running(sql)
    (said,) = store(sql, run)
    sql.complete(run)

    assert (said["name"], said["size"], said["sha256"]) == ("a.txt", 5, SHA)
    found = get(sql, run["job_id"])
    assert found is not None
    assert (found["body"], found["media_type"], found["location"], found["tenant_id"]) == (
        b"hello", "text/plain", None, "a",
    )  # fmt: skip
    (listed,) = sql("list_artifacts", tenant="a")
    assert listed == {name: value for name, value in found.items() if name != "body"}


def test_what_lies_elsewhere_is_noted_with_its_size_and_sum(sql: Sql) -> None:
    run = running(sql)
    store(sql, run, body=None, location="s3://bucket/key", size=5, sha256=SHA)
    found = get(sql, run["job_id"])
    assert found is not None
    assert (found["body"], found["location"], found["size"], found["sha256"]) == (None, "s3://bucket/key", 5, SHA)


def test_only_the_token_of_a_live_lease_keeps_anything(sql: Sql) -> None:
    run, other = running(sql), running(sql, "b")
    assert store(sql, run | {"lease_token": uuid.uuid4()}) == []
    assert store(sql, run | {"lease_token": other["lease_token"]}) == []
    assert store(sql, run, tenant="b") == []  # a tenant that is set must be the job's
    assert store(sql, run, tenant="a", user="jf_worker") != []
    sql.complete(run, "failed", delay=0)
    assert store(sql, run, "late") == []
    again = sql.claim_one()
    assert store(sql, run, "late") == []  # the token of the run before
    assert store(sql, again, "late") != []
    assert names(sql) == ["late", "a.txt"]
    for user in ("jf_admin", "jf_stranger"):
        with refused("42501"):
            store(sql, again, user=user)


def test_it_is_there_if_and_only_if_its_transaction_commits(sql: Sql) -> None:
    run = running(sql)
    handler = sql.connect(tenant="a")
    stored = {"job_id": run["job_id"], "lease_token": run["lease_token"], "name": "x", "media_type": "a/b", "body": b""}
    call(handler, "store_artifact", **stored)
    handler.rollback()
    assert names(sql) == []
    handler.execute("select set_config('jobforge.tenant_id', 'a', true)")
    call(handler, "store_artifact", **stored)
    call(handler, "complete_jobs", results=json.dumps([item(run)]))
    assert names(sql) == []
    handler.commit()
    assert names(sql) == ["x"]
    assert sql.state(run["job_id"]) == "succeeded"


def test_a_lease_that_keeps_something_is_not_taken_back_meanwhile(sql: Sql) -> None:
    clock = sql.clock()
    run = running(sql)
    handler = sql.connect()
    call(
        handler,
        "store_artifact",
        job_id=run["job_id"],
        lease_token=run["lease_token"],
        name="x",
        media_type="a/b",
        body=b"",
    )
    clock.advance(hours=2)
    sql("rescue_expired_jobs")
    assert sql.state(run["job_id"]) == "running"
    handler.rollback()
    sql("rescue_expired_jobs")
    assert sql.state(run["job_id"]) == "scheduled"  # it timed out
    assert store(sql, run) == []


def test_a_name_that_is_there_is_replaced_also_by_a_call_beside(sql: Sql) -> None:
    run = running(sql)
    store(sql, run, body=b"first")
    store(sql, run, body=b"second")
    slow = sql.connect()
    given = {"job_id": run["job_id"], "lease_token": run["lease_token"], "name": "a.txt", "media_type": "a/b"}
    call(slow, "store_artifact", **given, body=b"third")
    waiting = sql.connect()
    future = sql.waits(waiting, lambda: call(waiting, "store_artifact", **given, body=b"fourth"))
    slow.commit()
    future.result(timeout=10)
    waiting.commit()
    found = get(sql, run["job_id"])
    assert found is not None
    assert found["body"] == b"fourth"


# -- what is refused -------------------------------------------------------------------


def test_the_size_has_a_limit_that_an_administrator_moves(sql: Sql) -> None:
    run = running(sql)
    assert sql("artifact_limit") == [{"artifact_limit": 1_048_576}]
    store(sql, run, body=b"x" * 1_048_576)
    with refused("JF009", "1048577 bytes, 1048576 are allowed"):
        store(sql, run, body=b"x" * 1_048_577)
    sql("limit_artifacts", user="jf_admin", max_bytes=10)
    with refused("JF009", "11 bytes, 10 are allowed"):
        store(sql, run, body=b"x" * 11)
    store(sql, run, "far", None, location="file:///x", size=10**12, sha256=SHA)  # what is elsewhere takes no room here
    sql("limit_artifacts", user="jf_admin", max_bytes=104_857_600)
    store(sql, run, body=b"x" * 1_048_577)
    for bad in (-1, 104_857_601, None):
        with refused("JF003"):
            sql("limit_artifacts", user="jf_admin", max_bytes=bad)
    for user in ("jf_app", "jf_worker"):
        with refused("42501"):
            sql("limit_artifacts", user=user, max_bytes=5)


@pytest.mark.parametrize(
    "bad",
    [
        {"name": ""}, {"name": "."}, {"name": "../x"}, {"name": "a/b"}, {"name": "-x"}, {"name": "a\nb"},
        {"name": "é"}, {"name": "x" * 101}, {"name": None},
        {"media_type": "text"}, {"media_type": "text/html\r\nX: y"}, {"media_type": None},
        {"media_type": "a/" + "b" * 99},
        {"location": "s3://x"}, {"body": None}, {"body": None, "location": ""}, {"body": None, "location": "x\ny"},
        {"body": None, "location": "s3://x"}, {"body": None, "location": "s3://x", "size": 1},
        {"body": None, "location": "s3://x", "size": -1, "sha256": SHA},
        {"body": None, "location": "s3://x", "size": 1, "sha256": SHA.upper()},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_an_artifact_is_refused_with_the_cure(sql: Sql, bad: dict[str, Any]) -> None:
    run = running(sql)
    with refused("JF003"):
        store(sql, run, **bad)
    assert names(sql) == []


def test_a_job_has_twenty_at_most(sql: Sql) -> None:
    run = running(sql)
    for n in range(20):
        store(sql, run, f"n{n}")
    store(sql, run, "n0")
    with refused("JF003", "20 artifacts"):
        store(sql, run, "one-more")


# -- whose -----------------------------------------------------------------------------


def test_a_tenant_reads_its_own_and_an_administrator_all(sql: Sql) -> None:
    ours, theirs = running(sql), running(sql, "b")
    store(sql, ours)
    store(sql, theirs, "theirs")
    assert (names(sql), names(sql, "b")) == (["a.txt"], ["theirs"])
    assert get(sql, theirs["job_id"], name="theirs") is None
    assert names(sql, job_id=theirs["job_id"]) == []
    assert names(sql, None) == []
    assert names(sql, None, user="jf_admin") == ["theirs", "a.txt"]
    assert get(sql, theirs["job_id"], None, "theirs", user="jf_admin") is not None
    for user in ("jf_admin", "jf_one", "postgres"):  # where a tenant is set it holds for those too
        assert names(sql, "a", user=user) == ["a.txt"]
        assert get(sql, theirs["job_id"], "a", "theirs", user=user) is None
    assert names(sql, None, user="postgres") == []  # whom no policy binds
    for function in ("list_artifacts", "get_artifact"):
        more: dict[str, Any] = {"job_id": ours["job_id"]} | ({"name": "x"} if function == "get_artifact" else {})
        with refused("42501"):
            sql(function, tenant="a", user="jf_worker", **more)
    session = sql.session("jf_app")
    with session.transaction():
        session.execute("select set_config('jobforge.tenant_id', 'a', true)")
        assert [row["name"] for row in session.execute("select name from jobforge.artifacts")] == ["a.txt"]
    for write in ("delete from jobforge.artifacts", "update jobforge.artifacts set body = ''"):
        with refused("42501"):
            session.execute(write.encode())


def test_where_tenants_are_signed_a_name_alone_reads_nothing(sql: Sql) -> None:
    key = TenantKey.generate("artifacts")
    run = running(sql)
    owner = sql.session("postgres")
    owner.execute("select jobforge.add_tenant_key(%s, %s)", [key.id, key.secret])
    owner.execute("select jobforge.use_tenancy('signed')")
    store(sql, run)  # the run's token is enough
    assert store(sql, run, tenant="a") != []  # the setting is not believed, and does no harm
    session = sql.session("jf_app")
    assert names(sql) == []
    for tenant, expected in (("a", ["a.txt"]), ("b", [])):
        with session.transaction():
            session.execute("select set_config('jobforge.tenant_token', %s, true)", [key.token(tenant)])
            assert [row["name"] for row in call(session, "list_artifacts")] == expected


def test_pages_go_on_behind_the_last_one(sql: Sql) -> None:
    runs = [running(sql) for _ in range(3)]
    for run in runs:
        for n in range(3):
            store(sql, run, f"n{n}")
    expected = [(run["job_id"], f"n{n}") for run in reversed(runs) for n in (2, 1, 0)]
    for limit in (1, 2, 4, 9):
        cursor: dict[str, Any] = {}
        found: list[tuple[uuid.UUID, str]] = []
        while page := sql("list_artifacts", tenant="a", limit=limit, **cursor):
            found += [(row["job_id"], row["name"]) for row in page]
            cursor = {"cursor": found[-1][0], "cursor_name": found[-1][1]}
        assert found == expected
    with refused("JF003"):
        sql("list_artifacts", tenant="a", limit=0)


# -- with its job ----------------------------------------------------------------------


def test_it_goes_with_its_job_and_not_before(sql: Sql) -> None:
    clock = sql.clock()
    run = running(sql)
    store(sql, run)
    sql.complete(run)
    clock.advance(days=6)
    sql("prune", user="jf_worker", anew=True)
    assert names(sql) == ["a.txt"]
    clock.advance(days=2)
    sql("prune", user="jf_worker", anew=True)
    assert names(sql) == []
    assert sql.look("select count(*) as left from jobforge.artifacts") == [{"left": 0}]


def test_a_tenant_that_goes_takes_its_artifacts_along(sql: Sql) -> None:
    ours, theirs = running(sql), running(sql, "b")
    for run in (ours, theirs):
        store(sql, run)
        sql.complete(run)
    (record,) = sql("export_tenant", user="jf_admin", tenant_id="a")
    (told,) = json.loads(record["record"])["artifacts"]
    assert (told["name"], told["size"], told["sha256"], told["location"]) == ("a.txt", 5, SHA, None)
    assert dt.datetime.fromisoformat(told["created_at"]).tzinfo is not None
    counts = {row["relation"]: row["rows"] for row in sql("count_tenant", user="jf_admin", tenant_id="a")}
    assert counts["artifacts"] == 1

    sql("purge_tenant", user="jf_admin", tenant_id="a")

    assert (names(sql), names(sql, "b")) == ([], ["a.txt"])


def test_the_auditor_finds_one_without_its_job(sql: Sql) -> None:
    run = running(sql)
    store(sql, run)
    owner = sql.session("postgres")
    for wrong in ("tenant_id = 'b'", f"job_id = '{uuid.uuid4()}'"):
        owner.execute(f"update jobforge.artifacts set {wrong}".encode())
        assert [row["fault"] for row in sql("audit")] == ["has an artifact of another tenant or without a job"]
    owner.execute("delete from jobforge.artifacts")
