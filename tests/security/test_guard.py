"""The guard of the attacks: it fires for a superuser, and no attack passes by it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.fix_postgres import ADMIN
from tests.house.source import ROOT
from tests.security.guard import Attack

LOGINS = ["jf_app", "jf_worker", "jf_admin", "jf_one", "jf_stranger"]


@pytest.mark.parametrize("user", LOGINS)
def test_the_logins_of_the_attacks_are_bound(attacked: Attack, user: str) -> None:
    assert attacked.connect(user).info.user == user
    assert attacked.session(user).info.user == user
    with attacked.engine(user).connect() as connection:
        assert connection.exec_driver_sql("select current_user").scalar() == user


def test_the_guard_fires_for_a_superuser(attacked: Attack) -> None:
    ways: list[Callable[[str], object]] = [attacked.connect, attacked.session, attacked.url]
    ways.append(lambda user: attacked.engine(user).connect())
    for way in ways:
        attacked.look("select 1")  # the superuser's session is open, and still nobody attacks through it
        with pytest.raises(AssertionError, match="superuser"):
            way(ADMIN)
    with pytest.raises(AssertionError, match="superuser"):
        attacked("enqueue_job", user=ADMIN, tenant="a", type="t")


def test_the_guard_fires_for_who_bypasses_row_level_security(attacked: Attack) -> None:
    attacked.dba("alter role jf_stranger bypassrls")
    try:
        with pytest.raises(AssertionError, match="bypasses"):
            attacked.connect("jf_stranger")
    finally:
        attacked.dba("alter role jf_stranger nobypassrls")


def test_the_guard_fires_where_the_table_has_no_row_level_security(attacked: Attack) -> None:
    attacked.dba("alter table jobforge.jobs disable row level security")
    try:
        with pytest.raises(AssertionError, match="does not bind jf_app"):
            attacked.connect("jf_app")
    finally:
        attacked.dba("alter table jobforge.jobs enable row level security")


def test_no_attack_connects_without_the_guard() -> None:
    loose = re.compile(r"psycopg2?\.connect|create_engine|\.database\b|\.dsn\(|[\"']postgres[\"']")
    about_superusers = {"test_guard.py", "test_weak_setups.py"}
    every = (ROOT / "tests" / "security").glob("test_*.py")
    files = sorted(file for file in every if "def test_case_" in file.read_text(encoding="utf-8"))
    found = [
        f"{file.name}:{number} {line.strip()}"
        for file in files
        if file.name not in about_superusers
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if loose.search(line)
    ]
    assert files
    assert found == []
