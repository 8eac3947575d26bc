"""What is kept by number: the newest so many of each state and type stay, whatever their age."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from tests.sql.test_prune import DAY, clock, ended, prune, sql
from tests.support import Clock, Sql, call, refused

__all__ = ["clock", "sql"]  # fixtures


def keep(sql: Sql, kind: str, newest: int | None, type_: str | None = None, time: dt.timedelta | None = None) -> None:
    sql("set_retention", user="jf_admin", kind=kind, keep=time, type=type_, newest=newest)


def left(sql: Sql, jobs: list[uuid.UUID]) -> list[uuid.UUID]:
    return [job for job in jobs if sql("get_job", tenant="a", job_id=job)]


def passed(sql: Sql, clock: Clock, type_: str = "t") -> uuid.UUID:
    """One that has ended, a moment ago."""
    job = ended(sql, type_=type_)
    clock.advance(seconds=1)
    return job


def rounds(sql: Sql, limit: int = 1000) -> int:
    """A round that counts and one that deletes, each to its end; how many jobs went."""
    gone = 0
    for _ in range(2):
        anew, more = True, True
        while more:
            rows = sql("prune", user="jf_admin", limit=limit, anew=anew)
            gone += next(row["pruned"] for row in rows if row["kind"] == "jobs")
            anew, more = False, any(row["more"] for row in rows)
    return gone


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_the_newest_of_each_state_and_type_stay(sql: Sql, limit: int) -> None:
    many = [ended(sql) for _ in range(12)]
    few = [ended(sql, type_="u") for _ in range(2)]
    dead = [ended(sql, "failed") for _ in range(4)]
    for kind in ("succeeded", "canceled"):
        keep(sql, kind, 3)
    keep(sql, "dead", 2)
    assert rounds(sql, limit) == 9 + 2
    assert left(sql, [*many, *few, *dead]) == [*many[-3:], *few, *dead[-2:]]
    assert rounds(sql, limit) == 0
    more = [ended(sql) for _ in range(2)]
    assert rounds(sql, limit) == 2
    assert left(sql, [*many, *more]) == [many[-1], *more]


def test_a_type_has_its_own_number_and_age_counts_beside_it(sql: Sql, clock: Clock) -> None:
    own, every = [passed(sql, clock, "u") for _ in range(3)], [passed(sql, clock) for _ in range(3)]
    keep(sql, "succeeded", 1)
    keep(sql, "succeeded", 2, "u", 2 * DAY)
    assert rounds(sql) == 1 + 2
    assert left(sql, [*own, *every]) == [*own[1:], every[2]]
    clock.advance(days=2.1)
    assert rounds(sql) == 2
    assert left(sql, [*own, *every]) == [every[2]]


@pytest.mark.parametrize(("larger", "type_"), [(4, None), (None, None), (4, "t")])
def test_what_was_too_many_stays_when_more_are_kept(sql: Sql, larger: int | None, type_: str | None) -> None:
    jobs = [ended(sql) for _ in range(4)]
    keep(sql, "succeeded", 1)
    sql.session("postgres").execute("select jobforge.count_newest('newest_succeeded', '{succeeded}', 1000, true)")
    keep(sql, "succeeded", larger, type_)
    assert prune(sql)["jobs"] == 0
    assert left(sql, jobs) == jobs


def test_what_is_dropped_counts_as_all_others_again(sql: Sql) -> None:
    jobs = [ended(sql) for _ in range(4)]
    keep(sql, "succeeded", 3)
    keep(sql, "succeeded", 1, "t")
    sql.session("postgres").execute("select jobforge.count_newest('newest_succeeded', '{succeeded}', 1000, true)")
    sql("drop_retention", user="jf_admin", kind="succeeded", type="t")
    rounds(sql)
    assert left(sql, jobs) == jobs[1:]


def test_a_job_that_was_brought_back_does_not_count(sql: Sql) -> None:
    dead = [ended(sql, "failed") for _ in range(3)]
    sql("retry_job", tenant="a", job_id=dead[2])
    keep(sql, "dead", 2)
    assert rounds(sql) == 0


def test_upkeep_deletes_it_without_being_asked(sql: Sql, clock: Clock) -> None:
    jobs = [passed(sql, clock) for _ in range(6)]
    keep(sql, "succeeded", 2)
    for _ in range(3):
        clock.advance(minutes=1.1)
        sql("upkeep")
    assert left(sql, jobs) == jobs[-2:]


def test_two_who_count_do_not_wait_for_each_other(sql: Sql) -> None:
    jobs = [ended(sql) for _ in range(3)]
    keep(sql, "succeeded", 1)
    counting = sql.connect("jf_admin")
    call(counting, "prune", anew=True)
    assert prune(sql, anew=False)["jobs"] == 0
    counting.commit()
    rounds(sql)
    assert left(sql, jobs) == jobs[-1:]


@pytest.mark.parametrize(
    "arguments",
    [{"kind": "dead", "newest": 0}, {"kind": "result", "newest": 1}, {"kind": "idempotency_key", "newest": 1}],
)
def test_a_number_that_cannot_be_is_refused(sql: Sql, arguments: dict[str, Any]) -> None:
    with refused("JF003", "p_newest"):
        sql("set_retention", user="jf_admin", keep=None, **arguments)


def test_nothing_is_counted_where_nothing_is_kept_by_number(sql: Sql) -> None:
    ended(sql)
    rounds(sql)
    assert sql.look("select from jobforge.newest") == []
    keep(sql, "succeeded", 5)
    rounds(sql)
    assert sql.look("select state, type, counted, beyond from jobforge.newest") == [
        {"state": "succeeded", "type": "t", "counted": 1, "beyond": None}
    ]
    sql.session("postgres").execute("truncate jobforge.outcomes, jobforge.jobs, jobforge.attempts, jobforge.results")
    rounds(sql)
    rounds(sql)
    assert sql.look("select from jobforge.newest") == []  # a type that is gone leaves nothing behind
