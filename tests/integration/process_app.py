"""The application whose handlers the tests run in child processes; at the top level of a module, as they must be."""

from __future__ import annotations

import ctypes
import datetime as dt
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel

from jobforge_sa import Cancel, Context, Delays, Discard, Done, JobForge, Jobs, Retry, Snooze
from jobforge_sa.types import Outcome

forge = JobForge(tenant="acme")
SOON = Delays(dt.timedelta(milliseconds=20))
INSERT = sa.text("insert into effects values (:n, jobforge.current_tenant())")


class Order(BaseModel):
    n: int = 0
    folder: str = "/nowhere"  # what says how far a handler is, and lets it go on
    how: str = ""


def tell(payload: Order, name: str) -> None:
    """Say something, at once and whatever becomes of the transaction: a file with the process id."""
    new = Path(payload.folder, f".{name}-{payload.n}")
    new.write_text(str(os.getpid()))
    new.rename(new.with_name(f"{name}-{payload.n}"))


def is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


def gate_is_open(payload: Order) -> bool:
    return Path(payload.folder, "gate").exists()


@forge.task(process=True)
def who(ctx: Context, payload: Order) -> dict[str, Any]:
    ctx.log.warning("it is %s", payload.n, extra={"order": payload.n})
    ctx.session.connection()
    return {
        "pid": os.getpid(), "parent": os.getppid(), "group": os.getpgid(0),
        "sockets": len([fd for fd in range(100) if is_socket(fd)]),
        "score": int(Path("/proc/self/oom_score_adj").read_text()),
        "main": threading.current_thread() is threading.main_thread(),
        "is": ctx.session.scalar(sa.text("select current_user || ' for ' || jobforge.current_tenant()")),
        "isolation": ctx.session.scalar(sa.text("show transaction_isolation")),
        "name": ctx.session.scalar(sa.text("show application_name")),
    }  # fmt: skip


@forge.task(process=True, max_attempts=2, retry=SOON)
def store(ctx: Context, payload: Order) -> int:
    """Writes; in its first run the process may be killed at a moment of the test's choice."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def die_behind(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "complete_jobs" in statement:
            die()

    engine = ctx.session.get_bind()
    if ctx.job.run == 1 and payload.how == "before the write":
        die()
    ctx.session.execute(INSERT, {"n": payload.n})
    if ctx.job.run == 1 and payload.how == "after the write":
        die()
    if ctx.job.run == 1 and payload.how == "between completion and commit":
        sa.event.listen(engine, "after_cursor_execute", die_behind)
    if ctx.job.run == 1 and payload.how == "after the commit":
        sa.event.listen(engine, "checkin", die)
    return payload.n


@forge.task(process=True)
def parent(ctx: Context, payload: Order) -> None:
    Jobs(ctx.session).enqueue(who, Order(n=payload.n))


@forge.task(process=True, max_attempts=1)
def spins(ctx: Context, payload: Order) -> int:
    """Keeps a processor busy, and asks nobody whether it should stop."""
    ctx.session.execute(INSERT, {"n": payload.n})
    tell(payload, "running")
    while not gate_is_open(payload):
        sum(range(10_000))
    return os.getpid()


@forge.task(process=True, max_attempts=1)
def completes(ctx: Context, payload: Order) -> None:
    """Completes its job, and then does not end, or dies."""
    ctx.session.execute(INSERT, {"n": payload.n})
    ctx.complete(payload.n)
    tell(payload, "running")
    if payload.how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    while not gate_is_open(payload):
        sum(range(10_000))


@forge.task(process=True, max_attempts=1)
def frozen(ctx: Context, payload: Order) -> None:
    """C code that holds the interpreter lock: no other thread of the process runs, and none is told anything."""
    tell(payload, "running")
    ctypes.PyDLL(None).sleep(120)


@forge.task(process=True, max_attempts=1)
def asks(ctx: Context, payload: Order) -> None:
    ctx.session.execute(INSERT, {"n": payload.n})
    tell(payload, "running")
    while True:
        time.sleep(0.005)
        ctx.check()


@forge.task(process=True, max_attempts=1)
def queries(ctx: Context, payload: Order) -> None:
    ctx.session.execute(INSERT, {"n": payload.n})
    tell(payload, "running")
    ctx.session.execute(sa.text("select pg_sleep(120)"))


@forge.task(process=True, max_attempts=1)
def breeds(ctx: Context, payload: Order) -> None:
    """Starts a process of its own, which holds whatever it inherits."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], close_fds=False)
    Path(payload.folder, "bred").write_text(str(other.pid))
    tell(payload, "running")
    if os.fork() == 0:
        time.sleep(120)
        os._exit(0)
    if payload.how == "dies":
        os._exit(4)
    time.sleep(120)


@forge.task(process=True, max_attempts=1)
def dies(ctx: Context, payload: Order) -> None:
    tell(payload, "running")
    while not gate_is_open(payload):
        time.sleep(0.005)
    match payload.how:
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "abort":
            os.abort()
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "leave":
            sys.exit(3)


@forge.task(process=True, max_attempts=2)
def ends(ctx: Context, payload: Order) -> Outcome | None:
    """Ends as it is told to, from the inside or by a raise."""
    made: dict[str, Outcome] = {
        "done": Done({"a": 1}), "discard": Discard("no use"), "cancel": Cancel("too late"),
        "retry": Retry("again", after=dt.timedelta(milliseconds=10)), "snooze": Snooze(dt.timedelta(milliseconds=1)),
    }  # fmt: skip
    word, _, way = payload.how.partition(" ")
    ctx.session.execute(INSERT, {"n": 1})
    if word == "error":
        raise ValueError("password=hunter2 " + "中" * 20_000)
    if word == "snooze" and ctx.job.run == 3:
        return None
    if way == "raised":
        raise made[word]
    return made[word]


@forge.task()
def thread(ctx: Context, payload: Order) -> int:
    ctx.session.execute(INSERT, {"n": payload.n})
    return os.getpid()


def make_engine() -> sa.Engine:
    engine = sa.create_engine(os.environ["JOBFORGE_TEST_PROCESS_URL"])

    @sa.event.listens_for(engine, "connect")
    def name(connection: Any, _record: object) -> None:
        connection.execute("set application_name = 'made by hand'")
        connection.commit()

    return engine


def deserialize(text: str) -> Any:
    return json.loads(text)


def make_nothing() -> Literal["nothing"]:
    return "nothing"
