"""`jobforge connectors …`, `secrets …`, `webhooks …`: how they look, what they refuse, and that no secret is shown."""

from __future__ import annotations

import io
import json
import re
import sys
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa.connectors import Webhooks
from jobforge_sa.ops import extras
from jobforge_sa.secrets import SecretKeys
from tests.acceptance.cli import Finished, inside, refused
from tests.fix_postgres import Database

KEY = SecretKeys.new_key("k1")
URL = "https://hooks.example.com/orders?of=1"


def keep(
    database: Database, monkeypatch: pytest.MonkeyPatch, value: bytes, *arguments: str, status: int = 0, keys: str = KEY
) -> Finished:
    """`jobforge secrets set`, with the secret on its standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(value)))
    url = database.url("jf_admin")
    return inside(url, "secrets", "set", "acme", "billing", *arguments, status=status, JOBFORGE_SECRET_KEYS=keys)


def sealed(database: Database) -> tuple[str, str | None]:
    with database.engine().connect() as c:
        row = c.execute(sa.text("select value, previous_value from jobforge.connector_secrets")).one()
    return row.value, row.previous_value


# --- connectors --------------------------------------------------------------------------------------------


def test_a_connectors_configuration_is_set_listed_and_dropped(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = database.url("jf_admin")
    assert inside(url, "connectors", "list").stdout.startswith("nothing is said of any tenant's connectors")
    done = inside(url, "connectors", "set", "acme", '{"allow_hosts": ["api.example.com"], "timeout": 10}')
    assert done.stdout == 'acme: every connector: {"allow_hosts": ["api.example.com"], "timeout": 10}\n'
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"disable_after": 5}'))
    one = ("--type", "connector.webhook.deliver")
    done = inside(url, "connectors", "set", "acme", "-", *one, "--json")
    assert json.loads(done.stdout)["config"] == {"disable_after": 5}
    table = inside(url, "connectors", "list", "--tenant", "acme").stdout.splitlines()
    assert [line.split()[:2] for line in table] == [
        ["TENANT", "CONNECTOR"], ["acme", "all"], ["acme", "connector.webhook.deliver"],
    ]  # fmt: skip
    assert inside(url, "connectors", "list", "--tenant", "other", "--json").stdout == ""
    said = inside(url, "connectors", "drop", "acme", *one).stdout
    assert said == "acme: nothing is said of the connector connector.webhook.deliver any more\n"
    records = [json.loads(line) for line in inside(url, "connectors", "list", "--json").stdout.splitlines()]
    assert [(one["tenant_id"], one["type"]) for one in records] == [("acme", None)]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{", "the configuration is no JSON"),
        ("[]", "the configuration is no JSON object"),
        ('{"allow_host": []}', "knows no 'allow_host'"),
        ('{"allow_networks": ["10.0.0.0/8"]}', "by the operator's program only"),
        ('{"allow_hosts": ["https://x.y/"]}', "allow_hosts cannot hold"),
        ('{"timeout": -1}', "timeout is a number above 0"),
        ('{"enabled": "no"}', "the setting enabled is not what it should be"),
    ],
)
def test_a_configuration_that_could_not_work_is_refused(database: Database, config: str, words: str) -> None:
    refused(inside(database.url("jf_admin"), "connectors", "set", "acme", config, status=2), words)


# --- secrets -----------------------------------------------------------------------------------------------


def test_a_secret_is_sealed_before_it_leaves_and_never_shown(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = database.url("jf_admin")
    assert inside(url, "secrets", "list").stdout == "no secrets\n"
    done = keep(database, monkeypatch, b"s3cr3t-one\n", "--host", "api.example.com", "--host", "*.example.org")
    assert done.stdout == ("acme: the secret billing is kept, sealed; it may go to api.example.com, *.example.org\n")
    first, _ = sealed(database)
    assert SecretKeys.parse(KEY).open(first, tenant="acme", name="billing") == "s3cr3t-one"

    (tmp_path / "secret").write_bytes(b"s3cr3t-two")
    both = f"{SecretKeys.new_key('k2')},{KEY}"
    again = keep(database, monkeypatch, b"", "--file", str(tmp_path / "secret"), "--overlap", "2h", "--json", keys=both)
    assert json.loads(again.stdout)["hosts"] == ["api.example.com", "*.example.org"]  # a rotated one goes where it went
    second, previous = sealed(database)
    assert (second.split(":")[1], previous) == ("k2", first)
    opened = SecretKeys.parse(both)
    assert opened.open(second, tenant="acme", name="billing") == "s3cr3t-two"

    listed = inside(url, "secrets", "list").stdout
    assert re.search(r"acme +billing +sealed +api\.example\.com, \*\.example\.org .* valid, ends in 2h", listed)
    record = json.loads(inside(url, "secrets", "list", "--tenant", "acme", "--json").stdout)
    assert record.keys() == {"tenant_id", "name", "kind", "hosts", "previous_until", "updated_at"}
    said = done.stdout + done.stderr + again.stdout + again.stderr + listed + json.dumps(record)
    assert "s3cr3t" not in said + first + second
    assert inside(url, "secrets", "drop", "acme", "billing").stdout == "acme: the secret billing is gone\n"
    refused(inside(url, "secrets", "drop", "acme", "billing", status=2), "acme has no secret billing")


def test_a_reference_is_no_secret_and_needs_no_key(database: Database) -> None:
    url = database.url("jf_admin")
    done = inside(url, "secrets", "set", "acme", "hooks", "--reference", "kv/acme/hooks", "--host", "none")
    assert done.stdout == "acme: the secret hooks is kept, reference; it goes out in no header\n"


def test_what_cannot_be_kept_is_refused_without_a_word_of_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for value, arguments, keys, words in (
        (b"s3cr3t", (), "", "JOBFORGE_SECRET_KEYS is not set"),
        (b"s3cr3t", (), "s3cr3t", "secret key 1 does not begin with its id and a colon"),
        (b"s3cr3t", (), "k:s3cr3t", "the secret key k has"),
        (b"", (), KEY, "a secret is a text of 1 to 32,768 bytes"),
        (b"s3cr3t\xff", (), KEY, "the secret is no UTF-8"),
        (b"s3cr3t" * 6000, (), KEY, "a secret is a text of 1 to 32,768 bytes"),
        (b"s3cr3t", ("--host", "https://x/"), KEY, "allow_hosts cannot hold"),
        (b"s3cr3t", ("--overlap", "400d"), KEY, "an overlap is 0 to 365 days"),
        (b"s3cr3t", ("--file", str(tmp_path / "none")), KEY, "cannot be read"),
    ):
        done = keep(database, monkeypatch, value, *arguments, status=2, keys=keys)
        refused(done, words)
        assert "s3cr3t" not in done.stderr
    with database.engine().connect() as c:
        assert c.scalar(sa.text("select count(*) from jobforge.connector_secrets")) == 0


def test_without_the_library_that_seals_it_is_told_how_to_get_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _name: None)
    done = keep(database, monkeypatch, b"s3cr3t", status=2)
    refused(done, "cryptography is not installed", "pip install 'jobforge_sa[connectors]'")


def test_a_new_key_is_printed_once_and_can_be_parsed() -> None:
    done = inside(None, "secrets", "new-key", "spring")
    found = re.fullmatch(r"JOBFORGE_SECRET_KEYS=(spring:\S+)\n", done.stdout)
    assert found
    assert SecretKeys.parse(found[1]).ids == ("spring",)
    assert found[1].partition(":")[2] not in done.stderr
    record = json.loads(inside(None, "secrets", "new-key", "--json").stdout)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["key_id"])
    refused(inside(None, "secrets", "new-key", "a:b", status=2), "'a:b' is no id of a key")


def test_only_administrators_look_at_connectors_and_secrets(database: Database) -> None:
    for command in (
        ["connectors", "list"],
        ["connectors", "set", "a", "{}"],
        ["secrets", "list"],
        ["secrets", "drop", "a", "b"],
    ):
        refused(inside(database.url("jf_app"), *command, status=2), "jobforge_admin")


# --- webhooks ----------------------------------------------------------------------------------------------

LOG = """
insert into jobforge.webhook_deliveries
values (:job, 1, :tenant, 1, :url, 'e1', 'order.paid', :outcome, :status, 'why', 12, 'hi', '2026-01-05 09:00:00+00')
"""


@pytest.mark.no_audit("deliveries without jobs")
def test_endpoints_are_disabled_and_enabled_and_deliveries_listed(database: Database) -> None:
    url = database.url("jf_admin")
    assert inside(url, "webhooks", "list").stdout == "no endpoint fails or is disabled\n"
    done = inside(url, "webhooks", "disable", "acme", URL, "--reason", "it is being moved")
    assert done.stdout == f"acme: nothing goes to {URL} any more: it is being moved\n"
    _, line = inside(url, "webhooks", "list").stdout.splitlines()
    assert line.split() == ["acme", URL, "0", "disabled:", "it", "is", "being", "moved"]
    assert inside(url, "webhooks", "list", "--tenant", "other", "--json").stdout == ""
    with Session(database.engine("jf_app")) as session:
        seen = Webhooks(session, tenant="acme").get(URL)
        assert seen is not None
        assert seen.reason == "it is being moved"
        assert Webhooks(session, tenant="acme").get(URL + "2") is None

    jobs = [uuid.UUID(int=n) for n in range(1, 4)]
    rows = [("acme", "delivered", 204), ("acme", "failed", None), ("other", "failed", 500)]
    with database.engine().begin() as c:
        for job, (tenant, outcome, status) in zip(jobs, rows, strict=True):
            values = {"job": job, "tenant": tenant, "url": URL, "outcome": outcome, "status": status}
            c.execute(sa.text(LOG), values)
    found = inside(url, "webhooks", "deliveries", "--tenant", "acme").stdout.splitlines()
    assert [line.split()[-5:] for line in found[1:]] == [
        ["failed", "-", "12", str(jobs[1]), "1"], ["delivered", "204", "12", str(jobs[0]), "1"],
    ]  # fmt: skip
    for arguments, expected in (
        ([], [3, 2, 1]), (["--outcome", "failed"], [3, 2]), (["--job", str(jobs[0])], [1]), (["--limit", "1"], [3]),
        (["--endpoint", "https://other/"], []),
    ):  # fmt: skip
        listed = inside(url, "webhooks", "deliveries", "--json", *arguments).stdout.splitlines()
        assert [uuid.UUID(json.loads(line)["job_id"]).int for line in listed] == expected
    own = inside(database.url("jf_app"), "webhooks", "deliveries", "--json", "--tenant", "other").stdout.splitlines()
    assert [json.loads(line)["tenant_id"] for line in own] == ["other"]

    done = inside(url, "webhooks", "enable", "acme", URL)
    assert done.stdout == f"acme: webhooks go to {URL} again\n"
    assert "deliveries --outcome skipped" in done.stderr


def test_what_cannot_be_asked_of_webhooks_is_refused(database: Database) -> None:
    url = database.url("jf_admin")
    refused(inside(url, "webhooks", "enable", "acme", URL, status=2), "nothing is said of", "webhooks list")
    refused(inside(url, "webhooks", "deliveries", "--outcome", "lost", status=2), "no delivery ends as 'lost'")
    refused(inside(url, "webhooks", "disable", "acme", "x" * 3000, status=2), "1 to 2048 characters")
    refused(inside(database.url("jf_app"), "webhooks", "list", status=2), "none is named")
    refused(inside(database.url("jf_app"), "webhooks", "deliveries", status=2), "none is named")
