"""`jobforge jobs list` and `jobforge jobs show`: who sees what, and how it looks."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
import uuid

import pytest

from jobforge_sa.ops.jobs import listing as job_list
from tests.acceptance import cli_app
from tests.acceptance.cli import APP, enqueue, inside, refused
from tests.fix_postgres import Database


def test_an_empty_list_says_so(database: Database) -> None:
    assert inside(database.url("jf_admin"), "jobs", "list").stdout == "no jobs\n"
    assert inside(database.url("jf_admin"), "jobs", "list", "--json").stdout == ""


def test_the_list_is_plain_text_in_a_pipe_newest_first_with_all_columns(database: Database) -> None:
    old = enqueue(database, cli_app.send, {"to": "a"})
    new = enqueue(database, cli_app.fail, {}, delay=dt.timedelta(hours=2))

    heading, *rows = inside(database.url("jf_admin"), "jobs", "list").stdout.splitlines()

    assert heading.split() == ["ID", "STATE", "TYPE", "TENANT", "QUEUE", "TRY", "AGE", "WAIT"]
    assert [row.split()[:6] for row in rows] == [
        [str(new), "scheduled", "fail", "acme", "default", "0/2"],
        [str(old), "queued", "send", "acme", "mail", "0/3"],
    ]
    assert rows[0].endswith("in 2h")
    assert all(row == row.rstrip() for row in rows)


@pytest.mark.parametrize("user", ["postgres", "jf_admin", "jf_one"])
def test_who_may_see_all_tenants_sees_them_and_one_if_asked(database: Database, user: str) -> None:
    ours = enqueue(database, cli_app.send, {}, tenant="ours")
    theirs = enqueue(database, cli_app.send, {}, tenant="theirs")

    assert listed(database, user) == [theirs, ours]
    assert listed(database, user, "--tenant", "ours") == [ours]
    refused(inside(database.url(user), "jobs", "show", str(theirs), "--tenant", "ours", status=2), str(theirs))


def listed(database: Database, user: str, *arguments: str) -> list[uuid.UUID]:
    lines = inside(database.url(user), "jobs", "list", "--json", *arguments).stdout.splitlines()
    return [uuid.UUID(json.loads(line)["id"]) for line in lines]


def test_the_list_is_filtered_by_state_type_queue_and_time(database: Database) -> None:
    later = enqueue(database, cli_app.send, {}, delay=dt.timedelta(hours=1))
    mail = enqueue(database, cli_app.send, {})
    fail = enqueue(database, cli_app.fail, {})
    other = enqueue(database, cli_app.fail, {}, queue="other")

    for arguments, expected in (
        (["--state", "scheduled"], [later]),
        (["--type", "send"], [mail, later]),
        (["--queue", "other"], [other]),
        (["--type", "fail", "--queue", "default"], [fail]),
        (["--since", "1h30m"], [other, fail, mail, later]),
        (["--since", "2100-01-01T00:00Z"], []),
        (["--limit", "1"], [other]),
        (["--cursor", str(mail)], [later]),
    ):
        assert listed(database, "jf_app", "--tenant", "acme", *arguments) == expected


@pytest.mark.parametrize("since", ["yesterday", "2026-01-31T12:00", "2026-01-31", "5", "-3h", "999999999w"])
def test_a_time_that_is_none_is_an_error_that_shows_one(database: Database, since: str) -> None:
    refused(inside(database.url("jf_admin"), "jobs", "list", f"--since={since}", status=2), since, "write")


def test_the_printed_command_gives_the_next_page(database: Database) -> None:
    made = [enqueue(database, cli_app.send, {}, tenant="two words") for _ in range(3)]
    first = inside(database.url("jf_app"), "jobs", "list", "--tenant", "two words", "--limit", "2").stdout

    command = shlex.split(first.splitlines()[-1].removeprefix("more: "))
    second = inside(database.url("jf_app"), *command[1:]).stdout

    assert [str(job) in first for job in made] == [False, True, True]
    assert [str(job) in second for job in made] == [True, False, False]
    assert "more:" not in second
    assert inside(database.url("jf_app"), *command[1:-1], str(made[0])).stdout == "no more jobs\n"


def test_a_terminal_of_80_columns_gets_whole_ids_and_no_broken_line(database: Database) -> None:
    name = "connector.report.generate_quarterly_statement"
    made = [enqueue(database, cli_app.forge.task(name)(cli_app.fail.handler), {}, tenant="a-rather-long-tenant")]
    made += [enqueue(database, cli_app.send, {})]

    narrow = in_a_terminal(database, 80)
    wide = in_a_terminal(database, 160)

    assert "\x1b[33mqueued" in narrow
    for text, columns in ((narrow, 80), (wide, 160)):
        lines = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()
        assert len(lines) == 3
        assert max(map(len, lines)) <= columns
        assert all(str(job) in text for job in made)
    assert "TENANT" not in narrow
    assert "connector.report.generate" not in narrow
    assert "connector.report.generate" in wide


def in_a_terminal(database: Database, columns: int) -> str:
    size = str(columns)
    return inside(database.url("jf_admin"), "jobs", "list", COLUMNS=size, FORCE_COLOR="1", TERM="xterm-256color").stdout


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 160, 300])
def test_columns_are_dropped_before_they_are_squeezed(width: int) -> None:
    natural = dict.fromkeys(job_list.HEADINGS, 7) | {"id": 36, "type": 100, "tenant": 200, "last error": 200}

    widths = job_list.fit(natural, width)

    assert widths["id"] == 36
    assert sum(widths.values()) + job_list.GAP * (len(widths) - 1) <= max(width, 36)
    assert all(
        size >= min(max(natural[name], len(name)), job_list.LEAST.get(name, 999)) for name, size in widths.items()
    )
    assert set(widths) == set(job_list.HEADINGS) or width < 160


def test_json_has_the_same_keys_for_every_job_and_times_in_iso(database: Database) -> None:
    job_id = enqueue(database, cli_app.send, {"to": "Jürgen"}, idempotency_key="k", timeout=dt.timedelta(minutes=2))
    enqueue(database, cli_app.fail, {})

    *_, line = inside(database.url("jf_admin"), "jobs", "list", "--json").stdout.splitlines()
    shown = json.loads(inside(database.url("jf_admin"), "jobs", "show", str(job_id), "--json").stdout)

    job = json.loads(line)
    assert list(job) == [
        "id", "tenant_id", "queue", "type", "priority", "payload", "run_at", "max_attempts", "timeout", "retry",
        "idempotency_key", "unique_key", "ordering_key", "subject", "parent_id", "cause", "trace", "created_at",
        "state", "run", "attempt", "crashes", "due_at", "worker_id", "claimed_at", "deadline", "finished_at", "result",
    ]  # fmt: skip
    assert (job["id"], job["state"], job["timeout"], job["payload"]) == (str(job_id), "queued", 120, {"to": "Jürgen"})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", job["created_at"])
    assert shown == job | {"attempts": []}


def test_a_job_is_shown_with_its_payload_result_and_attempts(database: Database) -> None:
    good = enqueue(database, cli_app.send, {"to": "a@example.com", "n": list(range(500))}, idempotency_key="k1")
    bad = enqueue(database, cli_app.fail, {"message": "it broke"}, max_attempts=1)
    inside(database.url("jf_one"), "worker", APP, "--once", status=1)

    said = inside(database.url("jf_admin"), "jobs", "show", str(good)).stdout
    for word in (f"{good}  succeeded", "acme", "mail", "1 of 3", "k1", '"to": "a@example.com"', '"sent_to"', "RAN"):
        assert word in said

    said = inside(database.url("jf_admin"), "jobs", "show", str(bad)).stdout
    for word in (f"{bad}  dead", "1 of 1", "failed", "ValueError: it broke"):
        assert word in said

    (attempt,) = json.loads(inside(database.url("jf_admin"), "jobs", "show", str(bad), "--json").stdout)["attempts"]
    assert list(attempt) == [
        "run", "attempt", "outcome", "worker_id", "claimed_at", "finished_at", "run_ms", "error",
    ]  # fmt: skip
    assert attempt["outcome"] == "failed"
    assert (attempt["error"]["type"], attempt["error"]["message"]) == ("ValueError", "it broke")

    listing = inside(database.url("jf_admin"), "jobs", "list").stdout
    assert listing.splitlines()[1].endswith("ValueError: it broke")


def test_a_long_payload_is_cut_and_says_so(database: Database) -> None:
    job_id = enqueue(database, cli_app.send, {f"key {n}": "x" * 80 for n in range(200)})

    said = inside(database.url("jf_admin"), "jobs", "show", str(job_id)).stdout

    assert '"key 1":' in said
    assert '"key 199":' not in said
    assert "162 lines more: --json shows them all" in said


def test_no_data_of_a_tenant_reaches_the_terminal_as_a_command(database: Database) -> None:
    job_id = enqueue(
        database, cli_app.fail, {"message": "\x1b[2J\x9b2J\nerror: forged \u202e[red]"}, tenant="\x1b]0;owned\x07"
    )
    log = inside(database.url("jf_one"), "worker", APP, "--once", status=1).stderr

    said = log
    for command in (["list"], ["show", str(job_id)], ["list", "--json"], ["show", str(job_id), "--json"]):
        said += inside(database.url("jf_admin"), "jobs", *command).stdout
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", said)
    assert "[red]" in said
    assert "\nerror: forged" not in log


def test_a_job_that_does_not_exist_is_status_2(database: Database) -> None:
    refused(inside(database.url("jf_admin"), "jobs", "show", str(uuid.UUID(int=1)), status=2), "no job")
