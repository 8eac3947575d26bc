"""What is said of tenants, queues and tasks, in Python: checked before it is sent, and obeyed at once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Limits, Queues, Retention, Tasks, Tenants, Worker
from jobforge_sa.errors import AccessDenied, ConfigurationError
from jobforge_sa.limits import Limit, LimitInfo
from tests.fix_postgres import Database
from tests.support import wait_for

forge = JobForge()


@forge.task(queue="mail")
def send(ctx: Context, payload: dict[str, Any]) -> None: ...


def test_each_is_said_of_one_and_listed_with_what_is_used(database: Database) -> None:
    with Session(database.engine("jf_admin")) as session, session.begin():
        assert Tasks(session).limit(send, max_running=3, rate=0.5) == Limit("task", "send", None, 3, 0.5)
        assert Tasks(session).limit("send", burst=2) == Limit("task", "send", None, 3, 0.5, 2)
        paused = Queues(session).pause("mail")
        assert Tenants(session).limit("acme", weight=4, max_running=None) == Limit("tenant", "acme", weight=4)
        found = Limits(session).list()
        assert found == [
            LimitInfo("queue", "mail", paused.paused_at),
            LimitInfo("task", "send", None, 3, 0.5, 2, bucket=found[1].bucket),
            LimitInfo("tenant", "acme", weight=4),
        ]  # fmt: skip
        assert [one.name for one in Limits(session).list("task")] == ["send"]
        (mail,) = Queues(session).list()
        assert (mail.name, mail.paused_at) == ("mail", paused.paused_at)
        assert Queues(session).resume("mail") == Limit("queue", "mail")
        assert Queues(session).resume("nobody") == Limit("queue", "nobody")
        assert Tasks(session).limit(send, max_running=None, rate=None) == Limit("task", "send")
        assert [one.scope for one in Limits(session).list()] == ["tenant"]


WRONG: list[Callable[[sa.Connection], object]] = [
    lambda c: Queues(c).limit("mail"),
    lambda c: Queues(c).limit("mail", max_running=-1),
    lambda c: Queues(c).limit("mail", max_running=1_000_001),
    lambda c: Queues(c).limit("mail", max_running=1.5),  # type: ignore[arg-type]
    lambda c: Queues(c).limit("mail", max_running=True),
    lambda c: Queues(c).limit("mail", rate=0),
    lambda c: Queues(c).limit("mail", rate=float("nan")),
    lambda c: Queues(c).limit("mail", rate=float("inf")),
    lambda c: Queues(c).limit("mail", rate="2/s"),  # type: ignore[arg-type]
    lambda c: Tasks(c).limit(send, rate=1, burst=0),
    lambda c: Tenants(c).limit("a", weight=101),
    lambda c: Tenants(c).limit("a", max_waiting=10_000_001),
    lambda c: Queues(c).pause(7),  # type: ignore[arg-type]
    lambda c: Queues(c).pause("a\x00b"),
    lambda c: Tenants(c).pause("a\ud800b"),
    lambda c: Queues(c).limit(send, max_running=1),  # type: ignore[arg-type]
    lambda c: Tenants(c).limit(send, max_running=1),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_is_no_limit_is_said_before_the_database_is_asked(database: Database, number: int) -> None:
    with database.engine("jf_admin").connect() as c:
        with pytest.raises(ConfigurationError) as caught:
            WRONG[number](c)
        assert caught.value.cure
        assert not c.in_transaction()


@pytest.mark.parametrize(("rate", "cure"), [("90/m", "rate=90/60"), (Decimal("1.5"), "float"), ("fast", "float")])
def test_a_rate_of_another_kind_is_told_what_is_taken(database: Database, rate: Any, cure: str) -> None:
    with database.engine("jf_admin").connect() as c, pytest.raises(ConfigurationError) as caught:
        Tasks(c).limit(send, rate=rate)
    assert cure in caught.value.cure


def test_what_only_the_database_can_know_has_our_error_too(database: Database) -> None:
    calls: list[Callable[[sa.Connection], object]] = [
        lambda c: Queues(c).pause(""),
        lambda c: Queues(c).limit("mail", burst=5),
        lambda c: Tasks(c).resume("a b"),
    ]
    for call in calls:
        with database.engine("jf_admin").connect() as c, pytest.raises(ConfigurationError):
            call(c)


def test_what_the_database_refuses_is_said_in_the_words_of_python(database: Database) -> None:
    with database.engine("jf_admin").connect() as c:
        with pytest.raises(ConfigurationError) as caught:
            Queues(c).limit("mail", burst=5)
        assert caught.value.cure == "Give the rate too. Nothing was changed."
        c.rollback()
        with pytest.raises(ConfigurationError) as caught:
            Retention(c).set("result", None, newest=5)
        assert caught.value.message == "newest must be 1 or more, and is for succeeded, dead and canceled jobs"
        assert caught.value.cure == "Leave it out, or let a keep of 0 keep none."


@pytest.mark.parametrize("user", ["jf_app", "jf_worker", "jf_stranger"])
def test_who_is_no_administrator_is_refused(database: Database, user: str) -> None:
    calls: list[Callable[[sa.Connection], object]] = [
        lambda c: Queues(c).pause("mail"),
        lambda c: Tasks(c).limit(send, rate=1),
        lambda c: Limits(c).list(),
        lambda c: Tenants(c).resume("acme"),
    ]
    for call in calls:
        with database.engine(user).connect() as c, pytest.raises(AccessDenied):
            call(c)


def test_a_running_worker_obeys_at_once_and_is_woken(database: Database) -> None:
    """It would look again after a minute by itself."""
    admin = database.engine("jf_admin", isolation_level="AUTOCOMMIT")

    def states() -> set[str]:
        with admin.connect() as c:
            return {row[0] for row in c.execute(sa.text("select state from jobforge.all_jobs"))}

    def put() -> None:
        with Session(database.engine("jf_one")) as session, session.begin():
            Jobs(session, tenant="acme").enqueue(send, {})

    with Worker(database.engine("jf_one"), forge, poll=dt.timedelta(minutes=1)), admin.connect() as c:
        for of, name in ((Queues(c), "mail"), (Tasks(c), "send"), (Tenants(c), "acme")):
            of.pause(name)
            put()
            assert states() <= {"queued", "succeeded"}
            of.resume(name)
            wait_for(lambda: states() == {"succeeded"})
