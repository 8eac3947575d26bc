"""`jobforge replay …`: a job as a sealed file, run again without effect, enqueued again."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobforge_sa.ops.replay.bundle import sealed
from jobforge_sa.tenant import TenantKey
from tests.acceptance import replay_app
from tests.acceptance.cli import Finished, inside, jobforge, refused
from tests.support import Row, Sql, one_database

APP = "tests.acceptance.replay_app:forge"
KEY = "k" * 32


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Sql]:
    with one_database(admin_url, template) as database, Sql(database) as sql:
        sql.session("postgres").execute(
            "create table notes (note text); create table later (n int unique deferrable initially deferred); "
            "grant all on notes, later to public"
        )
        yield sql


@pytest.fixture
def sql(shared: Sql) -> Iterator[Sql]:
    yield shared
    shared.clean()
    assert shared.look("select * from notes union all select n::text from later") == []


def ran(
    sql: Sql,
    payload: dict[str, Any],
    outcome: str = "succeeded",
    *,
    type_: str = "act",
    tenant: str = "acme",
    **more: Any,
) -> uuid.UUID:
    """A job whose only run is on record."""
    trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    job = sql.enqueue(tenant, type_, payload, max_attempts=1, timeout="90 s", trace=trace)
    sql.complete(sql.claim_one(types=[type_]), outcome, **more)
    return job


def call(sql: Sql, *arguments: str, user: str = "jf_one", status: int = 0, **variables: Any) -> Finished:
    return inside(sql.database.url(user), "replay", *arguments, status=status, **variables)


def exported(sql: Sql, job: uuid.UUID, file: Path, *more: str, **variables: Any) -> Path:
    call(sql, "export", str(job), *more, "--tenant", "acme", "--out", str(file), "--force", **variables)
    return file


def dry(sql: Sql, file: Path, status: int, **variables: Any) -> list[str]:
    words = ("replay", "run", str(file), APP, "--dry-run", "--json")
    url = sql.database.url("jf_one")
    done = inside(url, *words, status=None, **variables)
    if status == 0 and "refused: a database connection of its own" in done.stdout:
        # perhaps of a thread that another test has left behind: a command has a process to itself
        done = jobforge(url, *words, **variables)
    found = json.loads(done.stdout)
    assert (done.returncode, found["same"]) == (status, status == 0), done
    return list(found["differences"])


def jobs(sql: Sql) -> list[Row]:
    return sql.look(
        "select id, tenant_id, type, parent_id, cause, payload, state from jobforge.all_jobs order by id",
        user="jf_admin",
    )


# -- the file --------------------------------------------------------------------------


def test_a_bundle_holds_the_run_and_no_secret_and_is_the_same_each_time(sql: Sql, tmp_path: Path) -> None:
    payload = {"to": "ann", "password": "hunter2", "url": "https://u:hunter2@h/", "iban": "DE1", "author": "Bo"}
    job = ran(sql, payload, "failed", type_="sign_in", error={"type": "ValueError", "message": "token=hunter2"})

    file = exported(sql, job, tmp_path / "b.json", APP, "--redact", "iban")
    found = json.loads(file.read_text())

    assert file.stat().st_mode & 0o777 == 0o600
    assert "hunter2" not in file.read_text()
    assert found["job"]["payload"] == {
        "to": "ann", "password": "***", "url": "https://u:***@h/", "iban": "***", "author": "Bo",
    }  # fmt: skip
    assert found["redacted"]["places"] == [
        "/job/payload/password", "/job/payload/url", "/job/payload/iban", "/attempts/0/error/message",
    ]  # fmt: skip
    assert (found["origin"]["tenant_id"], found["origin"]["job_id"]) == ("acme", str(job))
    assert [(one["outcome"], one["error"]["type"]) for one in found["attempts"]] == [("failed", "ValueError")]
    assert {"python", "jobforge_sa", "sqlalchemy"} <= found["versions"].keys()
    assert len(found["payload_schema"]) == 64
    password = sql.database.url("jf_one").password
    assert not password or password not in file.read_text()
    assert exported(sql, job, tmp_path / "c.json", APP, "--redact", "iban").read_text() == file.read_text()
    refused(call(sql, "export", str(job), "--tenant", "acme", "--out", str(file), status=2), "--force")
    refused(call(sql, "export", str(job), "--tenant", "globex", status=2), str(job))
    assert call(sql, "export", str(job), APP, "--redact", "iban").stdout == file.read_text()  # an administrator


def test_a_bundle_that_was_changed_or_is_not_ours_is_refused(sql: Sql, tmp_path: Path) -> None:
    file = exported(sql, ran(sql, {"do": "x", "n": 1}, result={"n": 1}), tmp_path / "b.json")
    text = file.read_text()
    for changed in (
        text.replace('"n": 1', '"n": 2', 1), text.replace('"acme"', '"evil"', 1), text + " ", text[:-1],
        text.replace('"do": "x"', '"do": "x", "do": "x"', 1), text.replace('"sha256": "', '"sha256": "0', 1), "[]",
        "[" * 100_000, "", text.replace("acme", "\u00e4cme", 1),
    ):  # fmt: skip
        file.write_text(changed)
        for verb in (("run", str(file), APP, "--dry-run"), ("enqueue", str(file))):
            refused(call(sql, *verb, status=2), "export it again")
    file.write_text(text.replace("replay/1", "replay/2", 1))
    refused(call(sql, "enqueue", str(file), status=2), "jobforge-replay/2", "jobforge-replay/1")
    refused(call(sql, "enqueue", str(tmp_path / "none"), status=2), "No such file")


def test_with_a_key_a_bundle_proves_who_made_it(sql: Sql, tmp_path: Path) -> None:
    job = ran(sql, {"do": "x"}, result={"n": 1})
    bare = exported(sql, job, tmp_path / "bare.json")
    signed = exported(sql, job, tmp_path / "signed.json", JOBFORGE_BUNDLE_KEY=KEY)

    assert KEY not in signed.read_text()
    assert dry(sql, signed, 0, JOBFORGE_BUNDLE_KEY=KEY) == []
    assert "not looked at" in call(sql, "run", str(signed), APP, "--dry-run").stderr
    refused(call(sql, "enqueue", str(bare), status=2, JOBFORGE_BUNDLE_KEY=KEY), "not signed")
    refused(call(sql, "enqueue", str(signed), status=2, JOBFORGE_BUNDLE_KEY=KEY[::-1] + "x"), "another key")
    refused(call(sql, "enqueue", str(signed), status=2, JOBFORGE_BUNDLE_KEY="short"), "openssl rand")


# -- run -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "do"), [("act", "commit"), ("act", "complete"), ("act_async", "x"), ("act_async", "complete")]
)
def test_a_dry_run_does_all_that_the_handler_does_and_keeps_nothing(
    sql: Sql, tmp_path: Path, type_: str, do: str
) -> None:
    job = ran(sql, {"do": do}, type_=type_, result={"n": 1})
    count = 2 if type_ == "act" else 1
    for _ in range(count):
        sql.enqueue("acme", "mail", parent_id=job)
    file = exported(sql, job, tmp_path / "b.json", APP)
    before = jobs(sql)
    ear = sql.asleep("default")

    assert dry(sql, file, 0) == []

    assert jobs(sql) == before
    assert list(ear.notifies(timeout=0.05)) == []
    assert "the same" in call(sql, "run", str(file), APP, "--dry-run").stdout


@pytest.mark.parametrize(
    ("do", "differences"),
    [
        ("commit", ["enqueued: 0 mail -> 2"]),
        ("connect", ["outcome", "error: none -> NetworkClosed", "refused: socket.getaddrinfo 192.0.2.1:443"]),
        ("swallow", ["refused: socket.getaddrinfo api.example.com:443"]),
        ("run", ["outcome", "error: none -> NetworkClosed", "refused: subprocess.Popen"]),
        ("fork", ["outcome", "error: none -> NetworkClosed", "refused: os.fork"]),
        ("spawn", ["outcome", "error: none -> NetworkClosed", "refused: multiprocessing.Process"]),
        ("database", ["outcome", "error: none -> NetworkClosed", "refused: a database connection of its own"]),
        ("exit", ["outcome: succeeded -> failed", "error: none -> SystemExit: 3"]),
        ("late", ["outcome", "error: none -> IntegrityError"]),
        ("driver commit", ["outcome", "error: none -> InvalidTextRepresentation: "]),
        ("driver rollback", ["outcome", "error: none -> ReadOnlySqlTransaction"]),
        ("commit in words", ["outcome", "error: none -> DataError"]),
    ],
)
def test_a_dry_run_says_how_it_ends_otherwise_and_lets_nothing_out(
    sql: Sql, tmp_path: Path, do: str, differences: list[str]
) -> None:
    file = exported(sql, ran(sql, {"do": do}, result={"n": 1}), tmp_path / "b.json")
    found = dry(sql, file, status=1)
    assert len(found) == len(differences), found
    for line, beginning in zip(found, differences, strict=True):
        assert line.startswith(beginning)
        assert "hunter2" not in line


def test_what_the_handler_left_behind_finds_the_network_closed_too(sql: Sql, tmp_path: Path) -> None:
    file, notes = exported(sql, ran(sql, {"do": "behind"}, result={"n": 1}), tmp_path / "b.json"), tmp_path / "notes"
    jobforge(sql.database.url("jf_one"), "replay", "run", str(file), APP, "--dry-run", REPLAY_APP_NOTES=str(notes))
    assert sorted(notes.read_text().splitlines()) == [
        "a thread of the handler: NetworkClosed", "a thread of the module: NetworkClosed", "atexit: NetworkClosed",
    ]  # fmt: skip


def test_a_connection_that_was_open_before_sends_nothing(
    sql: Sql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = exported(sql, ran(sql, {"do": "opened"}, result={"n": 1}), tmp_path / "b.json")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, server.accept()[0] as heard:
            monkeypatch.setattr(replay_app, "opened", [client])
            assert dry(sql, file, 1)[-1] == f"refused: socket.send 127.0.0.1:{port}"
            client.sendall(b"behind it")  # in a process that goes on
            assert heard.recv(100) == b"behind it"


def test_what_differs_is_told_by_place_and_an_error_by_its_type(sql: Sql, tmp_path: Path) -> None:
    file = exported(sql, ran(sql, {"do": "x"}, result={"n": 2, "gone": [1]}), tmp_path / "b.json")
    assert dry(sql, file, 1) == ["result/n: 2 -> 1", "result/gone: [1] -> nothing"]
    file = exported(sql, ran(sql, {"do": "exit"}, "failed", error={"type": "SystemExit"}), tmp_path / "b.json")
    assert dry(sql, file, 0) == []
    file = exported(sql, ran(sql, {"do": "exit"}, "failed", error={"type": "ValueError"}), tmp_path / "b.json")
    assert dry(sql, file, 1) == ["error: ValueError -> SystemExit: 3"]
    assert (
        dry(sql, exported(sql, ran(sql, {"do": "connect"}, type_="act_async"), tmp_path / "b.json"), 1)[0][:7]
        == "outcome"
    )


def test_a_child_with_a_key_is_there_already_and_may_be_missing(sql: Sql, tmp_path: Path) -> None:
    job = ran(sql, {"do": "commit", "key": "k"}, result={"n": 1})
    sql.enqueue("acme", "mail", parent_id=job, idempotency_key="k")
    sql.enqueue("acme", "mail", parent_id=job)
    assert dry(sql, exported(sql, job, tmp_path / "b.json"), 0) == []


def test_what_an_earlier_run_enqueued_is_not_the_last_ones(sql: Sql, tmp_path: Path) -> None:
    job = sql.enqueue("acme", "act", {"do": "commit"})
    for outcome in ("released", "succeeded"):
        run = sql.claim_one(types=["act"])
        for _ in range(2):
            sql.enqueue("acme", "mail", parent_id=job)
        sql.complete(run, outcome, **({"result": {"n": 1}} if outcome == "succeeded" else {}))
    assert dry(sql, exported(sql, job, tmp_path / "b.json"), 0) == []


def test_a_payload_without_its_secrets_comes_from_the_original_or_not_at_all(sql: Sql, tmp_path: Path) -> None:
    result = {"long": 7, "token": "hunter2"}
    job = ran(sql, {"password": "hunter2"}, type_="sign_in", result=result)
    file = exported(sql, job, tmp_path / "b.json")
    assert "hunter2" not in file.read_text()
    assert dry(sql, file, 0) == []

    sql.session("postgres").execute('update jobforge.jobs set payload = \'{"password": "x", "n": 1}\'')
    refused(call(sql, "run", str(file), APP, "--dry-run", status=2), "has changed")
    sql("purge_tenant", user="jf_admin", tenant_id="acme")
    for verb in (("run", str(file), APP, "--dry-run"), ("enqueue", str(file))):
        refused(call(sql, *verb, status=2), "no longer in the database")


def test_a_built_in_handler_is_not_rehearsed_and_can_be_run_again_for_good(sql: Sql, tmp_path: Path) -> None:
    job = ran(sql, {"url": "https://api.example.com/"}, "failed", type_="connector.http.request")
    file = exported(sql, job, tmp_path / "b.json")
    refused(
        call(sql, "run", str(file), APP, "--dry-run", status=2), "the token of a live lease", "jobforge replay enqueue"
    )
    call(sql, "enqueue", str(file))
    assert [row["cause"] for row in jobs(sql)] == [None, "replay"]


def test_what_cannot_be_replayed_is_said(sql: Sql, tmp_path: Path) -> None:
    job = sql.enqueue("acme", "act", {"do": "x"})
    waiting = exported(sql, job, tmp_path / "w.json")
    refused(call(sql, "run", str(waiting), APP, "--dry-run", status=2), "nothing to compare")
    refused(call(sql, "run", str(waiting), APP, status=2), "replay enqueue")
    sql.claim_one(types=["act"])
    running = exported(sql, job, tmp_path / "r.json")
    refused(call(sql, "run", str(running), APP, "--dry-run", status=2), "nothing to compare")
    other = exported(sql, ran(sql, {}, type_="t"), tmp_path / "o.json")
    refused(call(sql, "run", str(other), APP, "--dry-run", status=2), "no task 't'", "mail")


def test_payloads_that_are_huge_or_that_python_cannot_decode(sql: Sql, tmp_path: Path) -> None:
    job = ran(sql, {"do": "x", "many": ["word"] * 30_000}, result={"n": 1})
    assert dry(sql, exported(sql, job, tmp_path / "b.json"), 0) == []
    (row,) = sql.look(
        "select * from jobforge.enqueue_job_for('acme', 'act', ('{\"n\": ' || repeat('9', 5000) || '}')::json)",
        user="jf_admin",
    )
    sql.complete(sql.claim_one(types=["act"]), "failed", error={"type": "InvalidPayload"}, final=True)
    file = exported(sql, row["id"], tmp_path / "b.json")
    assert "9" * 30 not in file.read_text()
    assert dry(sql, file, 0) == []  # it is rejected as it was


# -- enqueue ---------------------------------------------------------------------------


def test_a_replay_is_linked_to_its_original_also_when_that_is_pruned(sql: Sql, tmp_path: Path) -> None:
    job = ran(sql, {"do": "x"}, result={"n": 1})
    file = exported(sql, job, tmp_path / "b.json")
    said = call(sql, "enqueue", str(file), user="jf_app").stdout
    *_, made = jobs(sql)
    assert said.startswith(f"{made['id']}  queued")
    assert (made["parent_id"], made["cause"], made["payload"]) == (job, "replay", {"do": "x"})

    sql("purge_tenant", user="jf_admin", tenant_id="acme")
    call(sql, "enqueue", str(file), user="jf_app")
    (again,) = jobs(sql)
    assert (again["parent_id"], again["cause"], again["payload"], again["type"]) == (job, "replay", {"do": "x"}, "act")


def test_another_tenant_or_database_takes_an_administrators_word(sql: Sql, tmp_path: Path) -> None:
    file = exported(sql, ran(sql, {"do": "x", "password": "p"}), tmp_path / "b.json")
    refused(call(sql, "enqueue", str(file), "--tenant", "globex", status=2), "--other-tenant")
    there = ("enqueue", str(file), "--tenant", "globex", "--other-tenant")
    refused(call(sql, *there, user="jf_app", status=2), "administrator")
    assert len(jobs(sql)) == 1
    call(sql, *there)
    made = jobs(sql)[-1]
    assert (made["tenant_id"], made["cause"], made["payload"]) == ("globex", "copy", {"do": "x", "password": "p"})


def test_a_copy_has_no_stars_where_the_bundle_left_something_out(sql: Sql, tmp_path: Path) -> None:
    told: dict[str, Any] = {"subject": "card:4111111111111111", "trace": {"traceparent": "x", "note": "token=hunter2"}}
    file = exported(sql, sql.enqueue("acme", "act", {"do": "x"}, **told), tmp_path / "b.json")
    there = ("enqueue", str(file), "--tenant", "globex", "--other-tenant")
    call(sql, *there)
    sql("purge_tenant", user="jf_admin", tenant_id="acme")
    call(sql, *there)
    found = sql.look("select subject, trace from jobforge.jobs where tenant_id = 'globex' order by id")
    assert found == [told, {"subject": None, "trace": None}]


def test_a_forged_bundle_gives_a_job_to_no_other_tenant(sql: Sql, tmp_path: Path) -> None:
    file = exported(sql, ran(sql, {"do": "x"}, result={"n": 1}), tmp_path / "b.json")
    body = json.loads(file.read_text())
    del body["seal"]
    file.write_text(sealed(body | {"origin": body["origin"] | {"tenant_id": "globex"}}))
    for verb in (("run", str(file), APP, "--dry-run"), ("enqueue", str(file))):
        refused(call(sql, *verb, status=2), "not of the tenant")


def test_a_bundle_of_another_database_is_refused(sql: Sql, admin_url: sa.URL, template: str, tmp_path: Path) -> None:
    file = exported(sql, ran(sql, {"do": "x"}, result={"n": 1}), tmp_path / "b.json")
    with one_database(admin_url, template) as database, Sql(database) as other:
        for verb in (("run", str(file), APP, "--dry-run"), ("enqueue", str(file))):
            refused(call(other, *verb, status=2), "another database", "--foreign")
        refused(call(other, "enqueue", str(file), "--foreign", user="jf_app", status=2), "administrator")
        call(other, "enqueue", str(file), "--foreign")
        assert [one["cause"] for one in jobs(other)] == ["replay"]


def test_where_tenants_are_signed_all_of_it_takes_the_key(sql: Sql, tmp_path: Path) -> None:
    key = TenantKey.generate("k1")
    job = ran(sql, {"do": "commit"}, result={"n": 1})
    for _ in range(2):
        sql.enqueue("acme", "mail", parent_id=job)
    sql.session("postgres").execute("select jobforge.add_tenant_key(%s, %s)", [key.id, key.secret])
    sql.session("postgres").execute("select jobforge.use_tenancy('signed')")
    signed: dict[str, Any] = {"JOBFORGE_TENANT_KEY": key.text()}
    file = tmp_path / "b.json"
    call(sql, "export", str(job), "--tenant", "acme", "--out", str(file), user="jf_app", **signed)

    refused(call(sql, "run", str(file), APP, "--dry-run", user="jf_app", status=2), "JOBFORGE_TENANT_KEY")
    refused(call(sql, "run", str(file), APP, "--dry-run", status=2), "JOBFORGE_TENANT_KEY")
    assert dry(sql, file, 0, **signed) == []
    assert call(sql, "run", str(file), APP, "--dry-run", user="jf_app", **signed).returncode == 0
    call(sql, "enqueue", str(file), user="jf_app", **signed)
    call(sql, "enqueue", str(file))  # an administrator, without a key
    assert [one["cause"] for one in jobs(sql)] == [None, "handler", "handler", "replay", "replay"]
