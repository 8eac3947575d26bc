"""Handlers that a dry run has to keep from acting: the application of the tests of `jobforge replay`."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from jobforge_sa import AsyncContext, AsyncJobs, Context, JobForge, Jobs
from jobforge_sa.handlers import Connectors

NOTE = sa.text("insert into notes values (:note)")
forge = JobForge(tenant="acme")
forge.include(Connectors().forge)
opened: list[socket.socket] = []  # before the dry run


def call_out(who: str) -> None:
    """What is done behind the handler's end; says how it went."""
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    except OSError as error:
        with Path(os.environ["REPLAY_APP_NOTES"]).open("a") as notes:
            notes.write(f"{who}: {type(error).__name__}\n")


def call_at_the_end(who: str) -> None:
    threading.main_thread().join()
    call_out(who)


if "REPLAY_APP_NOTES" in os.environ:  # as clients do that send what they are given by a thread of their own
    threading.Thread(target=call_at_the_end, args=["a thread of the module"]).start()


@forge.task()
def mail(ctx: Context, payload: dict[str, Any]) -> None: ...


def reach_out(how: str) -> None:
    """What a handler does beyond its session."""
    match how:
        case "connect":
            socket.create_connection(("192.0.2.1", 443), timeout=1)
        case "swallow":
            try:
                socket.getaddrinfo("api.example.com", 443)
            except OSError:
                return
        case "run":
            subprocess.run([sys.executable, "-c", "print('ran')", "hunter2"], check=True)
        case "fork":
            if os.fork() == 0:
                os._exit(0)
        case "behind":
            threading.Thread(target=call_at_the_end, args=["a thread of the handler"]).start()
            atexit.register(call_out, "atexit")
        case "opened":
            opened[0].sendall(b"hunter2")
        case "spawn":
            multiprocessing.get_context("spawn").Process(target=print).start()
        case "database":
            sa.create_engine(os.environ["JOBFORGE_DATABASE_URL"]).connect()


@forge.task()
def act(ctx: Context, payload: dict[str, Any]) -> Any:
    session = ctx.session
    session.execute(NOTE, {"note": "first"})
    match payload["do"]:
        case "commit":
            session.commit()
            session.execute(NOTE, {"note": "second"})
            with session.begin_nested():
                session.execute(NOTE, {"note": "third"})
            Jobs(session).enqueue(mail, {}, idempotency_key=payload.get("key"))
            Jobs(session).enqueue(mail, {})
        case "complete":
            Jobs(session).enqueue_many([mail.new({}), mail.new({})])
            ctx.complete({"n": 1})
            raise RuntimeError("behind its completion")
        case "driver commit":
            driver: Any = session.connection().connection.driver_connection
            driver.commit()
        case "driver rollback":
            driver = session.connection().connection.driver_connection
            driver.rollback()
            driver.execute("insert into notes values ('behind')")
            driver.commit()
        case "commit in words":
            session.execute(sa.text("commit"))
        case "exit":
            sys.exit(3)
        case "late":
            session.execute(sa.text("insert into later values (1), (1)"))
        case other:
            reach_out(other)
    return {"n": 1}


@forge.task()
async def act_async(ctx: AsyncContext, payload: dict[str, Any]) -> Any:
    await ctx.session.execute(NOTE, {"note": "first"})
    await ctx.session.commit()
    await AsyncJobs(ctx.session).enqueue(mail, {})
    if payload["do"] == "complete":
        await ctx.complete({"n": 1})
    if payload["do"] == "connect":
        import asyncio

        await asyncio.open_connection("192.0.2.1", 443)
    return {"n": 1}


@forge.task()
def sign_in(ctx: Context, payload: dict[str, Any]) -> Any:
    return {"long": len(payload["password"]), "token": payload["password"]}
