"""The catalog at each revision is the one that was reviewed: what `jobforge doctor` holds a database to.

A revision's file is written by one command, which is to be run whenever its SQL changes, and read as a diff:
JOBFORGE_UPDATE_SNAPSHOT=1 python -m pytest tests/migration/test_snapshot.py
"""

from __future__ import annotations

import difflib
import os

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from jobforge_sa.db import introspect, migrate
from jobforge_sa.ops.doctor import drift as doctor_drift
from tests.fix_postgres import Database
from tests.migration.projects import snapshot

HISTORY = [script.revision for script in ScriptDirectory(str(migrate.script_location())).walk_revisions()]
UPDATE = "JOBFORGE_UPDATE_SNAPSHOT"


@pytest.mark.parametrize("revision", HISTORY)
def test_the_catalog_is_the_reviewed_one(bare_database: Database, revision: str) -> None:
    file = doctor_drift.MADE / f"{revision}.sql"
    migrate.upgrade(bare_database.engine(), revision)
    now = snapshot(bare_database.engine())
    if os.environ.get(UPDATE):
        file.write_text(now)
    reviewed = file.read_text() if file.exists() else ""
    if now != reviewed:
        diff = difflib.unified_diff(reviewed.splitlines(), now.splitlines(), "reviewed", "now", lineterm="")
        cure = f"If that is meant: {UPDATE}=1 python -m pytest tests/migration/test_snapshot.py"
        pytest.fail("\n".join([*diff, "", cure]), pytrace=False)


def test_what_is_shipped_is_of_the_history_and_reads_back(database: Database) -> None:
    assert {file.stem for file in doctor_drift.MADE.glob("*.sql")} == {*HISTORY}
    with database.engine().connect() as connection:
        assert introspect.parse(introspect.snapshot(connection)) == introspect.describe(connection)


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
        "create aggregate jobforge.rogue (integer) (sfunc = int4_sum, stype = bigint)",
        "create operator jobforge.=== (function = texteq, leftarg = text, rightarg = text)",
        "alter table jobforge.jobs alter queue set statistics 100",
        "alter table jobforge.jobs replica identity full",
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
