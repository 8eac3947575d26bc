"""The catalog at head is the one that was reviewed."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobforge_sa.db import introspect
from tests.fix_postgres import Database
from tests.migration.projects import snapshot

FILE = Path(__file__).parents[1] / "snapshots" / "schema.sql"
UPDATE = "JOBFORGE_UPDATE_SNAPSHOT"


def test_the_catalog_is_the_reviewed_one(database: Database) -> None:
    now = snapshot(database.engine())
    if os.environ.get(UPDATE):
        FILE.write_text(now)
    reviewed = FILE.read_text() if FILE.exists() else ""
    if now != reviewed:
        diff = difflib.unified_diff(reviewed.splitlines(), now.splitlines(), "reviewed", "now", lineterm="")
        cure = f"If that is meant: {UPDATE}=1 python -m pytest tests/migration/test_snapshot.py"
        pytest.fail("\n".join([*diff, "", cure]), pytrace=False)


@pytest.mark.parametrize(
    "change",
    [
        "alter role jobforge_app inherit",
        "grant create on schema jobforge to public",
        "alter default privileges for role jobforge_owner grant select on tables to jobforge_app",
        "alter table jobforge.jobs alter tenant_id drop not null",
        "alter table jobforge.jobs alter tenant_id set default 'x'",
        "alter table jobforge.jobs add check (tenant_id <> '')",
        "alter table jobforge.jobs no force row level security",
        "alter table jobforge.jobs owner to postgres",
        "alter table jobforge.jobs set (toast.autovacuum_enabled = false)",
        "create policy rogue on jobforge.jobs using (true)",
        "create index rogue on jobforge.jobs (created_at)",
        "create trigger rogue before insert on jobforge.jobs execute function tsvector_update_trigger()",
        "create statistics jobforge.rogue on queue, type from jobforge.jobs",
        "grant update (queue) on jobforge.jobs to jobforge_app",
        "grant insert on jobforge.jobs to public",
        "comment on column jobforge.jobs.queue is 'x'",
        "comment on policy jobs_wall on jobforge.jobs is 'x'",
        "alter view jobforge.all_jobs set (security_invoker = false)",
        "grant execute on function jobforge.now() to public",
        "alter function jobforge.now() reset all",
        "create sequence jobforge.rogue",
        "create domain jobforge.rogue as text check (value <> '')",
    ],
)
def test_a_change_by_hand_is_seen(database: Database, change: str) -> None:
    with database.engine().connect() as connection:
        before = introspect.snapshot(connection)
        connection.exec_driver_sql(change)
        assert introspect.snapshot(connection) != before
        connection.rollback()


def test_the_reader_needs_no_rights_and_leaves_its_session_as_it_was(database: Database) -> None:
    settings = sa.text("select name, setting from pg_settings order by name")
    with database.engine("jf_stranger").connect() as connection:
        connection.exec_driver_sql("set local intervalstyle = iso_8601; set local search_path = jobforge, public")
        before = connection.execute(settings).all()
        seen = introspect.snapshot(connection)
        assert connection.execute(settings).all() == before
    assert seen == snapshot(database.engine())
