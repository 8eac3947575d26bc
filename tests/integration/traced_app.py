"""Handlers that a child process imports, and a program without OpenTelemetry."""

from __future__ import annotations

import logging
from typing import Any

from jobforge_sa import Context, JobForge, Jobs

forge = JobForge(tenant="acme")


@forge.task()
def quick(ctx: Context, payload: dict[str, Any]) -> None: ...


@forge.task(process=True)
def traces(ctx: Context, payload: dict[str, Any]) -> None:
    logging.getLogger("the application").info("in a child")
    Jobs(ctx.session).enqueue(quick, {})


WITHOUT = """
import json, sys, time
import sqlalchemy as sa
from sqlalchemy.orm import Session
from jobforge_sa import Context, JobForge, Jobs, Worker

forge = JobForge(tenant="acme")

@forge.task()
def first(ctx: Context, payload: dict[str, int]) -> None:
    Jobs(ctx.session).enqueue(second, {{}})

@forge.task()
def second(ctx: Context, payload: dict[str, int]) -> None: ...

engine = sa.create_engine("{url}")
with engine.begin() as connection:
    connection.execute(sa.text("select set_config('jobforge.tenant_id', 'acme', true)"))
    connection.execute(sa.text("select jobforge.enqueue_job('first', p_trace => json_build_object('request', 'r1'))"))
with Worker(engine, forge) as worker:
    until = time.monotonic() + 20
    while worker.outcomes["succeeded"] < 2 and time.monotonic() < until:
        time.sleep(0.01)
with engine.begin() as connection:
    connection.execute(sa.text("select set_config('jobforge.tenant_id', 'acme', true)"))
    trace = connection.scalar(sa.text("select trace from jobforge.jobs where type = 'second'"))
print(json.dumps({{"loaded": "opentelemetry" in sys.modules, "trace": trace}}))
"""
