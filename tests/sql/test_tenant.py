"""What every function and table of the schema has. How tenants are kept apart: tests/security/."""

from __future__ import annotations

from tests.support import Sql, refused


def test_functions_hold_for_a_superuser_too(sql: Sql) -> None:
    theirs = sql.enqueue("b")
    for function in ("cancel_job", "retry_job", "reschedule_job", "get_job"):
        assert sql(function, user="postgres", tenant="a", job_id=theirs) == []
    assert sql("list_jobs", user="postgres", tenant="a") == []
    with refused("JF001"):
        sql("enqueue_job", user="postgres", type="t")


def test_every_function_pins_its_search_path_and_has_a_comment(shared: Sql) -> None:
    rows = shared.look(
        "select oid::regproc::text as name, proconfig as settings, obj_description(oid, 'pg_proc') as said, "
        "prosecdef as definer from pg_proc where pronamespace = 'jobforge'::regnamespace"
    )
    assert len(rows) > 25
    for row in rows:
        assert "search_path=pg_catalog, pg_temp" in (row["settings"] or []), row
        assert row["said"], row


def test_every_table_forces_row_level_security(shared: Sql) -> None:
    rows = shared.look(
        "select relname, relrowsecurity and relforcerowsecurity as walled from pg_class "
        "where relnamespace = 'jobforge'::regnamespace and relkind = 'r'"
    )
    assert len(rows) == 27
    assert [row["relname"] for row in rows if not row["walled"]] == []
