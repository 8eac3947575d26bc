"""All that is kept of a tenant, written as JSON lines: to the standard output, or whole to a file or not at all."""

from __future__ import annotations

import dataclasses
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from jobforge_sa.connectors import ConnectorSettings, TenantSecrets, Webhooks
from jobforge_sa.db import calls
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.limits import BOUNDS
from jobforge_sa.ops import database, progress, records, screen, whole_file
from jobforge_sa.ops.reader import SNAPSHOT, become_admin, moment
from jobforge_sa.tenants import TenantCount, Tenants


def write(target: Engine, tenant: str, out: Path | None, *, force: bool = False) -> int:
    """Write the tenant's head and its jobs, all from one snapshot. Answers how many jobs.

    Raises:
        ConfigurationError: nothing is kept of it, or the file cannot be written or is there already.
    """
    place = None if out is None else whole_file.free(out, force=force)
    with (
        database.translated(target, "jobforge_admin"),
        Session(target.execution_options(**SNAPSHOT)) as session,
        ExitStack() as stack,
    ):
        become_admin(session)
        tenants = Tenants(session)
        count = known(tenants.count(tenant))
        head = _head(session, tenants, count)
        stream = sys.stdout.buffer if place is None else stack.enter_context(whole_file.written(place, force=force))
        report = stack.enter_context(progress.shown(_console(place), "exported", count.jobs))
        stream.write(f"{head}\n".encode())
        written = 0
        for line in tenants.export(tenant):
            stream.write(f"{line}\n".encode())
            written += line.startswith('{"job"')  # else: more attempts of the one before
            if written % 100 == 0:
                report(written)
        stream.flush()
    return written


def known(count: TenantCount) -> TenantCount:
    """Refuse a tenant of whom nothing is kept.

    Raises:
        ConfigurationError: it is unknown, or was purged.
    """
    if count.empty:
        raise ConfigurationError(
            f"nothing is kept of the tenant {screen.named(count.tenant_id)}",
            cure="compare its name, which counts to the last character: jobforge jobs list, jobforge tenants list",
        )
    return count


def _head(session: Session, tenants: Tenants, count: TenantCount) -> str:
    status = next((one for one in tenants.list() if one.tenant_id == count.tenant_id), None)
    revision, *_ = session.execute(calls.SCHEMA_VERSION).one()
    said = {
        "tenant_id": count.tenant_id,
        "exported_at": moment(session),
        "revision": revision,
        "paused_at": status.paused_at if status else None,
        "limits": {name: getattr(status, name, None) for name in BOUNDS},
        "counts": dict(sorted(count.rows.items())),
        "connectors": [dataclasses.asdict(one) for one in ConnectorSettings(session).list(count.tenant_id)],
        "secrets": [dataclasses.asdict(one) for one in TenantSecrets(session).list(count.tenant_id)],  # without values
        "webhooks": _endpoints(session, tenants, count.tenant_id),
    }
    return records.line({"tenant": said})


def _endpoints(session: Session, tenants: Tenants, tenant: str) -> list[dict[str, Any]]:
    tenants.act_for(tenant)  # for the rest of the transaction, which exports this tenant and no other
    return [dataclasses.asdict(one) for one in Webhooks(session, tenant=tenant).list()]


def _console(place: Path | None) -> Console:
    """The standard error; silent where the lines themselves go to the same terminal."""
    return Console(stderr=True, quiet=place is None and sys.stdout.isatty())
