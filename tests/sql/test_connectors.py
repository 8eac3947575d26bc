"""Connectors in SQL: who may say what, whom the token of a run lets read, and how long a rotated secret lasts."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from jobforge_sa.tenant import TenantKey
from tests.support import Row, Sql, call, refused

ADMIN = "jf_admin"
TYPE = "connector.http.request"


def say(sql: Sql, tenant: str = "a", type_: str | None = None, **config: Any) -> None:
    sql("set_connector", user=ADMIN, tenant_id=tenant, config=Json(config), type=type_)


def keep(sql: Sql, name: str = "s", value: str = "sealed text", tenant: str = "a", **options: Any) -> Row:
    given = {"kind": "sealed"} | options
    (row,) = sql("set_secret", user=ADMIN, tenant_id=tenant, name=name, value=value, **given)
    return row


def running(sql: Sql, tenant: str = "a") -> Row:
    sql("heartbeat_jobs", worker_id=sql.worker)
    job = sql.enqueue(tenant)
    (run,) = [one for one in sql.claim(100) if one["job_id"] == job]
    return run


def ground(
    sql: Sql, run: Row, *names: str, user: str = "jf_app", tenant: str | None = None, **other: Any
) -> Row | None:
    """What a run is given, decoded; None: nothing."""
    token = {"job_id": run["job_id"], "lease_token": run["lease_token"]} | other
    rows = sql("connector_of_run", user=user, tenant=tenant, type=TYPE, secrets=list(names), **token)
    return rows[0] if rows else None


def value_of(row: Row | None, name: str = "s") -> tuple[str | None, str | None]:
    """A secret's value, and the one before."""
    found = row["secrets"].get(name) if row else None
    before = found["previous"] if found else None
    return found and found["value"], before and before["value"]


# --- configuration -----------------------------------------------------------------------------------------


def test_a_connectors_own_settings_go_over_those_of_all_key_by_key(sql: Sql) -> None:
    say(sql, allow_hosts=["a.example"], timeout=10)
    say(sql, type_=TYPE, timeout=3)
    say(sql, type_="connector.other", timeout=1)
    say(sql, "b", timeout=99)
    run = running(sql)
    found = ground(sql, run)
    assert found is not None
    assert found["config"] == {"allow_hosts": ["a.example"], "timeout": 3}
    assert found["secrets"] == {}
    assert abs(found["at"] - dt.datetime.now(dt.UTC)) < dt.timedelta(seconds=30)
    told = [(row["tenant_id"], row["type"]) for row in sql("list_connectors", user=ADMIN)]
    assert told == [("a", ""), ("a", TYPE), ("a", "connector.other"), ("b", "")]
    assert [row["type"] for row in sql("list_connectors", user=ADMIN, tenant_id="b")] == [""]
    (gone,) = sql("drop_connector", user=ADMIN, tenant_id="a", type=TYPE)
    assert gone["config"] == {"timeout": 3}
    assert sql("drop_connector", user=ADMIN, tenant_id="a", type=TYPE) == []
    assert (ground(sql, run) or {})["config"]["timeout"] == 10


def test_nothing_said_is_an_empty_configuration(sql: Sql) -> None:
    found = ground(sql, running(sql), "s")
    assert found is not None
    assert (found["config"], found["secrets"]) == ({}, {})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"allow_host": []}, "no setting 'allow_host'"), ({"allow_networks": ["10.0.0.0/8"]}, "allow_networks"),
        ({"allow_hosts": "x"}, "allow_hosts"), ({"ports": ["443"]}, "ports"), ({"timeout": 0}, "timeout"),
        ({"timeout": "3"}, "timeout"), ({"enabled": 1}, "enabled"), ({"max_bytes": -1}, "max_bytes"),
        ({"deny_hosts": [1]}, "deny_hosts"), ({"max_bytes": 1e12}, "max_bytes"), ({"deny_hosts": None}, "deny_hosts"),
        ([], "a JSON object"), ({"deny_hosts": ["x" * 70_000]}, "65536 bytes"),
    ],
)  # fmt: skip
def test_a_configuration_that_a_handler_would_trip_over_is_refused(sql: Sql, config: Any, words: str) -> None:
    with refused("JF003", words):
        sql("set_connector", user=ADMIN, tenant_id="a", config=Json(config))
    assert sql("list_connectors", user=ADMIN) == []


# --- secrets -----------------------------------------------------------------------------------------------


