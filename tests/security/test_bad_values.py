"""Cases 71 to 83: values that cannot be. Refused where they are given, so that no worker and no reader meets them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.types.json import Json
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Worker, bind_tenant
from jobforge_sa.errors import ConfigurationError, InvalidJob
from jobforge_sa.models import Job
from tests.security.guard import Attack
from tests.support import call, refused

SECOND = dt.timedelta(seconds=1)
HOUR = dt.timedelta(hours=1)
NAIVE = dt.datetime(2030, 1, 1)
AWARE = NAIVE.replace(tzinfo=dt.UTC)
WORKER = uuid.UUID(int=2)

forge = JobForge()


@forge.task("t")
def handle(ctx: Context, payload: dict[str, Any]) -> None: ...


# --- what a worker says ------------------------------------------------------------------------------------

ALIVE = [None, "-1 hour", "999 milliseconds", "25 hours", "1000 years"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("worker_id", None),
        ("queues", None),
        ("types", None),
        ("queues", ["default", None]),
        ("types", [None]),
        ("types", ["t", None]),
        *[("limit", limit) for limit in (None, 0, -1, 10_001, 10**9)],
        *[("alive", alive) for alive in [*ALIVE, "0"]],
    ],
)
def test_case_071_a_claim_that_could_not_work_is_refused_and_claims_nothing(
    attack: Attack, argument: str, value: object
) -> None:
    job = attack.enqueue()
    given: dict[str, Any] = {argument: value}
    with refused("JF003", argument):
        attack.claim(**given)

    assert attack.state(job) == "queued"
    assert attack.look("select * from jobforge.workers") == []


@pytest.mark.parametrize("alive", ALIVE)
def test_case_071_a_heartbeat_that_could_not_work_is_refused_and_keeps_nobody_alive(
    attack: Attack, alive: object
) -> None:
    with refused("JF003", "alive"):
        attack("heartbeat_jobs", worker_id=WORKER, alive=alive)
    with refused("JF003", "worker_id"):
        attack("heartbeat_jobs", worker_id=None)
    assert attack.look("select * from jobforge.workers") == []


@pytest.mark.parametrize("function", ["rescue_expired_jobs", "upkeep"])
@pytest.mark.parametrize("limit", [None, 0, -1, 100_001, 10**9])
def test_case_071_a_bound_that_cannot_work_is_refused(attacked: Attack, function: str, limit: int | None) -> None:
    with refused("JF003", "limit"):
        attacked(function, limit=limit)


def test_case_071_arrays_of_odd_shapes_claim_nothing_that_was_not_asked_for(attack: Attack) -> None:
    attack.fill("a", 3)
    odd: list[dict[str, Any]] = [
        {"queues": []},
        {"types": []},
        {"queues": ["default"], "queue_limits": [-5]},
        {"queues": ["default"], "queue_limits": [0]},
        {"queues": [["default"], ["x"]]},
        {"queues": ["x" * 1_000_000]},
    ]
    for given in odd:
        assert attack.claim(**given) == []
    assert len(attack.claim(queue_limits=[None, 7, 8], cursors=["\U0010ffff" * 300, "a"])) == 3


# --- what an enqueue says ----------------------------------------------------------------------------------

BAD_OPTIONS: dict[str, list[object]] = {
    "072-type": [
        None,
        "",
        " ",
        "x\n",
        "x" * 101,
        "x" * 200,
        "a;drop table",
        "ü",
        "../..",
        ".x",
        "-x",
        ":x",
        "a b",
        "a/b",
    ],
    "072-queue": ["", " ", "x\n", "x" * 101, "a;drop", "ü", "../..", ".x"],
    "074-idempotency_key": ["", "x" * 201],
    "075-priority": [-101, 101, 40_000],
    "076-max_attempts": [0, -1, 1001, 2**31 - 1],
    "077-run_at": ["infinity", "-infinity", "294276-01-01", "0001-01-01 BC", "9999-12-31", "3000-01-02", "1969-12-31"],
    "078-delay": [
        -SECOND,
        "-1 microsecond",
        dt.timedelta(days=4000),
        "200000 years",
        "300000 years",
        "-300000 years",
        "290000 years -104398000 days",  # 10 years as Postgres compares it, and the year 6194 when it is added
        "-1 day 25 hours",
    ],
}


@pytest.mark.parametrize(
    ("option", "value"),
    [(label[4:], value) for label, values in BAD_OPTIONS.items() for value in values],
    ids=[f"{label}-{n}" for label, values in BAD_OPTIONS.items() for n in range(len(values))],
)
def test_case_072_and_074_to_078_an_option_that_cannot_work_is_refused_with_its_name(
    attacked: Attack, option: str, value: object
) -> None:
    given: dict[str, Any] = {"type": "t", option: value}
    with refused("JF003", option):
        attacked("enqueue_job", tenant="a", **given)

    plain = f"{value.total_seconds()} seconds" if isinstance(value, dt.timedelta) else value
    with refused("JF003", option, "position 1"):
        attacked("enqueue_jobs", tenant="a", jobs=Json([{"type": "t", option: plain}]))


@pytest.mark.parametrize(
    ("option", "value", "sqlstates"),
    [
        ("max_attempts", 2**31, {"42883"}),  # a bigint: no such function
        ("priority", 2**31, {"42883"}),
        ("delay", "infinity", {"JF003", "22007"}),  # an interval since Postgres 17
        ("timeout", "infinity", {"JF003", "22007"}),
    ],
    ids=["076-max_attempts", "075-priority", "078-delay", "078-timeout"],
)
def test_case_075_076_078_what_the_argument_cannot_hold_is_postgress_own_refusal(
    attacked: Attack, option: str, value: object, sqlstates: set[str]
) -> None:
    given: dict[str, Any] = {option: value}
    with pytest.raises(psycopg.Error) as error:
        attacked("enqueue_job", tenant="a", type="t", **given)
    assert error.value.sqlstate in sqlstates


PYTHON: dict[str, list[object]] = {
    "072-queue": ["", " ", "x\n", "x" * 101, "a;drop", "ü", "../..", 5, "\ud800", "a\x00"],
    "073-idempotency_key": ["a\x00", "\x00"],
    "074-idempotency_key": ["", "x" * 201, 5, "\ud800"],
    "075-priority": [101, -101, 40_000, True, 1.0, "5", 10**30],
    "076-max_attempts": [0, -1, 1001, 2**31, True, 1.0],
    "077-run_at": [AWARE.replace(year=3000), AWARE.replace(year=9999), AWARE.replace(year=1969), "2030-01-01", 5],
    "078-delay": [-SECOND, dt.timedelta(microseconds=-1), dt.timedelta.max, 5, "1 s"],
    "079-run_at": [NAIVE, NAIVE.replace(tzinfo=dt.timezone(dt.timedelta(0))).replace(tzinfo=None)],
}


@pytest.mark.parametrize(
    ("option", "value"),
    [(label[4:], value) for label, values in PYTHON.items() for value in values],
    ids=[f"{label}-{n}" for label, values in PYTHON.items() for n in range(len(values))],
)
def test_case_072_to_079_the_library_refuses_it_before_it_is_sent(attacked: Attack, option: str, value: Any) -> None:
    engine = attacked.engine("jf_app")
    sent: list[str] = []
    given: Any = {option: value}
    with Session(engine) as session:
        jobs = Jobs(session, tenant="a")
        jobs.list()  # the schema has been looked at
        sa.event.listen(engine, "before_cursor_execute", lambda *a: sent.append(a[2]))
        for work in (
            lambda: jobs.enqueue(handle, {}, **given),
            lambda: jobs.enqueue_many([handle.new({}), handle.new({}, **given)]),
        ):
            with pytest.raises(InvalidJob, match=f"{option}|queue|key"):
                work()
    assert sent == []


@pytest.mark.parametrize("name", ["", " ", "x\n", "x" * 101, "a;drop", "ü", "../..", "a\x00", ".x"], ids=ascii)
def test_case_072_073_a_task_has_no_such_name(name: str) -> None:
    if name:
        with pytest.raises(ConfigurationError, match="name"):
            JobForge().task(name)(handle.handler)


# --- NUL ---------------------------------------------------------------------------------------------------


def test_case_073_a_nul_is_refused_by_the_driver_in_each_text(attacked: Attack) -> None:
    app = attacked.connect("jf_app")
    for name in ("type", "payload", "queue", "idempotency_key", "tenant_id", "trace", "retry"):
        with pytest.raises(psycopg.DataError):
            call(app, "enqueue_job", **{"type": "t", name: "a\x00b"})
    with pytest.raises(psycopg.DataError):
        call(app, "enqueue_jobs", jobs='[{"type": "\x00"}]')
    with pytest.raises(psycopg.DataError):
        app.execute("select set_config('jobforge.tenant_id', %s, true)", ["a\x00"])
    app.rollback()
    for name in ("type", "queue", "idempotency_key", "tenant_id"):
        with refused("22P05"):  # escaped, in a bulk call
            attacked("enqueue_jobs", tenant="a", jobs=Json([{"type": "t", name: "a\x00b"}]))


@pytest.mark.parametrize("tenant", ["a\x00", "\x00", "\ud800"], ids=ascii)
def test_case_073_a_tenant_with_a_nul_is_a_value_error(attacked: Attack, tenant: str) -> None:
    with Session(attacked.engine("jf_app")) as session:
        for work in (lambda: Jobs(session, tenant=tenant), lambda: bind_tenant(session, tenant)):
            with pytest.raises(ValueError, match="tenant"):
                work()


@pytest.mark.parametrize("option", ["type", "queue", "state"])
@pytest.mark.parametrize("text", ["a\x00", "\ud800"], ids=["NUL", "surrogate"])
def test_case_073_a_filter_with_a_nul_is_our_value_error(attacked: Attack, option: str, text: str) -> None:
    given: Any = {option: text}
    with Session(attacked.engine("jf_app")) as session, pytest.raises(InvalidJob):
        Jobs(session, tenant="a").list(**given)


# --- times -------------------------------------------------------------------------------------------------


def test_case_078_a_negative_delay_moves_no_job_either(attack: Attack) -> None:
    job = attack.enqueue()
    for delay in (-SECOND, "-1 day 25 hours"):
        with refused("JF003", "delay"):
            attack("reschedule_job", tenant="a", job_id=job, delay=delay)
    with Session(attack.engine("jf_app")) as session, pytest.raises(InvalidJob, match="delay"):
        Jobs(session, tenant="a").reschedule(job, delay=-SECOND)
    assert attack.state(job) == "queued"


def test_case_079_a_time_without_a_zone_is_a_value_error(attacked: Attack) -> None:
    with Session(attacked.engine("jf_app")) as session:
        jobs = Jobs(session, tenant="a")
        works: list[Callable[[], object]] = [
            lambda: jobs.reschedule(uuid.uuid4(), run_at=NAIVE),
            lambda: jobs.list(since=NAIVE),
            lambda: jobs.list(until=NAIVE),
        ]
        for work in works:
            with pytest.raises(ValueError, match="no time zone"):
                work()


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Etc/GMT+12", "Asia/Kathmandu"])
def test_case_080_the_outermost_times_that_are_taken_can_be_read_by_everybody(attack: Attack, zone: str) -> None:
    options: dict[str, Any] = {"connect_args": {"options": f"-c timezone={zone}"}}
    times = ["1970-01-01 00:00+00", "3000-01-01 00:00+00"]
    ids = [attack.enqueue(run_at=time) for time in times] + [attack.enqueue(delay="10 years", timeout="30 days")]
    ids.append(attack.enqueue(timeout="1 mon", priority=1))
    with Worker(attack.engine("jf_worker", **options), forge) as worker:
        assert worker.drain(10)
        assert worker.outcomes == {"succeeded": 2}
    with Session(attack.engine("jf_app", **options)) as session:
        bind_tenant(session, "a")
        assert {job.id for job in Jobs(session).list().jobs} == set(ids)
        assert {job.id for job in session.scalars(sa.select(Job))} == set(ids)
        assert Jobs(session).get(ids[1]).run_at == dt.datetime(3000, 1, 1, tzinfo=dt.UTC)


# --- reading -----------------------------------------------------------------------------------------------

STATES = ["", "QUEUED", "failed", "x' or true --", "queued\n", "queued ", "Σ"]


@pytest.mark.parametrize("state", STATES)
def test_case_081_a_state_that_is_none_is_refused(attacked: Attack, state: str) -> None:
    with refused("JF003", "state"):
        attacked("list_jobs", tenant="a", state=state)
    with Session(attacked.engine("jf_app")) as session, pytest.raises(ValueError, match="state"):
        Jobs(session, tenant="a").list(state=state)


def test_case_082_null_is_the_default_and_never_a_value(attack: Attack) -> None:
    names = ["payload", "tenant_id", "queue", "priority", "run_at", "delay", "idempotency_key", "max_attempts", "retry"]
    names += ["timeout", "trace", "parent_id", "notify"]
    nothing: dict[str, Any] = dict.fromkeys(names)
    (one,) = attack("enqueue_job", tenant="a", type="t", **nothing)
    (many,) = attack("enqueue_jobs", tenant="a", jobs=Json([{"type": "t"} | nothing]), tenant_id=None, notify=None)
    plain = attack.job(attack.enqueue())

    own = {"id", "created_at", "run_at"}
    for said in (one, many):
        job = attack.job(said["id"])
        assert {name: job[name] for name in job.keys() - own} == {name: plain[name] for name in plain.keys() - own}
        assert job["run_at"] == job["created_at"]
    with refused("JF003"):
        attack("enqueue_job", tenant="a", type=None)
    with refused("JF003"):
        attack("enqueue_jobs", tenant="a", jobs=None)
    assert attack("complete_jobs", results=Json([])) == []
    with refused("JF003"):
        attack("complete_jobs", results=None)


@pytest.mark.parametrize("limit", [0, -1, 1001, 10**9, None])
def test_case_083_a_page_has_1_to_1000_jobs(attacked: Attack, limit: int | None) -> None:
    with refused("JF003", "limit"):
        attacked("list_jobs", tenant="a", limit=limit)


@pytest.mark.parametrize(
    "options",
    [
        *({"limit": limit} for limit in (0, -1, 1001, 10**9, 10**10, 10**30, "x", None)),
        *({"cursor": c} for c in ("", "x", "0" * 33)),
    ],
    ids=str,
)
def test_case_083_a_page_that_cannot_be_is_a_value_error(attacked: Attack, options: Any) -> None:
    with Session(attacked.engine("jf_app")) as session, pytest.raises(InvalidJob):
        Jobs(session, tenant="a").list(**options)


def test_case_083_any_cursor_is_a_place_in_the_order_and_opens_nothing(attack: Attack) -> None:
    jobs = attack.fill("a", 3)
    theirs = attack.enqueue("b")

    def listed(cursor: uuid.UUID) -> list[uuid.UUID]:
        return [row["id"] for row in attack("list_jobs", tenant="a", cursor=cursor)]

    assert listed(uuid.UUID(int=0)) == []
    assert listed(uuid.UUID(int=2**128 - 1)) == jobs[::-1]
    assert listed(jobs[1]) == [jobs[0]]
    assert listed(theirs) == jobs[::-1]
