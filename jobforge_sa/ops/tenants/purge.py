"""A tenant deleted in batches: each commits on its own, so that it can be stopped and run again at any time."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

import typer
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from jobforge_sa.db import failures
from jobforge_sa.errors import ConfigurationError, JobForgeError
from jobforge_sa.ops import database, screen
from jobforge_sa.tenants import BATCH, TenantCount, Tenants

CROSSED = ("40P01", "55P03")  # a deadlock; a lock that was not given in time
PATIENCE = "2s"  # for a lock: a handler in its last statement, a cancel in an open transaction
TRIES = 12  # of one batch: about a minute and a half in all
SLOWEST = 5.0  # seconds between two

_PATIENCE = text(f"set local lock_timeout = '{PATIENCE}'")


def count(target: Engine, tenant: str) -> TenantCount:
    """How much is kept of a tenant."""
    with database.translated(target, "jobforge_admin"), Session(target) as session:
        return Tenants(session).count(tenant)


def confirm(tenant: str) -> None:
    """Have the tenant's name typed.

    Raises:
        ConfigurationError: there is nobody to ask, or it was not the name.
    """
    if not sys.stdin.isatty():
        raise ConfigurationError("there is no terminal to ask on, and nothing was deleted", cure="pass --yes")
    name = screen.named(tenant)
    typed = typer.prompt(f"\nThis cannot be undone. Type {name} to delete all of it", default="", show_default=False)
    if typed.strip() not in (name, tenant):
        raise ConfigurationError("that is not its name; nothing was deleted", cure=f"type {name}, or pass --yes")


class Purge:
    """The deletion of one tenant."""

    def __init__(self, target: Engine, tenant: str) -> None:
        self._engine = target.execution_options(isolation_level="READ COMMITTED")
        self._tenant = tenant
        self.met = 0  # jobs
        self.paused = False

    def run(self, report: Callable[[int], None]) -> TenantCount:
        """Pause it, then delete batch by batch. Answers what came in behind the last one.

        Raises:
            JobForgeError: the database refuses, or somebody holds a job for longer than we wait.
        """
        with database.translated(self._engine, "jobforge_admin"):
            with Session(self._engine) as session, session.begin():
                Tenants(session).pause(self._tenant)
            self.paused = True
            while met := self._batch():
                self.met += met
                report(self.met)
        return count(self._engine, self._tenant)

    def _batch(self) -> int:
        for tried in range(TRIES):
            try:
                with Session(self._engine) as session, session.begin():
                    session.execute(_PATIENCE)
                    return Tenants(session).purge(self._tenant, BATCH)
            except DBAPIError as error:
                if failures.sqlstate(error) not in CROSSED:
                    raise
                time.sleep(min(SLOWEST, 0.1 * 2**tried) * random.uniform(0.5, 1))
        raise JobForgeError(
            f"somebody holds jobs of {screen.named(self._tenant)}; {self.met:,} are deleted",
            cure="end that transaction (pg_locks, pg_stat_activity), and run it again: it goes on",
        )