def test_a_rotated_secret_lasts_as_long_as_the_databases_clock_says(sql: Sql) -> None:
    clock = sql.clock()
    keep(sql, value="one", hosts=["api.example.com"])
    row = keep(sql, value="two", overlap=dt.timedelta(hours=1))
    assert (row["hosts"], row["previous_until"]) == (["api.example.com"], clock.now() + dt.timedelta(hours=1))
    assert value_of(ground(sql, running(sql), "s")) == ("two", "one")
    clock.advance(minutes=59, seconds=59)
    assert value_of(ground(sql, running(sql), "s")) == ("two", "one")
    assert sql("list_secrets", user=ADMIN)[0]["previous_until"] is not None
    clock.advance(seconds=1)
    assert value_of(ground(sql, running(sql), "s")) == ("two", None)
    assert sql("list_secrets", user=ADMIN)[0]["previous_until"] is None

    keep(sql, value="three", overlap=dt.timedelta(hours=1))
    keep(sql, value="four", hosts=[])
    found = ground(sql, running(sql), "s")
    assert value_of(found) == ("four", None)
    assert found is not None
    assert found["secrets"]["s"]["hosts"] == []
    kept = sql.look("select previous_kind, previous_value, previous_until from jobforge.connector_secrets")
    assert kept == [{"previous_kind": None, "previous_value": None, "previous_until": None}]


def test_only_the_secrets_that_are_named_are_given(sql: Sql) -> None:
    keep(sql, "s")
    keep(sql, "other", "secret too", kind="reference")
    found = ground(sql, running(sql), "other", "none")
    assert found is not None
    assert found["secrets"].keys() == {"other"}
    assert found["secrets"]["other"] == {"kind": "reference", "value": "secret too", "hosts": [], "previous": None}
    with refused("JF003", "20 secrets at most"):
        ground(sql, running(sql), *(f"s{n}" for n in range(21)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "-x"}, "no name for a secret"), ({"name": None}, "no name"),
        ({"kind": "plain"}, "sealed or a reference"),
        ({"value": ""}, "1 to 65536 bytes"), ({"value": "s3cr3t" * 11_000}, "1 to 65536 bytes"),
        ({"hosts": ["x"] * 101}, "100 hosts"), ({"hosts": [None]}, "100 hosts"), ({"tenant_id": ""}, "a tenant has"),
        ({"overlap": dt.timedelta(days=366)}, "p_overlap"), ({"overlap": dt.timedelta(days=-1)}, "p_overlap"),
    ],
)  # fmt: skip
def test_what_is_no_secret_is_refused_without_a_word_of_it(sql: Sql, wrong: Row, words: str) -> None:
    given: Row = {"tenant_id": "a", "name": "s", "kind": "sealed", "value": "s3cr3t"} | wrong
    with pytest.raises(psycopg.Error, match=words) as caught:
        sql("set_secret", user=ADMIN, **given)
    assert caught.value.sqlstate == "JF003"
    said = (caught.value.diag.message_hint, caught.value.diag.message_detail, caught.value.diag.context)
    assert "s3cr3t" not in f"{caught.value} {said}"


def test_a_secret_is_dropped_with_the_one_before(sql: Sql) -> None:
    keep(sql, value="one")
    keep(sql, value="two", overlap=dt.timedelta(hours=1))
    (row,) = sql("drop_secret", user=ADMIN, tenant_id="a", name="s")
    assert not {"value", "previous_value"} & row.keys()
    assert sql.look("select * from jobforge.connector_secrets") == []
    assert sql("drop_secret", user=ADMIN, tenant_id="a", name="s") == []


# --- the token is the right --------------------------------------------------------------------------------


def test_a_live_runs_token_reads_its_own_tenants_secrets_and_no_others(sql: Sql) -> None:
    keep(sql, value="a's")
    keep(sql, value="b's", tenant="b")
    run = {tenant: running(sql, tenant) for tenant in "ab"}
    for user in ("jf_app", "jf_worker"):
        for tenant in "ab":
            assert value_of(ground(sql, run[tenant], "s", user=user)) == (f"{tenant}'s", None)
            assert value_of(ground(sql, run[tenant], "s", user=user, tenant=tenant)) == (f"{tenant}'s", None)
        assert ground(sql, run["a"], "s", user=user, tenant="b") is None
        assert ground(sql, run["b"], "s", user=user, tenant="a") is None


def test_a_wrong_token_reads_nothing(sql: Sql) -> None:
    keep(sql)
    run, other = running(sql), running(sql, "b")
    for token in (uuid.uuid4(), other["lease_token"], uuid.UUID(int=0), None):
        assert ground(sql, run, "s", lease_token=token) is None
    assert ground(sql, run, "s", job_id=other["job_id"]) is None
    assert ground(sql, run, "s", job_id=uuid.uuid4()) is None


def test_a_token_whose_run_is_over_reads_nothing(sql: Sql) -> None:
    clock = sql.clock()
    keep(sql)
    ended = running(sql)
    sql.complete(ended)
    assert ground(sql, ended, "s") is None

    late = running(sql)
    assert ground(sql, late, "s") is not None
    clock.advance(hours=2)
    sql("heartbeat_jobs", worker_id=sql.worker, runs=[late["lease_token"]])
    assert ground(sql, late, "s") is None  # past its deadline, though nobody has taken it back yet
    sql("rescue_expired_jobs")

    orphan = running(sql)
    clock.advance(minutes=10)
    assert ground(sql, orphan, "s") is None  # its worker is not alive
    sql("heartbeat_jobs", worker_id=sql.worker, runs=[orphan["lease_token"]])
    assert ground(sql, orphan, "s") is not None


