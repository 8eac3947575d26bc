"""enqueue_job and enqueue_jobs: a job exists if and only if its transaction commits, and the same key is one job."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from tests.support import Connection, Row, Sql, call, refused

UTC = dt.UTC


def enqueue(connection: Connection, **options: Any) -> Row:
    (row,) = call(connection, "enqueue_job", **{"type": "t", **options})
    return row


def enqueue_many(connection: Connection, *jobs: Row) -> list[Row]:
    return call(connection, "enqueue_jobs", jobs=Json([{"type": "t", **job} for job in jobs]))


# --- one job -----------------------------------------------------------------------------------------------


def test_a_job_has_the_documented_defaults_and_stands_queued(sql: Sql) -> None:
    (said,) = sql("enqueue_job", tenant="a", type="mail.send")

    assert said["created"] is True
    assert said["payload_differs"] is False
    job = sql.job(said["id"])
    wanted = {"tenant_id": "a", "queue": "default", "type": "mail.send", "priority": 0, "payload": {}}
    assert job["state"] == "queued"
    assert {name: job[name] for name in wanted} == wanted
    assert (job["max_attempts"], job["run"], job["attempt"], job["crashes"]) == (5, 0, 0, 0)
    assert job["created_at"] == job["run_at"]
    assert [job[name] for name in ("timeout", "retry", "idempotency_key", "parent_id", "trace")] == [None] * 5


def test_every_option_is_stored_as_it_was_given(sql: Sql) -> None:
    parent = uuid.uuid4()
    run_at = dt.datetime(2100, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    options: dict[str, Any] = {
        "queue": "mail",
        "priority": -100,
        "run_at": run_at,
        "idempotency_key": "k",
        "max_attempts": 1000,
        "retry": {"base": 0.5, "factor": 3, "max": 60, "jitter": 0.1},
        "timeout": dt.timedelta(milliseconds=1),
        "trace": {"traceparent": "00-1-2-01"},
        "parent_id": parent,
    }
    one = sql.enqueue(payload={"n": 1.50, "ü": "€"}, **options)
    texts = {"run_at": run_at.isoformat(), "timeout": "1 ms", "parent_id": str(parent), "idempotency_key": "k2"}
    job = {"type": "t", "payload": {"n": 1.5, "ü": "€"}} | options | texts
    (many,) = sql("enqueue_jobs", tenant="a", jobs=Json([job]))

    for job in (sql.job(one), sql.job(many["id"])):
        assert job["payload"] == {"n": 1.5, "ü": "€"}
        assert job["state"] == "scheduled"
        assert job["due_at"] == run_at
        assert {name: job[name] for name in options if name != "idempotency_key"} == {
            name: value for name, value in options.items() if name != "idempotency_key"
        }


def test_ids_are_version_7_and_in_the_order_of_enqueueing(sql: Sql) -> None:
    ids = [sql.enqueue() for _ in range(20)] + sql.fill("a", 1000)

    assert ids == sorted(ids)
    assert {(job_id.version, job_id.variant) for job_id in ids} == {(7, uuid.RFC_4122)}
    assert len(set(ids)) == 1020


def test_a_delay_counts_from_the_databases_now_and_a_time_of_the_past_is_now(sql: Sql) -> None:
    clock = sql.clock()
    later = sql.enqueue(delay=dt.timedelta(minutes=5))
    past = sql.enqueue(run_at=clock.now() - dt.timedelta(days=1))
    at_once = sql.enqueue(delay=dt.timedelta(0))

    assert sql.job(later)["due_at"] == clock.now() + dt.timedelta(minutes=5)
    assert [sql.state(job) for job in (later, past, at_once)] == ["scheduled", "queued", "queued"]


def test_time_is_the_statements_and_not_the_beginning_of_a_long_transaction(sql: Sql) -> None:
    clock = sql.clock()
    connection = sql.connect(tenant="a")
    first = enqueue(connection)
    clock.advance(hours=1)
    second = enqueue(connection)
    connection.commit()

    assert sql.job(second["id"])["created_at"] - sql.job(first["id"])["created_at"] == dt.timedelta(hours=1)


def test_a_waiting_job_wakes_listeners_of_the_channel_with_its_queue_and_nothing_else(sql: Sql) -> None:
    listener = sql.session("jf_stranger")
    listener.execute("listen jobforge")
    sql.asleep("mail", "bulk")
    sql("enqueue_job", tenant="secret", type="t", queue="mail", notify=False)
    sql("enqueue_job", tenant="secret", type="t", queue="mail", delay=dt.timedelta(hours=1))
    sql("enqueue_job", tenant="secret", type="t", queue="mail")
    sql("enqueue_jobs", tenant="secret", jobs=Json([{"type": "t", "queue": "bulk"}] * 50), notify=False)
    sql("enqueue_jobs", tenant="secret", jobs=Json([{"type": "t", "queue": "bulk"}] * 50))

    heard = [(note.channel, note.payload) for note in listener.notifies(timeout=5, stop_after=2)]
    assert heard == [("jobforge", "mail"), ("jobforge", "bulk")]


# --- its transaction ---------------------------------------------------------------------------------------


def test_a_job_is_seen_by_nobody_before_the_commit_and_by_all_after_it(sql: Sql) -> None:
    connection = sql.connect(tenant="a")
    mine = enqueue(connection)["id"]
    assert sql.claim() == []
    assert sql("list_jobs", tenant="a") == []
    connection.commit()

    assert [run["job_id"] for run in sql.claim()] == [mine]


def test_a_rolled_back_job_never_was(sql: Sql) -> None:
    connection = sql.connect(tenant="a")
    enqueue(connection, idempotency_key="k")
    enqueue_many(connection, {}, {"run_at": "2100-01-01T00:00Z"})
    connection.rollback()

    assert sql.claim() == []
    counted = "select (select count(*) from jobforge.jobs) + (select count(*) from jobforge.idempotency_keys) as n"
    assert sql.look(counted) == [{"n": 0}]


def test_fault_021_a_savepoint_takes_its_jobs_and_keys_back_and_leaves_the_others(sql: Sql) -> None:
    connection = sql.connect(tenant="a")
    outer = enqueue(connection)["id"]
    connection.execute("savepoint s")
    inner = enqueue(connection, idempotency_key="k")
    enqueue_many(connection, {"idempotency_key": "k2"}, {})
    connection.execute("rollback to savepoint s")
    again = enqueue(connection, idempotency_key="k")
    connection.commit()

    assert again["created"]
    assert again["id"] != inner["id"]
    assert {run["job_id"] for run in sql.claim()} == {outer, again["id"]}


def test_fault_004_a_connection_cut_before_the_commit_leaves_nothing(sql: Sql) -> None:
    connection = sql.connect(tenant="a")
    enqueue(connection, idempotency_key="k")
    sql.look("select pg_terminate_backend(%s)", connection.info.backend_pid)
    with pytest.raises(psycopg.OperationalError):
        connection.commit()

    assert [run["job_id"] for run in sql.claim()] == []
    job = sql.enqueue(idempotency_key="k")
    assert [run["job_id"] for run in sql.claim()] == [job]


# --- the same key ------------------------------------------------------------------------------------------


def test_the_same_key_gives_the_original_and_says_whether_the_payload_differs(sql: Sql) -> None:
    (first,) = sql("enqueue_job", tenant="a", type="t", payload={"x": 1, "y": [2]}, idempotency_key="k")
    (same,) = sql("enqueue_job", tenant="a", type="t", payload={"y": [2], "x": 1.0}, idempotency_key="k")
    (other,) = sql("enqueue_job", tenant="a", type="t", payload={"x": 2}, idempotency_key="k")

    assert same == {"id": first["id"], "created": False, "payload_differs": False}
    assert other == {"id": first["id"], "created": False, "payload_differs": True}
    assert sql.job(first["id"])["payload"] == {"x": 1, "y": [2]}
    assert len(sql.claim()) == 1


@pytest.mark.parametrize("end", ["succeeded", "canceled"])
def test_fault_005_a_key_goes_on_naming_its_job_when_the_job_has_ended(sql: Sql, end: str) -> None:
    job = sql.enqueue(idempotency_key="k")
    sql.complete(sql.claim_one(), end)

    (twin,) = sql("enqueue_job", tenant="a", type="t", idempotency_key="k")
    assert twin == {"id": job, "created": False, "payload_differs": False}
    assert sql.claim() == []


def test_a_bulk_call_answers_in_its_order_and_a_key_given_twice_in_it_is_one_job(sql: Sql) -> None:
    old = sql.enqueue(idempotency_key="old", payload={"n": 1})
    jobs = [
        {"type": "t", "idempotency_key": "z", "payload": {"n": 1}},
        {"type": "t"},
        {"type": "t", "idempotency_key": "a"},
        {"type": "t", "idempotency_key": "z", "payload": {"n": 2}},
        {"type": "t", "idempotency_key": "old", "payload": {"n": 1}},
        {"type": "u", "idempotency_key": "z"},
    ]
    said = sql("enqueue_jobs", tenant="a", jobs=Json(jobs))

    assert [row["position"] for row in said] == [1, 2, 3, 4, 5, 6]
    assert [row["created"] for row in said] == [True, True, True, False, False, True]
    assert [row["payload_differs"] for row in said] == [False, False, False, True, False, False]
    assert said[3]["id"] == said[0]["id"]
    assert said[4]["id"] == old
    assert sql.job(said[0]["id"])["payload"] == {"n": 1}
    assert len(sql.claim(types=["t", "u"])) == 5


@pytest.mark.parametrize("payload", [{}, {"payload": None}, {"payload": {}}], ids=["none", "null", "empty"])
def test_a_payload_left_out_of_a_bulk_call_is_the_empty_one_also_for_its_twin(shared: Sql, payload: Row) -> None:
    job = {"type": "t", "idempotency_key": str(payload)} | payload
    first, second = (shared("enqueue_jobs", tenant="a", jobs=Json([job]))[0] for _ in range(2))

    assert second == {"position": 1, "id": first["id"], "created": False, "payload_differs": False}


def test_fault_020_of_16_racing_connections_one_creates_and_all_get_its_job_and_nobody_is_aborted(sql: Sql) -> None:
    connections = [sql.connect(tenant="a") for _ in range(16)]

    def race(connection: Connection) -> Row:
        row = enqueue(connection, idempotency_key="k")
        enqueue(connection)  # the transaction still works
        connection.commit()
        return row

    rows = sql.together([lambda c=c: race(c) for c in connections])  # type: ignore[misc]
    assert len({row["id"] for row in rows}) == 1
    assert sum(row["created"] for row in rows) == 1
    assert len(sql.claim(100)) == 17


@pytest.mark.parametrize("bulk", [False, True], ids=["one", "bulk"])
def test_a_twin_waits_for_the_first_and_gets_the_original_when_that_commits(sql: Sql, bulk: bool) -> None:
    first, second = sql.connect(tenant="a"), sql.connect(tenant="a")
    original = enqueue(first, idempotency_key="k")["id"]
    work = (
        (lambda: enqueue_many(second, {"idempotency_key": "k"})[0])
        if bulk
        else (lambda: enqueue(second, idempotency_key="k"))
    )
    twin = sql.waits(second, work)
    first.commit()

    assert twin.result(5)["id"] == original
    assert twin.result()["created"] is False
    second.commit()
    assert len(sql.claim()) == 1


@pytest.mark.parametrize("bulk", [False, True], ids=["one", "bulk"])
def test_a_twin_creates_the_job_when_the_first_rolls_back(sql: Sql, bulk: bool) -> None:
    first, second = sql.connect(tenant="a"), sql.connect(tenant="a")
    gone = enqueue(first, idempotency_key="k")["id"]
    work = (
        (lambda: enqueue_many(second, {"idempotency_key": "k"})[0])
        if bulk
        else (lambda: enqueue(second, idempotency_key="k"))
    )
    twin = sql.waits(second, work)
    first.rollback()

    assert twin.result(5)["created"] is True
    second.commit()
    (run,) = sql.claim()
    assert run["job_id"] == twin.result()["id"] != gone


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
@pytest.mark.parametrize("bulk", [False, True], ids=["one", "bulk"])
def test_fault_019_above_read_committed_a_twin_newer_than_the_snapshot_is_40001(
    sql: Sql, level: str, bulk: bool
) -> None:
    connection = sql.connect(tenant="a", isolation=level)  # set_config has taken the snapshot
    original = sql.enqueue(idempotency_key="k")
    with refused("40001"):
        if bulk:
            enqueue_many(connection, {"idempotency_key": "k"})
        else:
            enqueue(connection, idempotency_key="k")
    connection.rollback()

    retried = sql.connect(tenant="a", isolation=level)
    assert enqueue(retried, idempotency_key="k") == {"id": original, "created": False, "payload_differs": False}


def test_above_read_committed_an_older_twin_is_the_original(sql: Sql) -> None:
    original = sql.enqueue(idempotency_key="k")
    connection = sql.connect(tenant="a", isolation="repeatable read")

    assert enqueue(connection, idempotency_key="k")["id"] == original
    assert enqueue_many(connection, {"idempotency_key": "k"})[0]["id"] == original


def test_racing_bulk_calls_with_common_keys_in_opposite_order_do_not_deadlock(sql: Sql) -> None:
    keys = [{"idempotency_key": f"k{n:03}"} for n in range(300)]

    def race(connection: Connection, jobs: list[Row]) -> list[Row]:
        rows = enqueue_many(connection, *jobs)
        connection.commit()
        return rows

    works = [(sql.connect(tenant="a"), keys if n % 2 else keys[::-1]) for n in range(8)]
    answers = sql.together([lambda c=c, k=k: race(c, k) for c, k in works])  # type: ignore[misc]

    ids = [{row["id"] for row in rows} for rows in answers]
    assert all(some == ids[0] for some in ids)
    assert len(ids[0]) == 300
    assert sum(row["created"] for rows in answers for row in rows) == 300


def test_bulk_calls_in_opposite_order_that_meet_in_the_middle_wait_for_each_other(sql: Sql) -> None:
    keys = [{"idempotency_key": f"k{n}"} for n in range(9)]
    holder, first, second = (sql.connect(tenant="a") for _ in range(3))
    enqueue(holder, idempotency_key="k4")  # both get to the middle before either can go on

    def bulk(connection: Connection, jobs: list[Row]) -> int:
        rows = enqueue_many(connection, *jobs)
        connection.commit()
        return sum(row["created"] for row in rows)

    one = sql.waits(first, lambda: bulk(first, keys))
    other = sql.waits(second, lambda: bulk(second, keys[::-1]))
    holder.rollback()

    assert sorted([one.result(10), other.result(10)]) == [0, 9]


def test_a_bulk_call_that_waited_for_a_twin_in_its_midst_gets_that_one_and_creates_the_rest(sql: Sql) -> None:
    first, second = sql.connect(tenant="a"), sql.connect(tenant="a")
    original = enqueue(first, idempotency_key="m", payload={"n": 1})["id"]
    bulk = sql.waits(second, lambda: enqueue_many(second, *({"idempotency_key": key} for key in "zma")))
    first.commit()

    assert [row["created"] for row in bulk.result(5)] == [True, False, True]
    assert bulk.result()[1] == {"position": 2, "id": original, "created": False, "payload_differs": True}
    second.commit()


# --- many jobs ---------------------------------------------------------------------------------------------


def test_ten_thousand_jobs_are_one_call_in_their_order(sql: Sql) -> None:
    jobs = [{"type": "t", "payload": {"n": n}} for n in range(10_000)]
    said = sql("enqueue_jobs", tenant="a", jobs=Json(jobs))

    assert [row["position"] for row in said] == list(range(1, 10_001))
    stored = sql.look("select id, (payload ->> 'n')::int as n from jobforge.jobs order by id")
    assert [row["n"] for row in stored] == list(range(10_000))
    assert [row["id"] for row in stored] == [row["id"] for row in said]
    assert [run["job_id"] for run in sql.claim(3)] == [row["id"] for row in said[:3]]


def test_no_jobs_are_no_answers(shared: Sql) -> None:
    assert shared("enqueue_jobs", tenant="a", jobs=Json([])) == []


def test_one_bad_job_refuses_the_whole_bulk_call_and_names_its_position(sql: Sql) -> None:
    jobs = [{"type": "t"}, {"type": "t", "priority": 101}, {"type": "t"}]
    with refused("JF003", "priority", "position 2"):
        sql("enqueue_jobs", tenant="a", jobs=Json(jobs))

    assert sql.claim() == []


@pytest.mark.parametrize("jobs", [{}, None, "x", 1], ids=str)
def test_a_bulk_call_takes_only_an_array(shared: Sql, jobs: object) -> None:
    with refused("JF003", "array"):
        shared("enqueue_jobs", tenant="a", jobs=Json(jobs))


@pytest.mark.parametrize("entry", [1, "x", None, [], [1]], ids=str)
def test_a_bulk_call_takes_only_objects_in_its_array(shared: Sql, entry: object) -> None:
    with refused("JF003", "object"):
        shared("enqueue_jobs", tenant="a", jobs=Json([{"type": "t"}, entry]))


# --- the tenant --------------------------------------------------------------------------------------------


def test_a_tenant_has_at_most_200_characters(shared: Sql) -> None:
    assert shared("enqueue_job", tenant="ü" * 200, type="t")[0]["created"]
    with refused("JF003", "200"):
        shared("enqueue_job", tenant="x" * 201, type="t")


def test_an_admin_enqueues_for_the_tenant_of_the_transaction(shared: Sql) -> None:
    assert shared("enqueue_job", user="jf_admin", tenant="a", type="t")[0]["created"]


# --- bad values --------------------------------------------------------------------------------------------

SECOND = dt.timedelta(seconds=1)
BAD_OPTIONS: dict[str, list[object]] = {
    "retry": [
        {"bese": 1},
        {"base": [1]},
        {"factor": [1]},
        {"max": [1]},
        {"jitter": [1]},
        {"base": -1},
        {"base": "1"},
        {"base": None},
        {"factor": 0.5},
        {"factor": 101},
        {"max": 2_592_001},
        {"jitter": 1.1},
        {"jitter": -0.1},
        {"delays": []},
        {"delays": 1},
        {"delays": None},
        {"delays": [-1]},
        {"delays": ["x"]},
        {"delays": [None]},
        {"delays": [[1]]},
        {"delays": [1] * 101},
        {"delays": [2_592_001]},
        Json([]),
        Json("x"),
        Json(1),
    ],
    # one day, as Postgres compares months with days; and beyond all times when it is added to one
    "timeout": [dt.timedelta(0), -SECOND, dt.timedelta(days=31), "60000000 months -1799999999 days"],
    "trace": [Json([]), Json("x"), {"a": "x" * 4096}],
}


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, values in BAD_OPTIONS.items() for value in values]
)
def test_an_option_that_cannot_work_is_refused_with_its_name(shared: Sql, option: str, value: object) -> None:
    given: dict[str, Any] = {"type": "t", option: value}
    with refused("JF003", option):
        shared("enqueue_job", tenant="a", **given)

    plain = value.obj if isinstance(value, Json) else value
    plain = f"{plain.total_seconds()} seconds" if isinstance(plain, dt.timedelta) else plain
    with refused("JF003", option, "position 1"):
        shared("enqueue_jobs", tenant="a", jobs=Json([{"type": "t", option: plain}]))


GOOD_OPTIONS: dict[str, list[object]] = {
    "type": ["x" * 100, "_", "0", "connector.http.request", "a:b-c_d.e"],
    "queue": ["x" * 100, "_", "0"],
    "priority": [-100, 100],
    "run_at": ["1970-01-01 00:00Z", "3000-01-01 00:00Z"],
    "delay": [dt.timedelta(0), "10 years"],
    "idempotency_key": ["x", "ü" * 200, " ", "%", "'; drop table jobforge.jobs; --"],
    "max_attempts": [1, 1000],
    "retry": [{}, {"base": 0}, {"max": 2_592_000}, {"delays": [0] * 100}, {"delays": [1.5], "jitter": 1}],
    "timeout": ["1 millisecond", "30 days"],
    "trace": [{}],
}


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, values in GOOD_OPTIONS.items() for value in values]
)
def test_an_option_at_its_bound_is_taken(shared: Sql, option: str, value: object) -> None:
    given: dict[str, Any] = {"type": "t", option: value}
    assert shared("enqueue_job", tenant="a", **given)[0]["created"]


def test_run_at_and_delay_together_are_refused(shared: Sql) -> None:
    with refused("JF003", "run_at or delay"):
        shared("enqueue_job", tenant="a", type="t", run_at=dt.datetime(2100, 1, 1, tzinfo=UTC), delay=SECOND)


@pytest.mark.parametrize("keys", [False, True])
def test_ten_thousand_jobs_in_a_call_are_no_more_than_ten_thousand_jobs_work(sql: Sql, keys: bool) -> None:
    connection = sql.connect(tenant="a")
    connection.execute("set local statement_timeout = '8s'")  # a join that loops takes 20 s and more, and this a second
    jobs = [{"type": "t"} | ({"idempotency_key": str(n)} if keys else {}) for n in range(10_000)]
    assert len(call(connection, "enqueue_jobs", jobs=Json(jobs))) == 10_000
