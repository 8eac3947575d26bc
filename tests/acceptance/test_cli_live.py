"""`jobforge jobs watch` and `jobforge top`: what moves on a terminal, and what a pipe gets of it."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import uuid

import pytest
from rich.console import Console
from rich.live import Live
from rich.text import Text

from jobforge_sa.ops import database as databases
from jobforge_sa.ops.jobs import watch_page
from jobforge_sa.ops.jobs.watch import Watch
from jobforge_sa.ops.top import command as top_command
from jobforge_sa.ops.top import look as top_look
from jobforge_sa.ops.top import page as top_page
from jobforge_sa.ops.top.command import Top
from jobforge_sa.types import JobState
from tests.acceptance.cli import ROOT, environment, inside, refused
from tests.support import Sql, wait_for

MANY = """
with made as (
    insert into jobforge.jobs (id, tenant_id, queue, type, priority, payload, run_at, max_attempts, created_at)
    select jobforge.new_job_id(now()), %s, 'default', 't', 0, '{}', now(), 5, now() from generate_series(1, %s)
    returning *)
insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
select queue, tenant_id, priority, id, type, 0, 0, 0 from made"""


# --- jobs watch --------------------------------------------------------------------------------------------


def in_background(work: object) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def waited_for(sql: Sql) -> bool:
    return bool(sql.look("select from jobforge.waits"))


@pytest.mark.parametrize("user", ["jf_app", "jf_admin"])
def test_a_watch_tells_each_change_and_succeeds_with_the_job(sql: Sql, user: str) -> None:
    job_id = sql.enqueue("acme")

    def work() -> None:
        wait_for(lambda: waited_for(sql))
        run = sql.claim_one()
        sql.complete(run, "failed", delay=0, error={"type": "ValueError", "message": "it broke"})
        sql.complete(sql.claim_one())

    thread = in_background(work)
    tenant = ["--tenant", "acme"] if user == "jf_app" else []
    lines = inside(sql.database.url(user), "jobs", "watch", str(job_id), *tenant).stdout.splitlines()
    thread.join()

    assert lines[0].endswith(f"{job_id}  queued")
    assert "-> succeeded, in " in lines[-1]
    shown = inside(sql.database.url(user), "jobs", "watch", str(job_id), *tenant, "--json").stdout
    assert json.loads(shown)["state"] == "succeeded"


def test_a_watch_of_several_is_status_1_when_one_is_dead_and_3_when_the_time_is_up(sql: Sql) -> None:
    url = sql.database.url("jf_admin")
    ours, theirs = sql.enqueue("acme", max_attempts=1), sql.enqueue("other", delay="1 hour")

    late = inside(url, "jobs", "watch", str(ours), str(theirs), "--timeout", "0.2s", status=3)
    assert "not all have ended within 0.2s" in late.stderr

    sql.complete(sql.claim_one(), "failed", error={"type": "ValueError", "message": "it broke"})
    sql("cancel_job", tenant="other", job_id=theirs)
    said = inside(url, "jobs", "watch", str(ours), str(theirs), status=1).stdout
    assert "dead, ValueError: it broke" in said
    assert f"{theirs}  canceled" in said
    refused(inside(url, "jobs", "watch", str(uuid.uuid4()), status=2), "no job")


def test_a_watch_waits_for_a_server_that_went_away_and_says_so_once(sql: Sql) -> None:
    job_id, said = sql.enqueue("acme"), list[str]()
    engine = databases.engine(sql.database.dsn("jf_admin"), name="watched")
    work = Watch(engine, None, [job_id], 20, said.append)
    admin = sql.session("postgres")
    name = sql.database.name.encode()

    def break_off() -> None:
        admin.execute(b"alter database " + name + b" connection limit 0")
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'watched'")
        wait_for(lambda: said)
        admin.execute(b"alter database " + name + b" connection limit -1")
        run = sql.claim_one()
        sql.complete(run)

    sql.session("jf_worker")
    looks = work.looks()
    next(looks)
    thread = in_background(break_off)
    last = list(looks)[-1]
    thread.join()

    assert last.jobs[job_id].state == JobState.SUCCEEDED
    assert [line.split(":")[0] for line in said] == ["no answer", "the database answers again"]


def test_what_a_watch_says_stands_above_the_table_that_goes_on() -> None:
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    with Live(console=console, auto_refresh=False) as live:
        live.update(Text("the table"), refresh=True)
        watch_page.note(console, "no answer\x1b[2J")
        assert isinstance(console.file, io.StringIO)
        said = console.file.getvalue()
    assert re.search("the table\r?(\x1b\\S*)*no answer\ufffd", said), "its line was taken back first"
    assert said.rstrip().endswith("the table")


# --- top ---------------------------------------------------------------------------------------------------


def page(work: Top, columns: int, lines: int) -> list[str]:
    console = Console(width=columns, height=lines, color_system=None)
    with console.capture() as captured:
        console.print(work.page((columns, lines)))
    return captured.get().splitlines()


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (160, 50), (40, 14)])
def test_the_page_fits_and_shows_queues_tenants_running_jobs_and_deaths(sql: Sql, columns: int, lines: int) -> None:
    for tenant in range(30):
        sql.fill(f"tenant-{tenant:02}", 3 if tenant else 40, queue=f"queue-{tenant % 12}")
    sql.fill("acme", 1, max_attempts=1)
    (dead,) = sql.claim(1)
    sql.complete(dead, "failed", error={"type": "ValueError", "message": "it broke " * 30})
    sql.fill("a-tenant-with-a-very-long-name-that-does-not-fit", 12)
    running = sql.claim(12)
    sql("pause_tenant", tenant_id="tenant-00", user="jf_admin")
    work = Top(databases.engine(sql.database.dsn("jf_admin")), 2)
    work.look()
    work.look()

    found = page(work, columns, lines)

    assert len(found) <= lines
    assert max(map(len, found)) <= columns
    text = "\n".join(found)
    for word in ("queue-0", "tenant-00", str(running[0]["job_id"]), str(dead["job_id"]), "enqueued 0", "running 12"):
        assert word in text or columns < 80
    assert ("it broke" in text) == (columns >= top_page.WIDE)


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (160, 50), (40, 14)])
def test_paused_tasks_have_a_line_of_their_own_while_there_are_any(sql: Sql, columns: int, lines: int) -> None:
    for queue in range(12):
        sql.fill("acme", 1, queue=f"queue-{queue:02}")
    work = Top(databases.engine(sql.database.dsn("jf_admin")), 2)
    work.look()
    before = page(work, columns, lines)
    assert "paused" not in "\n".join(before)
    for task in ("send", "export", *(f"task-{n:02}" for n in range(20))):
        sql("pause_task", type=task, user="jf_admin")
    sql("limit_task", type="free", change={"max_running": 1}, user="jf_admin")
    work.look()
    found = page(work, columns, lines)
    assert found[3].startswith("22 tasks are paused: export, send, task")
    assert len(found) <= lines
    assert max(map(len, found)) <= columns
    for task in ("export", *(f"task-{n:02}" for n in range(20))):
        sql("resume_task", type=task, user="jf_admin")
    work.look()
    assert page(work, columns, lines)[3] == "1 task is paused: send"


def test_counters_give_the_rates_and_many_waiting_are_estimated(sql: Sql) -> None:
    engine = databases.engine(sql.database.dsn("jf_admin"))
    before = top_look.look(engine)
    sql.session("postgres").execute(MANY, ["many", 30_000])
    sql.session("postgres").execute(MANY, ["few", 100])
    sql.session("postgres").execute("select pg_stat_force_next_flush()")  # else an idle session tells after 10 s

    def told() -> top_look.Glimpse | None:
        found = top_look.look(engine)
        return found if found.counters[0] - before.counters[0] >= 30_100 else None

    after = wait_for(told)
    assert after is not None
    rates = top_look.rates(before, after)
    assert rates is not None
    # what sessions before us did is told when they have ended, perhaps meanwhile
    assert rates[0] == pytest.approx(30_100 / (after.now - before.now).total_seconds(), rel=0.05)
    assert after.tenants[0].tenant_id == "many"
    assert after.tenants[0].sampled
    assert after.tenants[0].queued == pytest.approx(30_000, rel=0.3)
    assert after.queues[0].queued == top_look.COUNTED


def test_a_slow_look_makes_the_next_one_late_and_a_lost_database_leaves_the_page(sql: Sql) -> None:
    work = Top(databases.engine(sql.database.dsn("jf_admin")), 0.0001)
    work.look()
    assert re.search(r"a look took \d+ms: every ", "\n".join(page(work, 160, 50)))

    away = Top(databases.engine(sql.database.dsn("jf_admin")), 60)
    away.look()
    away._engine = databases.engine("postgresql://u@127.0.0.1:1/d")
    away.look()
    assert "no answer" in "\n".join(page(away, 160, 50))


def test_without_a_terminal_there_is_one_look_or_none(sql: Sql) -> None:
    sql.enqueue()
    look = inside(sql.database.url("jf_admin"), "top", "--once").stdout
    assert "nothing runs" in look
    assert max(len(line) for line in look.splitlines()) <= top_command.PIPED
    refused(inside(sql.database.url("jf_admin"), "top", status=2), "--once")
    refused(inside(sql.database.url("jf_app"), "top", "--once", status=2), "jobforge_admin")


@pytest.mark.parametrize("end", ["q", "interrupt"])
def test_on_a_terminal_it_is_live_until_q_or_an_interrupt_and_leaves_the_terminal_clean(sql: Sql, end: str) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "jobforge_sa", "top", "--interval", "0.5"]
    size = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color"}
    variables = environment(sql.database.url("jf_admin"), **size)
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, env=variables)
    seen = b""

    def shows(word: bytes) -> bool:
        nonlocal seen
        while select.select([master], [], [], 0)[0]:
            seen += os.read(master, 65536)
        return word in seen

    try:
        wait_for(lambda: shows(b"nothing runs"), what="the page")
        job_id = sql.enqueue("acme")
        sql.claim_one()
        wait_for(lambda: shows(str(job_id).encode()), what="the job")
        if end == "q":
            os.write(master, b"q")
        else:
            process.send_signal(signal.SIGINT)
        wait_for(lambda: process.poll() is not None, what="its end")
        shows(b"")
    finally:
        process.kill()
        process.wait()
        os.close(slave)
        os.close(master)
    assert process.returncode == (0 if end == "q" else 130)
    assert seen.index(b"\x1b[?1049h") < seen.rindex(b"\x1b[?1049l"), "it came back from the alternate screen"
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l"), "and the cursor is to be seen"
    assert b"Traceback" not in seen
