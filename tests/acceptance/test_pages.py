"""docs/runbook.md and docs/pictures.md: each command is run in the state of its section, and answers what stands there.

JOBFORGE_UPDATE_SNAPSHOT=1 writes down what they answer, but for blocks in which … stands for lines that are left out.
"""

from __future__ import annotations

import os
import re
import shlex
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobforge_sa.ops.doctor import report as doctor
from tests.acceptance.cli import APP, ROOT, inside
from tests.acceptance.test_game_day import beat, claim, do, lose_worker, soon
from tests.house.markdown import read
from tests.support import Clock, Sql, one_database

PAGES = (ROOT / "docs" / "runbook.md", ROOT / "docs" / "pictures.md")
UPDATE = bool(os.environ.get("JOBFORGE_UPDATE_SNAPSHOT"))
BLOCK = re.compile(r"^```(console|sh|sql)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
JOB = "019b8d00-0000-7000-8000-{:012}"  # the first, the second ... of a section
BEGIN = "2026-01-05 09:00:00+00"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def sections() -> dict[tuple[str, str], str]:
    """The text of each section that has a command, by page and heading."""
    found = {}
    for page in PAGES:
        for part in re.split(r"^## ", read(page), flags=re.MULTILINE)[1:]:
            heading, _, text = part.partition("\n")
            if BLOCK.search(text):
                found[page.name, heading] = text
    return found


# --- the states of the sections -----------------------------------------------------------------------------

State = Callable[["Shop"], object]


class Shop:
    """A database with a clock that the section's state owns, and the sessions that are in somebody's way."""

    def __init__(self, sql: Sql, clock: Clock, patch: pytest.MonkeyPatch) -> None:
        self.sql, self.clock, self.patch = sql, clock, patch
        self.pid = 0

    def enqueue(self, count: int = 1, **options: Any) -> list[uuid.UUID]:
        jobs = []
        for _ in range(count):
            jobs.append(self.sql.enqueue(**{"tenant": "acme", "type_": "send", "queue": "mail"} | options))
            self.clock.advance(seconds=1)  # ids of one moment have no order
        return jobs

    def jobs(self) -> dict[str, str]:
        """The ids of the page, and whose they are here."""
        found = self.sql.look("select id from jobforge.jobs order by id")
        return {JOB.format(n): str(row["id"]) for n, row in enumerate(found, start=1)}

    def work(self, minutes: int = 10) -> None:
        """Two jobs are being run, for so long."""
        self.sql("heartbeat_jobs", worker_id=self.sql.worker, name="web-1:4711", queues=["mail"], types=["send"])
        claim(self.sql)
        self.clock.advance(minutes=minutes)
        self.sql("heartbeat_jobs", worker_id=self.sql.worker)

    def die(self) -> None:
        error = {"type": "SMTPRecipientsRefused", "message": "550 no such user"}
        for run in claim(self.sql):
            self.sql.complete(run, "failed", final=True, error=error, run_ms=120)
            self.clock.advance(seconds=1)

    def hold(self, statement: str) -> None:
        holder = self.sql.connect("postgres")
        holder.execute("set application_name = 'report'")
        holder.execute(statement.encode())
        self.pid = holder.info.backend_pid


def late(shop: Shop) -> None:
    shop.enqueue(3)
    shop.clock.advance(minutes=20)
    beat(shop.sql, name="web-1:4711")
    claim_one = shop.sql("claim_jobs", worker_id=shop.sql.worker, queues=["mail"], types=["send"], limit=1)
    assert len(claim_one) == 1


def suspect(shop: Shop) -> None:
    shop.enqueue()
    lose_worker(shop.sql, shop.clock, 2)


def failing(shop: Shop) -> None:
    shop.enqueue(2)
    beat(shop.sql, name="web-1:4711")
    error = {"type": "TimeoutError", "message": "no answer from smtp"}
    for run in claim(shop.sql):
        shop.clock.advance(seconds=1)
        shop.sql.complete(run, "failed", delay=600, error=error, run_ms=980)


def snapshot(shop: Shop) -> None:
    soon(shop.patch, "old_snapshot", ("interval '5 minutes'", "interval '0'"))
    shop.hold("create table made (n int)")


def locked(shop: Shop) -> None:
    soon(shop.patch, "lock_wait", ("interval '10 seconds'", "interval '0'"))
    shop.hold("lock table jobforge.scheduled in share row exclusive mode")
    rival = shop.sql.connect("postgres")
    shop.sql.waits(rival, lambda: rival.execute("lock table jobforge.scheduled in access exclusive mode"))


def quota(shop: Shop) -> None:
    shop.enqueue(2)
    beat(shop.sql)
    shop.sql("limit_tenant", user="jf_admin", tenant_id="acme", change={"max_waiting": 2})


def story(shop: Shop) -> None:
    """For the pictures: a little of everything."""
    shop.enqueue(type_="thumbnail", queue="images")
    lose_worker_of(shop, "images", "thumbnail")
    retried, _, dead, _ = (shop.enqueue(tenant=tenant)[0] for tenant in ("acme", "acme", "acme", "globex"))
    beat(shop.sql, name="web-1:4711")
    shop.sql("pause_tenant", user="jf_admin", tenant_id="globex")
    runs = {run["job_id"]: run for run in claim(shop.sql)}
    error = {"type": "TimeoutError", "message": "no answer from smtp"}
    shop.sql.complete(runs[retried], "failed", delay=600, error=error)
    shop.sql.complete(runs[dead], "failed", final=True, error={"type": "KeyError", "message": "'to'"})
    shop.enqueue(tenant="initech", type_="report", queue="reports")
    shop.sql.session("postgres").execute("alter table jobforge.ready set (autovacuum_enabled = off)")
    shop.clock.advance(minutes=3)
    shop.sql("heartbeat_jobs", worker_id=shop.sql.worker)


def lose_worker_of(shop: Shop, queue: str, type_: str) -> None:
    other = uuid.UUID(int=2)
    for _ in range(2):
        assert shop.sql("claim_jobs", worker_id=other, queues=[queue], types=[type_])
        shop.clock.advance(minutes=2)
        shop.sql("upkeep")


def dead(shop: Shop) -> None:
    shop.enqueue(2)
    shop.die()


def passes(**by: float) -> State:
    return lambda shop: shop.clock.advance(**by)


def waits(count: int = 1, **options: Any) -> State:
    return lambda shop: shop.enqueue(count, **options)


def lives(**options: Any) -> State:
    return lambda shop: beat(shop.sql, **{"name": "web-1:4711"} | options)


SIGNED = "select jobforge.add_tenant_key('2026-01', decode(repeat('ab', 32), 'hex')), jobforge.use_tenancy('signed')"
STATES: dict[str, tuple[State, ...]] = {
    "Queue has no worker": (waits(2), passes(minutes=10)),
    "No worker knows the type": (waits(), lives(types=["deliver"])),
    "Jobs wait too long": (late,),
    "A tenant floods": (waits(5), waits(tenant="globex")),
    "Tenant at quota": (quota,),
    "Jobs die": (dead,),
    "Attempts fail": (failing,),
    "Suspects": (suspect,),
    "Dead workers": (lives(), passes(minutes=5)),
    "Heartbeats are late": (lives(),),
    "Expired leases": (waits(), lambda shop: claim(shop.sql), passes(minutes=5)),
    "A deploy left handlers": (waits(2), lambda shop: shop.work()),
    "Old snapshot": (snapshot,),
    "Dead rows": (),
    "The tables grow": (dead,),
    "Connections run out": (lives(connections=5000),),
    "Database unreachable": (),
    "Worker not ready": (),
    "A migration waits": (locked,),
    "Restored or failed over": (waits(),),
    "A signing key leaked": (lambda shop: shop.sql.session("postgres").execute(SIGNED),),
    "Stop everything": (waits(), lives()),
    "Purge a customer": (dead,),
    "jobforge doctor": (story,),
    "jobforge jobs list": (story,),
    "jobforge why": (story,),
    "jobforge queues": (story,),
    "jobforge top": (story,),
}


# --- the commands -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Sql]:
    """As the documentation asks for it: logins with one purpose; an administrator sees the sessions of all."""
    with one_database(admin_url, template) as database, Sql(database) as sql:
        for statement in (
            f"revoke connect, temporary on database {database.name} from public",
            f"grant connect on database {database.name} to jf_app, jf_worker, jf_admin",
            "grant pg_read_all_stats to jf_admin",
        ):
            sql.session("postgres").execute(statement.encode())
        yield sql
        sql.session("postgres").execute("revoke pg_read_all_stats from jf_admin")


@pytest.fixture
def shop(shared: Sql, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shop]:
    clock = shared.clock()
    shared.session("postgres").execute(f"update public.jobforge_clock set at = '{BEGIN}'".encode())
    monkeypatch.setattr(doctor, "_drift", lambda *_: [])  # the clock of the test is one
    monkeypatch.setattr("tests.acceptance.test_pages.FOLDER", tmp_path)
    yield Shop(shared, clock, monkeypatch)
    for statement in (
        "alter table jobforge.ready reset (autovacuum_enabled)",
        "delete from jobforge.retention where type = 'send'",
    ):
        shared.session("postgres").execute(statement.encode())
    shared.clean()


FOLDER = ROOT  # where files are written


def run(shop: Shop, line: str) -> str:
    """What a command of the page prints, with ids, times and names as on the page."""
    words = shlex.split(line)
    given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z]+=", word))
    words = [word for word in words if not re.match(r"[A-Z]+=", word)]
    assert words.pop(0) == "jobforge"
    if words[:2] == ["worker", "shop.jobs:forge"] and "--url" not in words:
        do(shop.sql, shlex.join(["jobforge", "worker", "MODULE:FORGE", *words[2:]]), "jf_worker")
        return ""
    jobs = shop.jobs()
    words = [jobs.get(word, word).replace("shop.jobs:forge", APP) for word in words]
    user = {"migrate": "postgres", "tenancy": "postgres"}.get(words[0], "jf_admin")
    words = [plain(shop, "jf_app") if word.startswith("postgresql://web@") else word for word in words]
    terminal = {"FORCE_COLOR": "1", "NO_COLOR": "1"} | given if given else {}
    done = inside(shop.sql.database.url(user), *words, status=None, cwd=FOLDER, PYTHONPATH=str(ROOT), **terminal)
    return alike(shop, ANSI.sub("", done.stdout + done.stderr), jobs)