def test_under_signed_tenancy_only_the_runs_own_tenant_reads(sql: Sql) -> None:
    keep(sql)
    keep(sql, tenant="b", value="b's")
    key = TenantKey.generate("k")
    owner = sql.session("postgres")
    with owner.transaction():
        owner.execute("set local role jobforge_owner")
        owner.execute("select jobforge.add_tenant_key(%s, %s), jobforge.use_tenancy('signed')", [key.id, key.secret])
    sql("heartbeat_jobs", worker_id=sql.worker)
    with sql.session("jf_app").transaction():
        sql.session("jf_app").execute("select set_config('jobforge.tenant_token', %s, true)", [key.token("a")])
        call(sql.session("jf_app"), "enqueue_job", type="t")
    run = sql.claim_one()

    def asked(token: str) -> list[Row]:
        with sql.session("jf_app").transaction():
            sql.session("jf_app").execute("select set_config('jobforge.tenant_token', %s, true)", [token])
            return call(
                sql.session("jf_app"), "connector_of_run", job_id=run["job_id"], lease_token=run["lease_token"],
                type=TYPE, secrets=["s"],
            )  # fmt: skip

    assert value_of(asked(run["tenant_token"])[0]) == ("sealed text", None)
    assert asked(key.token("b")) == []
    with refused("JF006"):
        asked(TenantKey("k", bytes(32)).token("a"))
    assert (
        ground(sql, run, "s", user="jf_app", tenant="b") is not None
    )  # a plain name says nothing; the token alone does


SECRETS = ("jobforge.connector_secrets", "value", "previous_value", "hosts")


@pytest.mark.parametrize("user", ["jf_app", "jf_worker", "jf_admin", "jf_one", "jf_stranger"])
def test_nobody_reads_or_writes_the_table_of_secrets(sql: Sql, user: str) -> None:
    keep(sql)
    table, *columns = SECRETS
    for column in ["*", "1", "count(*)", *columns]:
        connection = sql.connect(user, tenant="a")
        with refused("42501"):
            connection.execute(f"select {column} from {table}".encode())
        connection.close()
    assert json.dumps(sql("list_secrets", user=ADMIN), default=str).count("sealed text") == 0


@pytest.mark.parametrize("user", ["jf_app", "jf_worker", "jf_stranger"])
def test_only_administrators_say_what_connectors_may_and_keep_secrets(sql: Sql, user: str) -> None:
    calls: dict[str, Row] = {
        "set_connector": {"tenant_id": "a", "config": Json({})}, "drop_connector": {"tenant_id": "a"},
        "list_connectors": {}, "list_secrets": {}, "drop_secret": {"tenant_id": "a", "name": "s"},
        "set_secret": {"tenant_id": "a", "name": "s", "kind": "sealed", "value": "x"},
    }  # fmt: skip
    for function, arguments in calls.items():
        with refused("42501"):
            sql(function, user=user, **arguments)
    with refused("42501"):
        sql.look("select * from jobforge.connectors", user=user)


def test_an_administrator_reads_no_secret_by_a_token_either(sql: Sql) -> None:
    keep(sql)
    run = running(sql)
    with refused("42501"):
        ground(sql, run, "s", user=ADMIN)


# --- purge, count, export ----------------------------------------------------------------------------------


def test_a_purge_takes_configuration_and_secrets_of_the_tenant_alone(sql: Sql) -> None:
    for tenant in "ab":
        say(sql, tenant, timeout=3)
        keep(sql, tenant=tenant)
        sql.enqueue(tenant)

    def kept(tenant: str) -> Row:
        rows = sql("count_tenant", user=ADMIN, tenant_id=tenant)
        return {row["relation"]: row["rows"] for row in rows if row["relation"].startswith("connector")}

    assert kept("a") == {"connectors": 1, "connector_secrets": 1}
    assert [sql("purge_tenant", user=ADMIN, tenant_id="a")[0]["purge_tenant"] for _ in range(2)] == [1, 0]
    assert kept("a") == {"connectors": 0, "connector_secrets": 0}
    assert kept("b") == {"connectors": 1, "connector_secrets": 1}


def test_what_a_run_needs_is_found_by_key_beside_many_others(sql: Sql) -> None:
    """As many tenants as there may be: the run of one of them reads a handful of pages."""
    keep(sql)
    say(sql, timeout=3)
    run = running(sql)
    owner = sql.connect("postgres")
    owner.execute("set local role jobforge_owner")
    owner.execute(
        "insert into jobforge.connector_secrets select 't' || n, 's', 'sealed', repeat('x', 100), '{}', null, null, "
        "null, now() from generate_series(1, 20000) n"
    )
    owner.execute("insert into jobforge.connectors select 't' || n, '', '{}', now() from generate_series(1, 20000) n")
    owner.commit()
    values = [run["job_id"], run["lease_token"], TYPE]
    explain = "explain (analyze, buffers, format json) select * from jobforge.connector_of_run(%s, %s, %s, '{s}')"
    for _ in range(2):  # the first one reads the catalog
        (plan,) = sql.look(explain, *values)[0].values()
    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 60
