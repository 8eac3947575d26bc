"""Signed tenancy: whoever can run SQL can set any setting, and still is nobody but the tenant whose token it has."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.types.json import Json

from jobforge_sa.tenant import TenantKey
from tests.security.guard import Attack
from tests.support import Connection, call, item, refused

KEY = TenantKey.generate("k1")
STRANGE = ["a", "a.b.c", ".", "ü", "\U0001f600", "x" * 200, "a'b", "%", " "]


@pytest.fixture
def signed(attack: Attack) -> Attack:
    """One job of each of two tenants, and tenancy is signed."""
    attack.enqueue("a")
    attack.enqueue("b")
    add_key(attack, KEY)
    attack.owner("select jobforge.use_tenancy('signed')")
    return attack


def add_key(attack: Attack, key: TenantKey) -> None:
    attack.owner("select jobforge.add_tenant_key(%s, %s)", key.id, key.secret)


def become(connection: Connection, token: str) -> None:
    connection.execute("select set_config('jobforge.tenant_token', %s, true)", [token])


def seen(connection: Connection) -> set[str]:
    """The tenants whose jobs are shown."""
    return {row["tenant_id"] for row in connection.execute("select tenant_id from jobforge.jobs").fetchall()}


def tenants_of(signed: Attack, token: str) -> set[str]:
    with signed.session("jf_app").transaction():
        become(signed.session("jf_app"), token)
        return seen(signed.session("jf_app"))


# --- a token is needed, and is enough ----------------------------------------------------------------------


def test_with_a_token_a_tenant_reads_and_writes_its_own(signed: Attack) -> None:
    app = signed.connect("jf_app")
    become(app, KEY.token("a"))
    assert seen(app) == {"a"}
    (row,) = call(app, "enqueue_job", type="t")
    app.commit()
    assert signed.job(row["id"])["tenant_id"] == "a"


def test_the_other_ways_to_name_a_tenant_count_for_nothing(signed: Attack) -> None:
    app = signed.connect("jf_app", tenant="a")
    app.execute("""select set_config('request.jwt.claims', '{"app_metadata": {"tenant_id": "a"}}', true)""")
    assert seen(app) == set()
    assert call(app, "list_jobs") == []
    with refused("JF001", "jobforge.tenant_token"):
        call(app, "enqueue_job", type="t")


def test_case_029_signed_an_injected_setting_switches_to_no_other_tenant(signed: Attack) -> None:
    app = signed.connect("jf_app")
    become(app, KEY.token("a"))
    app.execute("""select set_config('request.jwt.claims', '{"app_metadata": {"tenant_id": "b"}}', true)""")
    assert seen(app) == {"a"}
    with refused("JF002", "different tenants"), app.transaction():
        app.execute("select set_config('jobforge.tenant_id', 'b', true)")
        seen(app)
    with refused("JF002"), app.transaction():
        call(app, "enqueue_job", type="t", tenant_id="b")
    assert seen(app) == {"a"}


@pytest.mark.parametrize("tenant", STRANGE)
def test_a_token_takes_every_tenant_as_it_stands(signed: Attack, tenant: str) -> None:
    app = signed.connect("jf_app")
    become(app, KEY.token(tenant))
    assert call(app, "current_tenant")[0]["current_tenant"] == tenant


def test_a_token_dies_with_its_transaction_and_a_savepoint_restores_it(signed: Attack) -> None:
    app = signed.connect("jf_app")
    become(app, KEY.token("a"))
    app.execute("savepoint s")
    become(app, KEY.token("b"))
    assert seen(app) == {"b"}
    app.execute("rollback to s")
    assert seen(app) == {"a"}
    app.commit()
    assert seen(app) == set()


# --- case 30: what is no token -----------------------------------------------------------------------------


def forged() -> Iterator[tuple[str, str]]:
    kid, expires, mac, tenant = KEY.token("a").split(".")
    later, past = str(int(expires) + 1), str(int(time.time()) - 1)
    body = f"{kid}.{expires}.{mac}"
    yield "another tenant", f"{body}.b"
    yield "a longer tenant", f"{body}.ab"
    yield "no tenant", f"{body}."
    yield "a cut token", body
    yield "stretched", f"{kid}.{later}.{mac}.{tenant}"
    yield "expired", KEY.token("a", lifetime=-1)
    yield "expired at 0", f"{kid}.0.{sign(f'{kid}.0.a')}.a"
    yield "expired, stretched back", f"{kid}.{past}.{mac}.{tenant}"
    yield "another key", TenantKey.generate("k1").token("a")
    yield "an unknown key", TenantKey.generate("k2").token("a")
    yield "no key", f".{expires}.{mac}.{tenant}"
    yield "no signature", f"{kid}.{expires}..{tenant}"
    yield "half a signature", f"{kid}.{expires}.{mac[:32]}.{tenant}"
    yield "a signature in capitals", f"{kid}.{expires}.{mac.upper()}.{tenant}"
    yield "a signature and more", f"{kid}.{expires}.{mac}0.{tenant}"
    yield "another signature", f"{kid}.{expires}.{'0' * 64}.{tenant}"
    for strange in ("-1", "1e9", "9" * 12, "9" * 400, " 1", "+1", "0x7fffffff", "NaN", "infinity", "٣", ""):
        yield f"expires {strange[:12]!r}", f"{kid}.{strange}.{sign(f'{kid}.{strange}.a')}.a"
    for garbage in ("x", ".", "...", "....", "%", "' or 1=1 --", "a" * 100_000, "." * 100_000, "\U0001f600"):
        yield f"garbage {garbage[:12]!r}", garbage


def sign(text: str) -> str:
    return hmac.new(KEY.secret, text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize("token", [token for _, token in forged()], ids=[name for name, _ in forged()])
def test_case_030_a_token_that_is_none_is_refused_and_shows_nothing(signed: Attack, token: str) -> None:
    app = signed.connect("jf_app")
    become(app, token)
    for statement in (
        "select * from jobforge.jobs",
        "select * from jobforge.all_jobs",
        "select * from jobforge.list_jobs()",
        "select * from jobforge.enqueue_job('t')",
        "select * from jobforge.complete_jobs('[]')",
    ):
        with refused("JF006") as _, app.transaction():
            app.execute(statement.encode())


def test_an_empty_token_is_no_tenant(signed: Attack) -> None:
    app = signed.connect("jf_app")
    become(app, "")
    assert seen(app) == set()
    with refused("JF001"):
        call(app, "enqueue_job", type="t")


def test_a_token_that_expires_in_a_transaction_holds_until_its_end(signed: Attack) -> None:
    """So that a long import does not lose its tenant halfway. It is judged by when the transaction began."""
    app = signed.connect("jf_app")
    app.execute("select 1")  # the transaction begins
    token = KEY.token("a", lifetime=1)
    become(app, token)
    app.execute("select pg_sleep(1.2)")
    assert seen(app) == {"a"}
    app.commit()
    become(app, token)
    with refused("JF006", "expired"):
        seen(app)


# --- keys and the switch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["jf_app", "jf_worker", "jf_admin", "jf_one", "jf_stranger"])
@pytest.mark.parametrize(
    "statement",
    [
        "select * from jobforge.tenant_keys",
        "select key_id from jobforge.tenant_keys",
        "select * from jobforge.settings",
        "update jobforge.settings set tenancy = 'plain'",
        "delete from jobforge.settings",
        "insert into jobforge.tenant_keys values ('x', '', '', now())",
        "select jobforge.add_tenant_key('x', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx')",
        "select jobforge.retire_tenant_key('k1')",
        "select jobforge.use_tenancy('plain')",
        "select jobforge.new_token('b', now() + interval '1 hour')",
        "select jobforge.token_tenant('x')",
        "select jobforge.token_mac(null, 'x')",
        "create or replace function jobforge.current_tenant() returns text language sql as $$ select 'b' $$",
    ],
)
def test_nobody_but_the_owner_reaches_the_keys_and_the_switch(signed: Attack, user: str, statement: str) -> None:
    with refused("42501"):
        signed.session(user).execute(statement.encode())


def test_keys_are_rotated_without_a_gap(signed: Attack) -> None:
    new = TenantKey.generate("k2")
    add_key(signed, new)
    assert tenants_of(signed, KEY.token("a")) == tenants_of(signed, new.token("a")) == {"a"}
    signed.owner("select jobforge.retire_tenant_key('k1', now() + interval '1 hour')")
    assert tenants_of(signed, KEY.token("a")) == {"a"}
    signed.owner("select jobforge.retire_tenant_key('k1')")
    assert tenants_of(signed, new.token("b")) == {"b"}
    with refused("JF006"):
        tenants_of(signed, KEY.token("a"))
    with refused("JF008", "last key"):
        signed.owner("select jobforge.retire_tenant_key('k2')")
    assert tenants_of(signed, new.token("b")) == {"b"}


def test_a_retired_key_stays_retired_whatever_is_said_later(signed: Attack) -> None:
    add_key(signed, TenantKey.generate("k2"))
    signed.owner("select jobforge.retire_tenant_key('k1')")
    signed.owner("select jobforge.retire_tenant_key('k1', now() + interval '1 year')")
    with refused("JF006"):
        tenants_of(signed, KEY.token("a"))


def test_the_last_two_keys_cannot_be_retired_at_the_same_time(signed: Attack) -> None:
    add_key(signed, TenantKey.generate("k2"))
    one, other = signed.migrator(), signed.migrator()
    call(one, "retire_tenant_key", key_id="k1")
    rival = signed.waits(other, lambda: call(other, "retire_tenant_key", key_id="k2"))
    one.commit()
    with refused("JF008", "last key"):
        rival.result(timeout=10)


def test_signed_tenancy_needs_a_key_and_keys_have_their_shape(attack: Attack) -> None:
    with refused("JF008", "needs a key"):
        attack.owner("select jobforge.use_tenancy('signed')")
    for wrong in ("", "SIGNED", "none", None):
        with refused("JF003"):
            attack.owner("select jobforge.use_tenancy(%s)", wrong)
    for key_id in ("", "a.b", "a b", "x" * 41, "ü", "k\n", None):
        with refused("JF003"):
            attack.owner("select jobforge.add_tenant_key(%s, %s)", key_id, b"x" * 32)
    for secret in (b"", b"x" * 31, None):
        with refused("JF003", "32 bytes"):
            attack.owner("select jobforge.add_tenant_key('k', %s)", secret)
    add_key(attack, KEY)
    with refused("JF003", "already"):
        add_key(attack, KEY)


@pytest.mark.parametrize("length", [32, 63, 64, 65, 200])
def test_secrets_of_any_length_sign_as_hmac_does(signed: Attack, length: int) -> None:
    key = TenantKey("long", bytes(range(256))[:length] if length < 200 else bytes(range(200)))
    add_key(signed, key)
    assert tenants_of(signed, key.token("b")) == {"b"}


def test_a_switch_is_seen_at_once_by_sessions_that_have_planned_already(signed: Attack) -> None:
    app = signed.session("jf_app")

    def look() -> set[str]:
        with app.transaction():
            app.execute("select set_config('jobforge.tenant_id', 'a', true)")
            return {row["tenant_id"] for row in app.execute("select * from jobforge.jobs", prepare=True).fetchall()}

    for _ in range(7):
        assert look() == set()
    signed.owner("select jobforge.use_tenancy('plain')")
    for _ in range(7):
        assert look() == {"a"}
    signed.owner("select jobforge.use_tenancy('signed')")
    assert look() == set()


def test_without_its_row_the_setting_means_signed(signed: Attack) -> None:
    """Closed, where something got lost."""
    signed.dba("delete from jobforge.settings")
    try:
        app = signed.connect("jf_app", tenant="a")
        assert seen(app) == set()
        app.rollback()
        assert call(app, "schema_version")[0]["tenancy"] == "signed"
        become(app, KEY.token("a"))
        assert seen(app) == {"a"}
    finally:
        signed.dba("insert into jobforge.settings (tenancy) values ('plain')")


# --- workers and administrators ----------------------------------------------------------------------------


def test_each_claimed_job_brings_a_token_of_its_tenant_good_for_the_lease(signed: Attack) -> None:
    for run in signed.claim():
        app = signed.connect("jf_app")
        become(app, run["tenant_token"])
        assert seen(app) == {run["tenant_id"]}
        assert int(run["tenant_token"].split(".")[1]) >= run["deadline"].timestamp()
        (row,) = call(app, "complete_jobs", results=Json([item(run)]))
        assert row["answer"] == "done"
        app.commit()


def test_a_token_ends_no_run_of_another_tenant(signed: Attack) -> None:
    runs = {run["tenant_id"]: run for run in signed.claim()}
    app = signed.connect("jf_app")
    become(app, KEY.token("a"))
    (row,) = call(app, "complete_jobs", results=Json([item(runs["b"])]))
    assert row["answer"] == "lost"
    (row,) = call(app, "heartbeat_job", job_id=runs["b"]["job_id"], lease_token=runs["b"]["lease_token"])
    assert row["held"] is False


def test_a_worker_completes_in_batches_without_a_token(signed: Attack) -> None:
    answers = signed("complete_jobs", results=Json([item(run) for run in signed.claim()]))
    assert [row["answer"] for row in answers] == ["done", "done"]


def test_an_administrator_acts_for_a_tenant_without_knowing_a_key(signed: Attack) -> None:
    admin = signed.connect("jf_admin")
    call(admin, "act_for", tenant_id="b")
    assert {row["tenant_id"] for row in call(admin, "list_jobs")} == {"b"}
    (row,) = call(admin, "enqueue_job", type="t")
    admin.commit()
    assert signed.job(row["id"])["tenant_id"] == "b"
    (row,) = signed("enqueue_job_for", user="jf_admin", tenant_id="a", type="t")
    assert signed.job(row["id"])["tenant_id"] == "a"


def test_under_plain_tenancy_claims_bring_no_token(attack: Attack) -> None:
    attack.enqueue()
    assert attack.claim_one()["tenant_token"] is None


def test_a_token_says_nothing_in_an_error(signed: Attack) -> None:
    app = signed.connect("jf_app")
    become(app, KEY.token("a") + "x")
    with pytest.raises(psycopg.Error) as caught:
        seen(app)
    assert KEY.token("a").split(".")[2] not in str(caught.value)