def plain(shop: Shop, user: str) -> str:
    return shop.sql.database.url(user).render_as_string(hide_password=False)


def alike(shop: Shop, text: str, jobs: dict[str, str]) -> str:
    for page, here in jobs.items():
        text = text.replace(here, page)
    if shop.pid:
        text = re.sub(rf"\b{shop.pid}\b", "4711", text)
    text = text.replace(shop.sql.database.name, "shop").replace("jf_app", "web")
    text = re.sub(r"(?m)^20\S+Z (?:INFO|WARNING) .*\n", "", text)  # what a worker logs
    text = re.sub(
        r"postgresql://(\w+)(?::\*+)?@(?!127.0.0.1:1/)[^/ ]*/shop(?:\?[^: ]*)?", r"postgresql://\1@db/shop", text
    )
    text = re.sub(r"(?m)^(  server +Postgres) .*", r"\1 18", text)
    text = re.sub(r"20(?!26-01)\d\d-\d\d-\d\d \d\d:\d\d UTC", "2026-01-05 08:12 UTC", text)  # of sessions
    text = re.sub(r"(?m)^(jobforge top .*?\w+)@\S*(?:  Postgres .*)?$", r"\1@db/shop  Postgres 18", text)
    text = re.sub(r"   a look took .*", "", text)  # on a slow machine
    text = re.sub(r"room for \d+", "room for 97", text)
    text = re.sub(r"(JOBFORGE_TENANT_KEY=2026-02:).*", r"\1…", text)
    text = re.sub(r"\d+(\.\d+)?(ms|s)\b(?= *$)", "…", text) if "purged" in text else text
    return "".join(f"{one.rstrip()}\n" for one in text.splitlines())


