"""The application that the tests of the command line start workers for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from jobforge_sa import Context, Discard, JobForge

forge = JobForge(tenant="acme")
empty = JobForge()
no_forge = "a str"


@forge.task(queue="mail", max_attempts=3)
def send(ctx: Context, payload: dict[str, Any]) -> dict[str, Any]:
    ctx.log.info("sent to %s", payload.get("to"))
    return {"sent_to": payload.get("to")}


@forge.task(max_attempts=2)
def fail(ctx: Context, payload: dict[str, Any]) -> None:
    raise ValueError(payload.get("message", "no such luck"))


@forge.task()
def who(ctx: Context, payload: dict[str, Any]) -> Any:
    return ctx.session.scalar(sa.text("select current_user || ' for ' || jobforge.current_tenant()"))


@forge.task()
def give_up(ctx: Context, payload: dict[str, Any]) -> None:
    raise Discard("not in this life")


@forge.task()
def linger(ctx: Context, payload: dict[str, str]) -> str:
    """Runs until a file exists, and does not ask whether it should stop."""
    while not Path(payload["until"]).exists():
        time.sleep(0.01)
    return f"done in run {ctx.job.run}"
