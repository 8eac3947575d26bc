"""`jobforge impact …`: what caused a job and what it caused, shown, written and compared."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from tests.acceptance.cli import Finished, inside, refused
from tests.support import Sql

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
FORGED = 'x"]; click me "javascript:1"\n\x1b[2J'


def call(sql: Sql, *arguments: str, user: str = "jf_admin", status: int = 0) -> Finished:
    return inside(sql.database.url(user), "impact", *arguments, status=status)


def order(sql: Sql, number: int, mails: int = 2, error: str = "") -> uuid.UUID:
    """An order that has caused a charge, which has caused mails."""
    trace = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    first = sql.enqueue("acme", "order", subject=f"orders:{number}", trace=trace)
    charge = sql.enqueue("acme", "charge", parent_id=first, trace=trace, subject=FORGED)
    sql.complete(sql.claim_one(types=["order"]))
    run = sql.claim_one(types=["charge"])
    if error:
        sql.complete(run, "failed", error={"type": error}, final=True)
    else:
        sql.complete(run)
    for _ in range(mails):
        sql.enqueue("acme", "mail", parent_id=charge)
    return first


def test_the_tree_goes_from_the_first_to_the_last(sql: Sql) -> None:
    first = order(sql, 1, mails=1, error="ValueError")
    charge, mail = (row["id"] for row in sql.look("select id from jobforge.jobs order by id")[1:])
    again = sql("replay_job", tenant="acme", job_id=charge)[0]["id"]

    lines = call(sql, "show", str(charge), "--tenant", "acme", user="jf_app").stdout.splitlines()

    assert lines == [
        f"trace {TRACE}",
        f"order  succeeded  {first}  orders:1",
        f'└── charge  dead  {charge}  x"]; click me "javascript:1" \ufffd[2J  ValueError',
        f"    ├── mail  queued  {mail}",
        f'    └── charge  queued  {again}  replay  x"]; click me "javascript:1" \ufffd[2J',
    ]
    assert call(sql, "show", str(first), "--limit", "1").stdout.splitlines()[-1].startswith("there are more")
    orphan = sql.enqueue("acme", "mail", parent_id=uuid.UUID(int=5))
    assert f"{uuid.UUID(int=5)}  gone" in call(sql, "show", str(orphan)).stdout
    refused(call(sql, "show", str(first), "--tenant", "globex", status=2), str(first))
    refused(call(sql, "show", str(first), user="jf_app", status=2), "--tenant")


def test_two_orders_are_the_same_but_for_what_went_otherwise(sql: Sql, tmp_path: Path) -> None:
    one, two, broken = order(sql, 1), order(sql, 2), order(sql, 3, mails=1, error="ValueError")
    sql("replay_job", tenant="acme", job_id=two)  # which is somebody's doing, and no difference
    file = tmp_path / "one.json"
    call(sql, "export", str(one), "--out", str(file))

    for left in (str(one), str(file)):
        assert call(sql, "compare", left, str(two)).stdout == "the same\n"
        assert call(sql, "compare", left, str(broken), status=1).stdout.splitlines() == [
            "order > charge  state succeeded -> dead",
            "order > charge  outcome succeeded -> failed",
            "order > charge  error none -> ValueError",
            "order > charge > mail  2 -> 1",
        ]
    said = json.loads(call(sql, "compare", str(one), str(two), "--json").stdout)
    assert said == {"same": True, "cut": False, "differences": []}
    for text in ("{}", "[]", '{"format": "jobforge-impact/1"}', "[" * 100_000, '{"format": "jobforge-impact/2"}'):
        file.write_text(text)
        refused(call(sql, "compare", str(file), str(two), status=2), "impact export")
    for wrong in ({"depth": "1"}, {"subject": 5}, {"type": ["mail"]}):
        record = json.loads(call(sql, "export", str(one)).stdout)
        record["jobs"][-1] |= wrong
        file.write_text(json.dumps(record))
        refused(call(sql, "compare", str(file), str(file), status=2), "impact export")
    refused(call(sql, "compare", str(tmp_path), str(two), status=2), "neither")


def test_mermaid_has_each_job_once_and_no_words_of_the_data_are_its_own(sql: Sql, tmp_path: Path) -> None:
    first = order(sql, 1)
    chart = call(sql, "export", str(first), "--format", "mermaid").stdout.splitlines()

    assert chart[:2] == ["flowchart TD", '    j0["order<br/>succeeded<br/>orders:1"]:::succeeded']
    assert chart[5:8] == ["    j0 --> j1", "    j1 --> j2", "    j1 --> j3"]
    assert "#34;#93;#59; click me" in chart[2]
    assert all(line.count('"') in (0, 2) for line in chart)
    record = json.loads(call(sql, "export", str(first)).stdout)
    assert [job["depth"] for job in record["jobs"]] == [0, 1, 2, 2]
    assert (record["format"], record["cut"], record["jobs"][0]["subject"]) == ("jobforge-impact/1", False, "orders:1")