def answered(shop: Shop, language: str, text: str) -> str:
    """A block as it should be."""
    if language == "sql":
        for statement in text.replace("4711", str(shop.pid)).split(";\n"):
            if statement.strip():
                shop.sql.session("postgres").execute(statement.encode())
        return text
    commands = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    return "".join(f"$ {command}\n{run(shop, command)}" for command in commands)


def fits(written: str, now: str) -> bool:
    """Whether they are the same, but for what … stands for."""
    parts = re.split(r"(?m)^…\n", written)
    return re.fullmatch("(?s:.*)".join(map(re.escape, parts)), now) is not None


@pytest.mark.parametrize(("page", "heading"), sections(), ids=lambda word: word.replace(" ", "-"))
def test_each_command_of_the_page_answers_what_stands_there(shop: Shop, page: str, heading: str) -> None:
    for step in STATES[heading]:
        step(shop)
    text = made = sections()[page, heading]
    wrong = []
    for found in BLOCK.finditer(text):
        language, block = found.groups()
        now = answered(shop, language, block)
        if not fits(block, now):
            wrong.append(now)
            made = made.replace(f"```{language}\n{block}```", f"```{language}\n{now}```", 1)
    if UPDATE and wrong:
        file = ROOT / "docs" / page
        file.write_text(read(file).replace(text, made))
        return
    assert wrong == [], "JOBFORGE_UPDATE_SNAPSHOT=1 writes it down\n" + "\n".join(wrong)


def test_every_section_with_commands_has_its_state() -> None:
    assert [heading for _, heading in sections() if heading not in STATES] == []
    assert not re.search(r"(?m)^\s*update ", "".join(sections().values())), "jobs move by functions only"
