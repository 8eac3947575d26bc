"""docs/storage.md says of each table in which way its space comes back, and it does.

JOBFORGE_UPDATE_SNAPSHOT=1 writes down when each is vacuumed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from tests.fix_postgres import Database
from tests.flat.field import connect
from tests.flat.traffic import Traffic
from tests.house.source import ROOT, callers, sql_functions
from tests.house.test_tables import TABLES, body, writes
from tests.support import one_database

PAGE = ROOT / "docs" / "storage.md"
ROW = re.compile(r"^\| `(?P<table>\w+)` \| (?P<way>\w+) \| [^|]+ \| [^|]+ \| (?P<after>[^|]*?) ?\|$", re.MULTILINE)
SPARE = 4  # pages of a table and of each index, and rows: so many more are none
LOOKS, ROUNDS, BATCH = 15, 2, 150
WRITTEN = {"hot": "n_tup_del", "aged": "n_tup_del", "keyed": "n_tup_del", "updated": "n_tup_upd"}

SIZES = """
select t.relname as table, i.relname as index, pg_relation_size(i.oid) / 8192 as pages
  from pg_class t join pg_index x on x.indrelid = t.oid join pg_class i on i.oid in (x.indexrelid, t.oid)
 where t.relnamespace = 'jobforge'::regnamespace
"""
OPTIONS = """
select c.relname as name, (select jsonb_object_agg(o.option_name, o.option_value)
                             from pg_options_to_table(c.reloptions) o) as options
  from pg_class c where c.relnamespace = 'jobforge'::regnamespace and c.relkind = 'r'
"""


def ways() -> dict[str, str]:
    return {row["table"]: row["way"] for row in ROW.finditer(PAGE.read_text())}


def of(*wanted: str) -> list[str]:
    return [table for table, way in ways().items() if way in wanted]


@pytest.fixture(scope="module")
def passed(admin_url: sa.URL, template: str) -> Iterator[tuple[list[dict[tuple[str, str], int]], dict[str, Any]]]:
    """Sizes on the way, always behind a vacuum; and what was written to each table."""
    with one_database(admin_url, template) as database, connect(database) as admin:
        traffic = Traffic(database, BATCH, tenants=2, odd=3, walks=1)
        traffic.keep(0)
        rows = " union all ".join(
            f"select '{table}' as table, count(*) as rows from jobforge.{table}" for table in TABLES
        )
        sizes = []
        for _ in range(LOOKS):
            for _ in range(ROUNDS):
                traffic.round()
            admin.execute("vacuum")
            found = {(row["table"], row["index"]): row["pages"] for row in admin.execute(SIZES).fetchall()}
            found |= {(row["table"], "rows"): row["rows"] for row in admin.execute(rows).fetchall()}
            sizes.append(found)
        for session in (traffic.app, traffic.worker, traffic.admin):
            session.execute("select pg_stat_force_next_flush()")
        traffic.close()
        written = admin.execute("select * from pg_stat_user_tables where schemaname = 'jobforge'").fetchall()
        yield sizes, {row["relname"]: row for row in written}


def test_every_table_has_its_way() -> None:
    assert sorted(ways()) == TABLES
    assert set(ways().values()) == {"told", *WRITTEN}


@pytest.mark.parametrize("table", of(*WRITTEN))
def test_space_comes_back(passed: tuple[list[dict[tuple[str, str], int]], dict[str, Any]], table: str) -> None:
    sizes, written = passed
    if table not in ("pruning", "heads", "newest"):  # few rows; and where a vacuum comes by, nothing is written
        assert written[table][WRITTEN[ways()[table]]] > LOOKS, "the traffic has not come by here"
    third = LOOKS // 3  # in the first one the tables get as large as they are
    for what in (what for of_table, what in sizes[0] if of_table == table):
        met = [look[table, what] for look in sizes]
        few = max(met[third : 2 * third])
        assert max(met[2 * third :]) <= 1.25 * few + SPARE, f"{what} goes on growing: {met}"


@pytest.mark.parametrize("table", of("hot", "aged"))
def test_nothing_hot_and_nothing_aged_is_updated(table: str) -> None:
    """But the payload of a waiting job that another replaces, and for how long somebody waits."""
    updating = {name for name in sql_functions() if ("update", table) in writes(name)}
    assert updating == {"jobs": {"take_unique_key"}, "waits": {"await_job"}}.get(table, set())


@pytest.mark.parametrize("table", of("told"))
def test_what_is_told_is_written_by_nobody_who_enqueues_or_works(table: str) -> None:
    writing = {name for name in sql_functions() if any(table == written for _, written in writes(name))}
    while (
        more := {
            name for name in sql_functions() if re.search(rf"\bjobforge\.({'|'.join(writing) or '-'})\(", body(name))
        }
        - writing
    ):
        writing |= more
    assert {role for name in writing for role in callers(sql_functions()[name].read_text())} <= {"admin"}


def test_the_page_has_when_each_table_is_vacuumed(database: Database) -> None:
    with connect(database) as admin:
        options = {row["name"]: row["options"] or {} for row in admin.execute(OPTIONS).fetchall()}
    text = PAGE.read_text()
    told = ROW.sub(lambda row: row[0][: row.start("after") - row.start()] + after(options[row["table"]]) + " |", text)
    if os.environ.get("JOBFORGE_UPDATE_SNAPSHOT"):
        PAGE.write_text(told)
    else:
        assert told == text, "JOBFORGE_UPDATE_SNAPSHOT=1 writes it down"
    hot = {table: options[table] for table in of("hot", "updated") if "autovacuum_vacuum_threshold" in options[table]}
    assert all(option["autovacuum_vacuum_scale_factor"] == "0" for option in hot.values())


def after(options: dict[str, str]) -> str:
    """What was set, in words."""
    rows = options.get("autovacuum_vacuum_threshold")
    said = [f"{int(rows):,} rows" if rows else "the server's share"]
    said += ["without pauses"] if options.get("autovacuum_vacuum_cost_delay") == "0" else []
    said += [f"pages {options['fillfactor']} % full"] if "fillfactor" in options else []
    return ", ".join(said)
