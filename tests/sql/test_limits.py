"""What an administrator says of tenants, queues and tasks: paused, max_running, rates, weights."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from psycopg.types.json import Json

from tests.support import Row, Sql, call, item, refused, wait_for

SCOPES = {"tenant": ("tenant_id", "a"), "queue": ("queue", "default"), "task": ("type", "t")}
CLAIM: dict[str, Any] = {"worker_id": uuid.UUID(int=1), "queues": ["default", "other"], "types": ["t", "u"]}


def say(sql: Sql, verb: str, scope: str, name: str = "", **more: Any) -> Row | None:
    """Pause, resume or limit a tenant, a queue or a task."""
    argument, usual = SCOPES[scope]
    rows = sql(f"{verb}_{scope}", user="jf_admin", **{argument: name or usual}, **more)
    return rows[0] if rows else None


def limit(sql: Sql, scope: str, name: str = "", **change: Any) -> Row:
    row = say(sql, "limit", scope, name, change=change)
    assert row is not None
    return row


def mixed(sql: Sql, each: int = 3) -> None:
    """So many jobs of each tenant, queue and type."""
    items = [{"type": type_, "queue": queue} for type_ in "tu" for queue in ("default", "other")] * each
    for tenant in "ab":
        sql("enqueue_jobs", tenant=tenant, jobs=Json(items))


def claim(sql: Sql, limit: int = 100, **options: Any) -> list[Row]:
    return sql("claim_jobs", **CLAIM | {"limit": limit} | options)


def of(runs: list[Row], scope: str) -> int:
    """How many of these are of the one of whom something is said."""
    column, name = SCOPES[scope]
    return sum(run[column] == name for run in runs)


# --- pause -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
def test_of_what_is_paused_nothing_is_claimed_and_all_of_it_when_it_is_resumed(sql: Sql, scope: str) -> None:
    mixed(sql)
    say(sql, "pause", scope)
    first = claim(sql)
    assert (len(first), of(first, scope)) == (12, 0)
    assert claim(sql) == []
    sql.enqueue("a")
    assert claim(sql) == []
    resumed = say(sql, "resume", scope)
    assert resumed is not None
    assert resumed["paused_at"] is None
    later = claim(sql)
    assert (len(later), of(later, scope)) == (13, 13)
    assert sql.look("select * from jobforge.limits") == []


@pytest.mark.parametrize("scope", ["queue", "task"])
def test_what_runs_goes_on_while_its_queue_or_task_is_paused(sql: Sql, scope: str) -> None:
    sql.enqueue("a")
    run = sql.claim_one()
    first = say(sql, "pause", scope)
    assert say(sql, "pause", scope) == first  # twice keeps the first time
    assert sql.complete(run, "failed", delay=0) == "done"
    assert sql.claim() == []
    say(sql, "resume", scope)
    assert sql.claim_one()["attempt"] == 2


def test_what_many_stopped_tenants_have_put_aside_comes_back_at_once_when_one_may_again(sql: Sql) -> None:
    names = [f"t{n:02}" for n in range(40)]
    for n, name in enumerate(names):
        sql.fill(name, 30)
        if n % 2:
            say(sql, "pause", "tenant", name)
        else:
            limit(sql, "tenant", name, max_running=0)
    for _ in range(3):
        assert sql.claim(100) == []
    assert sql.look("select from jobforge.ready where lane = '!stopped'") != []
    say(sql, "resume", "tenant", "t07")
    assert [run["tenant_id"] for run in sql.claim(100)] == ["t07"] * 30
    limit(sql, "tenant", "t08", max_running=50)
    assert [run["tenant_id"] for run in sql.claim(100)] == ["t08"] * 30


def test_a_claim_under_way_ends_as_it_began_and_the_next_obeys_the_pause(sql: Sql) -> None:
    sql.fill("a", 4)
    under_way = sql.connect("jf_worker")
    assert len(call(under_way, "claim_jobs", **CLAIM | {"limit": 2, "worker_id": uuid.uuid4()})) == 2
    say(sql, "pause", "queue")
    assert sql.claim() == []
    under_way.commit()
    assert sql.claim() == []


# --- max_running -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
def test_so_many_run_and_no_more_however_many_are_asked_for(sql: Sql, scope: str) -> None:
    mixed(sql, 6)
    limit(sql, scope, max_running=5)
    runs = claim(sql)
    assert (len(runs), of(runs, scope)) == (24 + 5, 5)
    assert claim(sql) == []
    held = [run for run in runs if run[SCOPES[scope][0]] == SCOPES[scope][1]]
    for run in held[:2]:
        sql.complete(run)
    assert len(claim(sql)) == 2
    limit(sql, scope, max_running=1)
    sql.complete(held[2])
    assert claim(sql) == []  # four run, and one may
    limit(sql, scope, max_running=7)
    assert len(claim(sql)) == 3
    limit(sql, scope, max_running=None)
    assert len(claim(sql)) == 24 - 5 - 2 - 3


def test_a_job_obeys_its_tenant_its_queue_and_its_task_at_once(sql: Sql) -> None:
    mixed(sql, 10)
    limit(sql, "tenant", max_running=9)
    limit(sql, "queue", max_running=7)
    limit(sql, "task", max_running=4)
    runs = claim(sql, 1000)
    assert of(runs, "tenant") <= 9
    assert (of(runs, "queue"), of(runs, "task")) == (7, 4)
    assert claim(sql, 1000) == []
    limit(sql, "queue", max_running=0)
    assert claim(sql, 1000) == []


def test_jobs_that_were_claimed_before_the_limit_was_said_count(sql: Sql) -> None:
    sql.fill("a", 10)
    before = sql.claim(3)
    limit(sql, "tenant", max_running=4)
    limit(sql, "task", max_running=9)
    after = sql.claim()
    assert len(after) == 1
    assert sql.claim() == []
    marks = sql.look("select limited, count(*) as runs from jobforge.leases group by 1 order by 1")
    assert [(row["limited"], row["runs"]) for row in marks] == [(False, 3), (True, 1)]
    sql.complete(before[0])
    assert len(sql.claim()) == 1


def counted(sql: Sql) -> bool:
    """Whether claims take an index for all there is."""
    (row,) = sql.look("select counted from jobforge.limits")
    return bool(row["counted"])


def test_a_claim_that_was_open_when_the_limit_was_said_counts_from_its_commit_on(sql: Sql) -> None:
    """Its leases are not marked; while such a one may come all leases are counted, not those of the index alone."""
    clock = sql.clock()
    sql.fill("a", 20)
    late = sql.connect("jf_worker")
    unmarked = call(late, "claim_jobs", **CLAIM | {"limit": 3, "worker_id": uuid.uuid4()})
    limit(sql, "tenant", max_running=4)
    marked = []
    for _ in range(4):
        marked += sql.claim(1)
        clock.advance(minutes=2)
        assert not counted(sql)
    late.commit()
    assert (len(marked), sql.claim()) == (4, [])
    for run in marked:
        sql.complete(run)
    assert len(sql.claim()) == 1
    assert not counted(sql)
    for run in unmarked:
        sql.complete(run)
    assert len(sql.claim()) == 3
    assert counted(sql)
    assert sql.claim() == []


def test_a_claim_in_an_old_transaction_does_not_settle_a_limit_for_one_that_is_open_since(sql: Sql) -> None:
    """Its xid is lower than that of the open claim: that all before it have ended would say nothing."""
    old = sql.connect("jf_worker")
    old.execute("select pg_current_xact_id()")
    sql.fill("a", 20)
    late = sql.connect("jf_worker")
    assert len(call(late, "claim_jobs", **CLAIM | {"limit": 3, "worker_id": uuid.uuid4()})) == 3
    limit(sql, "tenant", max_running=5)
    sql.session("postgres").execute("update jobforge.limits set since = clock_timestamp() - interval '60.001 seconds'")
    assert len(call(old, "claim_jobs", **CLAIM | {"limit": 1, "worker_id": uuid.uuid4()})) == 1
    old.commit()
    assert len(sql.claim(1)) == 1
    late.commit()
    assert sql.claim() == []  # three, and two


def test_a_type_that_is_named_twice_runs_as_often_as_it_may_and_no_job_twice(sql: Sql) -> None:
    mixed(sql, 10)
    sql.fill("a", 10, type="aside")
    assert sql.claim(1000, types=["none"]) == []
    limit(sql, "task", max_running=3)
    runs = claim(sql, types=["t", "u", "t", "u"])
    assert (len(runs), of(runs, "task")) == (43, 3)
    assert sql.claim(types=["t", "t", "t"]) == []


def test_what_a_claim_under_way_counts_another_passes_over_and_nobody_waits(sql: Sql) -> None:
    mixed(sql)
    for scope in SCOPES:
        limit(sql, scope, max_running=5)
    under_way = sql.connect("jf_worker")
    assert len(call(under_way, "claim_jobs", **CLAIM | {"limit": 100, "worker_id": uuid.uuid4()})) > 5
    sql.fill("b", 2, type="u", queue="other")
    (*others,) = claim(sql)
    assert {(run["tenant_id"], run["queue"], run["type"]) for run in others} == {("b", "other", "u")}
    assert claim(sql) == []
    under_way.commit()


def test_a_suspect_obeys_what_is_said_of_it(sql: Sql) -> None:
    job = sql.enqueue("a")
    clock = sql.clock()
    for _ in range(2):
        sql.claim_one()
        clock.advance(minutes=2)
        sql("upkeep")
    clock.advance(minutes=5)
    sql("upkeep")
    look: dict[str, Any] = {"queues": ["default"], "types": ["t"]}
    for scope in SCOPES:
        changes: list[dict[str, Any]] = [{"max_running": 0}, {"max_running": None, "rate": 0.001}]
        for change in changes:
            limit(sql, scope, **change)
            if "rate" in change:  # its bucket is full
                (run,) = sql.suspects()
                sql.complete(run, "released")
            assert sql.suspects() == []
            assert sql("claim_jobs", **CLAIM | {"alone": True}) == []
            assert sql("has_suspect", **look) == [{"has_suspect": False}]
        limit(sql, scope, rate=None)
        say(sql, "pause", scope)
        assert (sql.suspects(), sql("has_suspect", **look)) == ([], [{"has_suspect": False}])
        say(sql, "resume", scope)
    assert sql.claim_suspect()["job_id"] == job
    assert [row["limited"] for row in sql.look("select limited from jobforge.leases")] == [False]


# --- rate --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
def test_a_bucket_fills_on_the_databases_clock_up_to_its_burst(sql: Sql, scope: str) -> None:
    clock = sql.clock()
    mixed(sql, 20)
    limit(sql, scope, rate=2, burst=5)
    first = claim(sql, 1000)
    assert (of(first, scope), len(first)) == (5, 85)
    assert claim(sql) == []
    clock.advance(seconds=1.375)
    assert len(claim(sql)) == 2
    clock.advance(seconds=0.125)
    assert len(claim(sql)) == 1
    clock.advance(hours=1)
    assert len(claim(sql)) == 5
    limit(sql, scope, rate=None)
    assert len(claim(sql, 1000)) == 160 - 85 - 8


def test_a_rate_below_one_lets_a_run_begin_every_so_many_seconds(sql: Sql) -> None:
    clock = sql.clock()
    sql.fill("a", 10)
    limit(sql, "queue", rate=0.1)
    taken = []
    for _ in range(50):
        taken.append(len(sql.claim()))
        clock.advance(seconds=1)
    assert taken == ([1] + [0] * 9) * 5


def test_a_new_burst_and_rate_keep_what_the_bucket_holds(sql: Sql) -> None:
    clock = sql.clock()
    sql.fill("a", 100)
    limit(sql, "tenant", rate=10)
    assert len(sql.claim(6)) == 6
    limit(sql, "tenant", rate=1, burst=3)
    assert len(sql.claim()) == 3
    clock.advance(seconds=2)
    limit(sql, "tenant", burst=50)
    assert len(sql.claim()) == 2


# --- weight ------------------------------------------------------------------------------------------------


def served(sql: Sql, claims: int, size: int) -> Counter[str]:
    """Who got how many jobs from a worker that goes on where its last claim stopped."""
    got: Counter[str] = Counter()
    cursor = None
    for _ in range(claims):
        runs = sql.claim(size, cursors=[cursor])
        cursor = runs[-1]["tenant_id"]
        got.update(run["tenant_id"] for run in runs)
    return got


@pytest.mark.parametrize(("size", "tenants"), [(1, 10), (3, 10), (10, 50), (100, 50)])
def test_a_weight_of_five_gets_five_times_the_jobs_whatever_a_claim_takes(sql: Sql, size: int, tenants: int) -> None:
    names = [f"t{n:02}" for n in range(tenants)]
    for name in names:
        sql.fill(name, 80)
    sql.fill("t05", 320)
    limit(sql, "tenant", "t05", weight=5)
    sql.session("jf_worker").execute("select setseed(0.5)")  # whose share was cut comes again by chance
    got = served(sql, 40 * (tenants + 4) // size, size)
    heavy = got.pop("t05")
    assert 4.3 <= heavy / (sum(got.values()) / len(got)) <= 5.7
    assert max(got.values()) - min(got.values()) <= 1


def test_claims_of_one_job_give_all_tasks_their_turn_the_limited_and_the_rest(sql: Sql) -> None:
    """As a busy worker claims: a job for each slot that comes free."""
    for type_ in "tuv":
        sql.fill("a", 60, type=type_)
    limit(sql, "task", "t", max_running=1000)
    limit(sql, "task", "u", max_running=1000)
    runs = [run["type"] for _ in range(60) for run in claim(sql, 1, types=["t", "u", "v"])]
    shares = Counter(runs)
    assert len(runs) == 60
    assert min(shares[type_] for type_ in "tuv") >= 5  # 20 each; once in 10,000 times fewer than 5
    few = Counter(run["type"] for run in claim(sql, 60, types=["t", "u", "v"]))
    assert max(few.values()) - min(few.values()) <= 2


def test_a_small_tenant_beside_a_heavy_one_has_its_turn_within_a_round(sql: Sql) -> None:
    sql.fill("heavy", 500)
    limit(sql, "tenant", "heavy", weight=100)
    sql.enqueue("small")
    got = [run["tenant_id"] for _ in range(21) for run in sql.claim(10, cursors=["heavy"])]
    assert "small" in got


# --- races -------------------------------------------------------------------------------------------------

COUNTS = (
    "select count(*) filter (where tenant_id = 'a') as tenant, count(*) filter (where queue = 'default') as queue, "
    "count(*) filter (where type = 't') as task from jobforge.leases"
)


class Race:
    """Workers that claim and complete as fast as they can, and look at all leases after each claim."""

    def __init__(self, sql: Sql, caps: dict[str, int]) -> None:
        self.sql = sql
        self.caps = dict(caps)  # so many may run, as far as anybody can know
        self.most: Counter[str] = Counter()
        self.over: list[tuple[str, int, int]] = []

    def work(self, seed: int) -> int:
        """Run jobs until there are none; answers how many."""
        chance, me = random.Random(seed), uuid.uuid4()
        db = self.sql.connect("postgres")
        db.autocommit = True
        held: list[Row] = []
        done = 0
        while True:
            caps = dict(self.caps)
            held += call(db, "claim_jobs", **CLAIM | {"worker_id": me, "limit": chance.randint(1, 6)})
            (found,) = db.execute(COUNTS).fetchall()
            for scope, cap in caps.items():
                self.most[scope] = max(self.most[scope], found[scope])
                if found[scope] > max(cap, self.caps[scope]):
                    self.over.append((scope, found[scope], cap))
            if held:
                run = held.pop(chance.randrange(len(held)))
                call(db, "complete_jobs", results=Json([item(run)]))
                done += 1
            elif not db.execute("select from jobforge.ready limit 1").fetchall():
                return done


@pytest.mark.parametrize(
    "caps", [{"tenant": 3}, {"queue": 3}, {"task": 3}, {"tenant": 5, "queue": 4, "task": 3}], ids=str
)
def test_sixteen_racing_workers_never_pass_a_cap(sql: Sql, caps: dict[str, int]) -> None:
    mixed(sql, 12)
    for scope, cap in caps.items():
        limit(sql, scope, max_running=cap)
    race = Race(sql, caps)
    done = sql.together([partial(race.work, seed) for seed in range(16)])
    assert race.over == []
    assert sum(done) == 96
    assert any(race.most[scope] == cap for scope, cap in caps.items())


def test_a_cap_that_is_changed_while_sixteen_workers_race_is_never_passed_from_its_commit_on(sql: Sql) -> None:
    """Lowered: those who run may end, and from the moment on when no more run than may, no more ever do."""
    mixed(sql, 25)
    race = Race(sql, {"tenant": 8, "task": 8})
    for scope in race.caps:
        limit(sql, scope, max_running=8)

    def change() -> int:
        admin = sql.connect("jf_admin")
        admin.autocommit = True
        for cap in (2, 6, 1, 0, 3, 8, 4) * 2:
            for scope in ("tenant", "task"):
                argument, name = SCOPES[scope]
                race.caps[scope] = max(race.caps[scope], cap)
                call(admin, f"limit_{scope}", change={"max_running": cap}, **{argument: name})
                wait_for(lambda: admin.execute(COUNTS).fetchall()[0][scope] <= cap)  # noqa: B023
                race.caps[scope] = cap
        return 0

    works: list[Callable[[], int]] = [change, *(partial(race.work, seed) for seed in range(16))]
    done = sql.together(works)
    assert race.over == []
    assert sum(done) == 200


@pytest.mark.parametrize("scope", SCOPES)
def test_sixteen_racing_workers_take_what_the_bucket_holds_and_no_more(sql: Sql, scope: str) -> None:
    clock = sql.clock()
    mixed(sql, 30)
    limit(sql, scope, rate=2, burst=10)

    def burn(seed: int) -> int:
        db = sql.connect("postgres")
        db.autocommit = True
        given: list[Row] = []
        for _ in range(6):
            given += call(db, "claim_jobs", **CLAIM | {"worker_id": uuid.uuid4(), "limit": 1 + seed % 5})
        return of(given, scope)

    for begun in (10, 3, 10):
        raced = sum(sql.together([partial(burn, seed) for seed in range(16)]))
        assert raced + of(claim(sql, 1000), scope) == begun
        clock.advance(seconds=1.5 if begun == 10 else 100)


# --- what it costs -----------------------------------------------------------------------------------------


def pages(sql: Sql, size: int) -> int:
    """What a claim reads; the best of some, for the first ones load the catalog."""
    look = f"select * from jobforge.claim_jobs(gen_random_uuid(), '{{default}}', '{{t}}', {size}, null, array[''])"
    found = []
    for _ in range(6):
        (row,) = sql.look(f"explain (analyze, buffers, format json) {look}")
        plan = row["QUERY PLAN"][0]["Plan"]
        found.append(int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]))
    return min(found)


def test_what_runs_already_is_read_once_for_all_limits_that_are_new(sql: Sql) -> None:
    for n in range(60):
        sql.fill(f"p{n:02}", 40)
    assert len(claim(sql, 600)) == 600
    before = pages(sql, 60)
    for n in range(60):
        limit(sql, "tenant", f"p{n:02}", max_running=100)
    assert pages(sql, 60) < before + 60 * 25  # and not all 600 leases, of 15 pages, for each of the 60


def test_who_has_no_limit_pays_little_for_those_of_others_and_no_more_for_many(sql: Sql) -> None:
    for n in range(100):
        sql.fill(f"t{n:03}", 10)
    alone = pages(sql, 10)
    more = (
        "insert into jobforge.limits (scope, name, max_running, rate, refilled_at) "
        "select scope, scope || n, 1, 5, now() from unnest('{tenant, queue, task}'::text[]) scope, "
        "generate_series(%s::int, %s::int) n returning 1"
    )
    sql.look(more, 1, 10)
    few = pages(sql, 10)
    sql.look(more, 11, 5000)
    many = pages(sql, 10)
    assert few <= alone * 1.4
    assert many <= few * 1.2


# --- who may, and what can be said -------------------------------------------------------------------------

CALLS = [
    f"{verb}_{scope}('x'{change})"
    for scope in SCOPES
    for verb, change in (("pause", ""), ("resume", ""), ("limit", ", '{}'"))
] + ["list_limits()"]


@pytest.mark.parametrize("user", ["jf_app", "jf_worker", "jf_stranger"])
@pytest.mark.parametrize("statement", CALLS)
def test_only_administrators_may(sql: Sql, user: str, statement: str) -> None:
    with refused("42501"):
        sql.session(user).execute(f"select * from jobforge.{statement}".encode())


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    "change",
    [
        None, {}, [], 5, {"max_runing": 5}, {"max_running": "5"}, {"max_running": -1}, {"max_running": 1.5},
        {"rate": 0}, {"rate": -1}, {"rate": 1e7}, {"rate": 1e-9}, {"rate": True}, {"burst": 5}, {"rate": 5, "burst": 0},
        {"weight": 0}, {"rate": None, "burst": 5}, {"weight": 101}, {"max_waiting": -1}, {"max_running": 1e300},
        {"scope": None}, {"counted": 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_limit_is_refused_with_the_cure_and_changes_nothing(sql: Sql, scope: str, change: object) -> None:
    with refused("JF003"):
        say(sql, "limit", scope, change=None if change is None else Json(change))
    assert sql.look("select * from jobforge.limits") == []


def test_weights_and_quotas_are_for_tenants(sql: Sql) -> None:
    for scope in ("queue", "task"):
        for name in ("weight", "max_waiting"):
            with refused("JF003", f"a {scope} has no limit"):
                limit(sql, scope, "x", **{name: 5})


@pytest.mark.parametrize("name", ["", None, "x" * 101, "a b", ".a", "nul\u0001"])
def test_what_is_no_queue_or_task_is_refused(sql: Sql, name: str | None) -> None:
    for scope, (argument, _) in SCOPES.items():
        if scope != "tenant":
            for verb in ("pause", "resume", "limit"):
                given: dict[str, Any] = {argument: name} | ({"change": {"rate": 1}} if verb == "limit" else {})
                with refused("JF003", "1 to 100"):
                    sql(f"{verb}_{scope}", user="jf_admin", **given)


def test_a_change_names_what_it_changes_and_leaves_the_rest(sql: Sql) -> None:
    limit(sql, "tenant", max_running=5, rate=2.5, burst=3, weight=4, max_waiting=9)
    say(sql, "pause", "tenant")
    row = limit(sql, "tenant", max_running=7.0, rate=None)
    assert (row["max_running"], row["rate"], row["burst"], row["weight"], row["max_waiting"]) == (7, None, None, 4, 9)
    assert row["paused_at"] is not None
    say(sql, "resume", "tenant")
    limit(sql, "tenant", max_running=None, weight=None, max_waiting=None)
    assert sql("list_limits", user="jf_admin") == []
    with refused("JF003", "no scope"):
        sql("list_limits", user="jf_admin", scope="job")


def test_a_list_says_how_much_of_each_is_used(sql: Sql) -> None:
    clock = sql.clock()
    sql.fill("a", 3)  # a limited task's lane is begun at a random tenant
    limit(sql, "queue", rate=4)
    limit(sql, "task", max_running=2)
    limit(sql, "tenant", weight=3)
    assert len(claim(sql, 1, queues=["default"], types=["t"], cursors=[""])) == 1
    clock.advance(seconds=0.125)
    rows = sql("list_limits", user="jf_admin")
    assert [(row["scope"], row["name"], row["running"], row["bucket"]) for row in rows] == [
        ("queue", "default", 1, 3.5), ("task", "t", 1, None), ("tenant", "a", 1, None),
    ]  # fmt: skip
    assert [row["scope"] for row in sql("list_limits", user="jf_admin", scope="task")] == ["task"]


def test_a_tenant_sees_its_own_limits_and_no_number_of_its_queue_or_task(sql: Sql) -> None:
    jobs = sql.fill("a", 3)
    for scope in SCOPES:
        limit(sql, scope, max_running=1, rate=0.01)
    limit(sql, "tenant", "b", max_running=1)
    assert len(sql.claim()) == 1
    app = sql.connect("jf_app", tenant="a")
    assert [(row["scope"], row["name"]) for row in app.execute("select * from jobforge.limits")] == [("tenant", "a")]
    waiting = next(job for job in jobs if sql.state(job) == "queued")
    told = {row["code"]: (row["says"], row["detail"]) for row in call(app, "why_job", job_id=waiting)}
    assert told["tenant_full"] == ("its tenant runs as many jobs as it may: 1", {"max_running": 1})
    assert told["queue_full"] == ("its queue runs as many jobs as it may", {"max_running": None})
    assert told["task_full"] == ("its task runs as many jobs as it may", {"max_running": None})
    admin = {row["code"]: row["says"] for row in sql("why_limited", user="jf_admin", job_id=waiting)}
    assert admin["task_full"] == "its task runs as many jobs as it may: 1"
    for scope in SCOPES:
        limit(sql, scope, max_running=None)
    codes = [row["code"] for row in sql("why_limited", user="jf_admin", job_id=waiting)]
    assert codes == ["tenant_rate", "task_rate", "queue_rate"]
    assert sql("why_limited", tenant="b", job_id=waiting) == []


def test_what_is_lifted_wakes_the_workers_of_all_queues(sql: Sql) -> None:
    sql.enqueue("a", queue="mail")
    listener = sql.asleep("mail")
    for scope in SCOPES:
        limit(sql, scope, max_running=5)
        say(sql, "pause", scope)
        say(sql, "resume", scope)
    assert [note.payload for note in listener.notifies(timeout=5, stop_after=6)] == ["mail"] * 6


def test_a_claim_goes_on_behind_those_that_others_hold(sql: Sql) -> None:
    """With a limit on anybody it looked at the first tenants only, and ended empty while twenty jobs waited."""
    sql("limit_tenant", user="jf_admin", tenant_id="zz", change={"max_running": 5})
    for tenant in ("b1", "b2"):
        sql.enqueue(tenant)
    holder = sql.connect("jf_worker")
    assert len(call(holder, "claim_jobs", worker_id=uuid.uuid4(), queues=["default"], types=["t"], limit=2)) == 2
    for n in range(20):
        sql.enqueue(f"c{n:02}")
    assert [len(sql.claim(1, cursors=["b0"])) for _ in range(20)] == [1] * 20


def test_a_cap_that_is_taken_away_and_set_again_is_counted_anew(sql: Sql) -> None:
    """Between the two claims do not wait for each other, so what a session had noted of its runs misses some."""
    clock = sql.clock()

    def limit(**change: object) -> None:
        sql("limit_tenant", user="jf_admin", tenant_id="a", change=change)

    limit(max_running=100, weight=2)
    for _ in range(4):
        sql.fill("a", 2)
        for run in sql.claim(10):
            sql.complete(run)
        clock.advance(seconds=90)
    assert sql.look("select counted from jobforge.limits") == [{"counted": True}]
    limit(max_running=None)
    sql.fill("a", 30)
    other = sql.connect("jf_worker")
    assert len(call(other, "claim_jobs", worker_id=uuid.uuid4(), queues=["default"], types=["t"], limit=5)) == 5
    limit(max_running=3)
    assert sql.look("select counted, since, settled_xid from jobforge.limits") == [
        {"counted": False, "since": None, "settled_xid": None}
    ]
    other.commit()
    assert sql.claim(10) == []
