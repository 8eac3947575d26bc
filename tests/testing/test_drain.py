"""`drain`: the jobs of a test run on its own connection, by the functions that a worker calls."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from jobforge_sa import Jobs, JobState, Task, TenantKey, bind_tenant
from jobforge_sa.errors import AccessDenied, ConfigurationError, WrongIsolation
from jobforge_sa.models import Job
from jobforge_sa.testing.database import TESTER, Database, autocommit, make_logins
from jobforge_sa.testing.drain import TooManyJobs, before, drain
from jobforge_sa.testing.jobs import JobsUnderTest
from tests.testing import shop
from tests.testing.shop import HOUR, Order, Ship

STANDS = sa.text(
    "select current_setting('role'), current_setting('jobforge.tenant_id', true), current_user, "
    "current_setting('synchronous_commit'), current_setting('lock_timeout')"
)


@pytest.fixture
def session(jobforge_session: Session) -> Session:
    """The test's, of the tenant "a"."""
    bind_tenant(jobforge_session, "a")
    return jobforge_session


@pytest.fixture
def order(session: Session) -> Order:
    order = Order(tenant_id="a")
    session.add(order)
    session.flush()
    return order


def states(session: Session) -> dict[str, str]:
    return {job.type: job.state for job in session.scalars(sa.select(Job).order_by(Job.id))}


def seen_by_others(database: Database) -> int:
    with database.engine(poolclass=sa.NullPool).connect() as other:
        return int(other.scalar(sa.text("select count(*) from jobforge.jobs")) or 0)


# -- what runs -------------------------------------------------------------------------


def test_jobs_and_what_they_enqueue_run_and_nobody_else_sees_anything(
    session: Session, order: Order, jobs: JobsUnderTest, jobforge_shared: Database
) -> None:
    Jobs(session).enqueue(shop.ship, lambda: Ship(order_id=order.id))
    drained = jobs.drain()

    assert [(one.type, one.outcome, one.tenant_id, one.attempt) for one in drained] == [
        ("ship", "succeeded", "a", 1),
        ("mail", "succeeded", "a", 1),
    ]
    assert drained.counts == {"succeeded": 2}
    assert [one.result for one in drained] == ["shipped", {"state": "shipped", "orders": 1}]
    assert order.state == "shipped", "what the handler wrote is read anew"
    (mail,) = drained.of(shop.mail)
    assert mail.job is not None
    assert mail.job.parent_id == drained.ran[0].id
    assert mail.state is JobState.SUCCEEDED
    assert seen_by_others(jobforge_shared) == 0


def test_no_notification_is_sent(
    session: Session, order: Order, jobs: JobsUnderTest, jobforge_shared: Database
) -> None:
    with psycopg.connect(jobforge_shared.dsn(), autocommit=True) as listener:
        listener.execute("listen jobforge")
        listener.execute("select jobforge.doze('{default,other}')")
        Jobs(session).enqueue(shop.ship, Ship(order_id=order.id))
        jobs.drain()
        session.connection().rollback()
        assert list(listener.notifies(timeout=0.2)) == []


def test_what_waits_is_left_and_said(session: Session, order: Order, jobs: JobsUnderTest) -> None:
    Jobs(session).enqueue(shop.ship, Ship(order_id=order.id), delay=HOUR)
    Jobs(session).enqueue(shop.note, {}, queue="other")
    session.execute(sa.text("select jobforge.enqueue_job('strange')"))
    drained = jobs.drain(queues=["default", "mail"])

    assert not drained
    assert [(one.type, one.queue, one.due is None) for one in drained.left] == [
        ("note", "other", True),
        ("strange", "default", True),
        ("ship", "default", False),
    ]


def test_without_recursion_what_handlers_enqueue_waits(session: Session, order: Order, jobs: JobsUnderTest) -> None:
    Jobs(session).enqueue(shop.ship, Ship(order_id=order.id))
    Jobs(session).enqueue(shop.again, {})
    Jobs(session).enqueue(shop.again, {})
    drained = jobs.drain(recursive=False)

    assert [one.type for one in drained] == ["ship", "again", "again"]
    assert sorted(one.type for one in drained.left) == ["again", "again", "mail"]
    assert {job.attempt for job in session.scalars(sa.select(Job).where(Job.state == "queued"))} == {0}, "uncharged"


def test_without_recursion_what_is_due_later_runs_once(session: Session, jobs: JobsUnderTest) -> None:
    for hours in (3, 1):
        Jobs(session).enqueue(shop.again, {"hours": hours}, delay=hours * HOUR)
    drained = jobs.drain(recursive=False, scheduled=True)

    assert [one.payload["hours"] for one in drained] == [1, 3]
    assert [one.type for one in drained.left] == ["again", "again"]


def test_all_queues_go_in_the_order_of_the_enqueues(session: Session, jobs: JobsUnderTest) -> None:
    jobs.clock.freeze()
    for n in range(30):
        Jobs(session).enqueue(shop.note, {"n": n}, queue=f"q{n % 4}")
    assert [one.result for one in jobs.drain()] == [*range(30)]


def test_one_that_enqueues_itself_for_ever_is_stopped(session: Session, jobs: JobsUnderTest) -> None:
    Jobs(session).enqueue(shop.again, {})
    with pytest.raises(TooManyJobs, match=r"7 jobs ran, and more wait: .*\(again 7 times\)"):
        jobs.drain(max_jobs=7)
    assert session.scalar(sa.select(sa.func.count()).where(Job.state == "succeeded")) == 7


def test_process_handlers_run_in_place(session: Session, jobs: JobsUnderTest) -> None:
    Jobs(session).enqueue(shop.process, {})
    assert jobs.drain().ran[0].result == os.getpid()


def test_a_unique_key_is_free_when_its_job_has_run(session: Session, jobs: JobsUnderTest) -> None:
    answers = [Jobs(session).enqueue(shop.tell, {"n": n}).created for n in (1, 2)]
    assert [one.result for one in jobs.drain()] == [1]
    answers.append(Jobs(session).enqueue(shop.tell, {"n": 3}).created)

    assert answers == [True, False, True]
    assert [one.result for one in jobs.drain()] == [3]


# -- how it ends -----------------------------------------------------------------------


@pytest.mark.parametrize("task", [shop.fail, shop.fail_async], ids=lambda task: task.name)
def test_an_error_is_raised_when_it_is_on_record_and_its_work_undone(
    session: Session, order: Order, jobs: JobsUnderTest, task: Task[Any, Any]
) -> None:
    Jobs(session).enqueue(task, Ship(order_id=order.id))
    with pytest.raises(RuntimeError, match="no such carrier") as caught:
        jobs.drain()

    assert str(caught.traceback[-1].path).endswith("shop.py")
    assert f"raised by the handler of {task.name}, job " in caught.value.__notes__[0]
    assert order.state == "new"
    job = session.scalars(sa.select(Job)).one()
    assert job.state == "scheduled"
    assert [(one.outcome, (one.error or {})["message"]) for one in job.attempts] == [("failed", "no such carrier")]


def test_retries_wait_for_their_time_until_the_job_is_dead(session: Session, order: Order, jobs: JobsUnderTest) -> None:
    Jobs(session).enqueue(shop.fail, Ship(order_id=order.id))
    began = jobs.clock.now()
    assert [one.outcome for one in jobs.drain(raise_errors=False)] == ["failed"]
    drained = jobs.drain(raise_errors=False, scheduled=True)

    assert [(one.attempt, one.state) for one in drained] == [(2, "scheduled"), (3, "scheduled"), (4, "dead")]
    assert all(isinstance(one.exception, RuntimeError) for one in drained)
    assert (drained.ran[-1].error or {})["type"] == "RuntimeError"
    assert dt.timedelta(seconds=7) < jobs.clock.now() - began < dt.timedelta(seconds=20)  # 1 + 2 + 4, and the test


@pytest.mark.parametrize(
    ("name", "ended", "state"),
    [
        ("retry", "failed", "scheduled"),
        ("snooze", "snoozed", "scheduled"),
        ("discard", "failed", "dead"),
        ("cancel", "canceled", "canceled"),
    ],
)
def test_outcomes_are_no_errors(session: Session, jobs: JobsUnderTest, name: str, ended: str, state: str) -> None:
    Jobs(session).enqueue(shop.outcome, {"as": name})
    (ran,) = jobs.drain()
    assert (ran.outcome, ran.state, ran.exception) == (ended, state, None)


def test_one_that_gives_itself_back_for_ever_is_stopped(session: Session, jobs: JobsUnderTest) -> None:
    Jobs(session).enqueue(shop.outcome, {"as": "release"})
    with pytest.raises(TooManyJobs):
        jobs.drain(max_jobs=3)
    assert states(session) == {"outcome": "queued"}


def test_a_step_that_was_committed_stays(session: Session, order: Order, jobs: JobsUnderTest) -> None:
    Jobs(session).enqueue(shop.step, Ship(order_id=order.id))
    (ran,) = jobs.drain(raise_errors=False)
    assert (ran.outcome, order.state) == ("failed", "packed")


def test_what_a_handler_has_completed_stays_whatever_it_raises_then(
    session: Session, order: Order, jobs: JobsUnderTest
) -> None:
    Jobs(session).enqueue(shop.complete, Ship(order_id=order.id))
    (ran,) = jobs.drain()
    assert (ran.outcome, ran.result, order.state) == ("succeeded", {"by": "hand"}, "shipped")


def test_a_statement_that_fails_breaks_no_more_than_its_job(session: Session, jobs: JobsUnderTest) -> None:
    Jobs(session).enqueue(shop.breaks, {})
    Jobs(session).enqueue(shop.note, {"n": 1})
    drained = jobs.drain(raise_errors=False)

    assert drained.counts == {"failed": 1, "succeeded": 1}
    assert isinstance(drained.ran[0].exception, DataError)


def test_constraints_that_wait_for_the_commit_fail_the_job(session: Session, order: Order, jobs: JobsUnderTest) -> None:
    session.add(Order(tenant_id="a"))
    Jobs(session).enqueue(shop.number, Ship(order_id=order.id))
    with pytest.raises(IntegrityError, match="orders_number_key"):
        jobs.drain()

    assert order.number is None


def test_constraints_wait_behind_a_job_as_before(session: Session, order: Order, jobs: JobsUnderTest) -> None:
    session.add(Order(tenant_id="a"))
    Jobs(session).enqueue(shop.ship, Ship(order_id=order.id))
    jobs.drain()
    session.execute(sa.update(Order).values(number=2))  # for the end of this transaction
    with pytest.raises(IntegrityError, match="orders_number_key"):
        session.execute(sa.text("set constraints all immediate"))


def test_only_what_is_for_pytest_goes_through_where_errors_do_not(session: Session, jobs: JobsUnderTest) -> None:
    Jobs(session).enqueue(shop.stop, {"by": "exit"})
    assert [type(one.exception) for one in jobs.drain(raise_errors=False)] == [SystemExit]
    Jobs(session).enqueue(shop.stop, {"by": "interrupt"})
    with pytest.raises(KeyboardInterrupt):
        jobs.drain(raise_errors=False)


def test_a_payload_that_fits_no_longer_is_dead(session: Session, jobs: JobsUnderTest) -> None:
    session.execute(sa.text("select jobforge.enqueue_job('ship', json_build_object('order_id', 'x'))"))
    (ran,) = jobs.drain(raise_errors=False)
    assert (ran.outcome, ran.state, (ran.error or {})["type"]) == ("failed", "dead", "InvalidPayload")


def test_a_handler_that_ends_the_tests_transaction_is_told_so(
    session: Session, jobs: JobsUnderTest, jobforge_shared: Database
) -> None:
    Jobs(session).enqueue(shop.ends, {})
    with pytest.raises(ConfigurationError, match="has ended the transaction of the test") as caught:
        jobs.drain(raise_errors=False)
    assert "commit by ctx.session.commit()" in caught.value.cure
    assert seen_by_others(jobforge_shared) == 0


def test_of_a_transaction_that_a_handler_ended_nothing_comes_to_the_next_test(jobforge_shared: Database) -> None:
    engine = jobforge_shared.engine(TESTER, pool_size=1, max_overflow=0)
    for _ in range(2):
        with engine.connect() as connection:
            enqueue(connection, "a")
            assert connection.scalar(sa.text("select count(*) from jobforge.all_jobs")) == 1
            Jobs(connection, tenant="a").enqueue(shop.ends, {})
            with pytest.raises(ConfigurationError, match="has ended the transaction"):
                drain(connection, shop.forge)
    assert seen_by_others(jobforge_shared) == 0


# -- in whose transaction --------------------------------------------------------------


def test_it_is_part_of_the_savepoint_that_it_is_called_in(session: Session, order: Order, jobs: JobsUnderTest) -> None:
    Jobs(session).enqueue(shop.ship, Ship(order_id=order.id))
    session.commit()  # the application's: a savepoint's end
    with session.begin_nested() as savepoint:
        assert len(jobs.drain()) == 2
        savepoint.rollback()
    assert states(session) == {"ship": "queued"}
    assert len(jobs.drain()) == 2
    session.rollback()
    assert states(session) == {"ship": "queued"}


@pytest.mark.parametrize("expires", [True, False])
def test_the_session_reads_anew_what_a_commit_would_let_it(
    jobforge_connection: sa.Connection, jobs: JobsUnderTest, expires: bool
) -> None:
    factory = sessionmaker(jobforge_connection, join_transaction_mode="create_savepoint", expire_on_commit=expires)
    scope = scoped_session(factory)
    bind_tenant(scope, "a")
    order = Order(tenant_id="a")
    scope.add(order)
    Jobs(scope).enqueue(shop.ship, lambda: Ship(order_id=order.id))
    drain(scope, shop.forge)

    assert order.state == ("shipped" if expires else "new")
    scope.remove()


def test_a_connection_will_do(jobforge_connection: sa.Connection) -> None:
    Jobs(jobforge_connection, tenant="b").enqueue(shop.note, {"n": 1})
    assert [one.result for one in drain(jobforge_connection, shop.forge)] == [1]


def test_jobs_of_a_unit_of_work_are_flushed_first(session: Session, jobs: JobsUnderTest) -> None:
    order = Order(tenant_id="a")
    session.add(order)
    Jobs(session).add(shop.ship, lambda: Ship(order_id=order.id))
    assert [one.type for one in jobs.drain()] == ["ship", "mail"]


def test_a_transaction_above_read_committed_is_refused_and_stays_whole(jobforge_shared: Database) -> None:
    engine = jobforge_shared.engine(TESTER, isolation_level="REPEATABLE READ")
    with Session(engine) as session:
        Jobs(session, tenant="a").enqueue(shop.note, {})
        with pytest.raises(WrongIsolation):
            drain(session, shop.forge)
        assert session.scalar(sa.text("select 1")) == 1


def test_autocommit_is_refused(jobforge_shared: Database) -> None:
    with (
        jobforge_shared.engine(TESTER, isolation_level="AUTOCOMMIT").connect() as connection,
        pytest.raises(ConfigurationError, match="AUTOCOMMIT"),
    ):
        drain(connection, shop.forge)


def test_another_driver_does_the_same(jobforge_shared: Database) -> None:
    engine = sa.create_engine(jobforge_shared.url(TESTER).set(drivername="postgresql+psycopg2"), poolclass=sa.NullPool)
    with Session(engine) as session:
        bind_tenant(session, "a")
        order = Order(tenant_id="a")
        session.add(order)
        Jobs(session).enqueue(shop.ship, lambda: Ship(order_id=order.id))
        assert drain(session, shop.forge).counts == {"succeeded": 2}


# -- as whom ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worker_login(jobforge_shared: Database, jobforge_server: sa.URL) -> str:
    """One that sees a tenant at a time, and may not look around as administrator."""
    with autocommit(jobforge_server) as admin:
        make_logins(admin, jobforge_server.password, {"jf_hands": ["jobforge_app", "jobforge_worker"]})
    return "jf_hands"


@pytest.fixture
def two_tenants(jobforge_connection: sa.Connection) -> sa.Connection:
    for tenant in ("a", "b", "b"):
        enqueue(jobforge_connection, tenant)
    return jobforge_connection


def enqueue(connection: sa.Connection, tenant: str) -> None:
    connection.execute(sa.text("select set_config('jobforge.tenant_id', '', true)"))
    Jobs(connection, tenant=tenant).enqueue(shop.note, {})


def test_all_tenants_jobs_run_each_as_its_own(two_tenants: sa.Connection) -> None:
    before = two_tenants.execute(STANDS).one()
    drained = drain(two_tenants, shop.forge)

    assert [one.tenant_id for one in drained] == ["a", "b", "b"]
    assert two_tenants.execute(STANDS).one() == before


def test_one_tenants_jobs_run_alone(two_tenants: sa.Connection) -> None:
    drained = drain(two_tenants, shop.forge, tenant="a")

    assert [one.tenant_id for one in drained] == ["a"]
    assert [one.tenant_id for one in drained.left] == ["b", "b"]


def test_a_login_that_is_shown_one_tenant_runs_them_all(jobforge_shared: Database, worker_login: str) -> None:
    with jobforge_shared.engine(worker_login, poolclass=sa.NullPool).connect() as connection:
        for tenant in ("b", "a", "c"):
            enqueue(connection, tenant)
        assert {one.tenant_id for one in drain(connection, shop.forge)} == {"a", "b", "c"}
        enqueue(connection, "b")
        enqueue(connection, "a")
        assert [one.tenant_id for one in drain(connection, shop.forge, tenant="b")] == ["b"]
        connection.rollback()


def test_a_paused_tenants_jobs_wait_and_hold_up_nobody(two_tenants: sa.Connection) -> None:
    two_tenants.exec_driver_sql("set local role jobforge_admin")
    two_tenants.exec_driver_sql("select jobforge.pause_tenant('a')")
    two_tenants.exec_driver_sql("set local role none")
    assert [one.tenant_id for one in drain(two_tenants, shop.forge)] == ["b", "b"]


def test_a_login_that_is_no_worker_reads_the_grant(jobforge_shared: Database, template: str) -> None:
    with jobforge_shared.engine("jf_app").connect() as connection:
        enqueue(connection, "a")
        with pytest.raises(AccessDenied, match='"jf_app" is no worker') as caught:
            drain(connection, shop.forge)
        assert 'grant jobforge_worker to "jf_app";' in caught.value.cure
        assert connection.scalar(sa.text("select count(*) from jobforge.all_jobs")) == 1, "nothing is broken"


def test_the_application_itself_may_not_claim(jobforge_connection: sa.Connection) -> None:
    if (jobforge_connection.dialect.server_version_info or (0,)) < (16,):
        pytest.skip("the rights of a role are inherited there, or not, by the login as a whole")
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        jobforge_connection.exec_driver_sql("select jobforge.claim_jobs(gen_random_uuid(), '{default}', '{note}')")


@pytest.fixture
def signed(jobforge_database: Database) -> TenantKey:
    key = TenantKey.generate("k1")
    with jobforge_database.engine().begin() as connection:
        connection.exec_driver_sql("set local role jobforge_owner")
        connection.exec_driver_sql(f"select jobforge.add_tenant_key('k1', decode('{key.secret.hex()}', 'hex'))")
        connection.exec_driver_sql("select jobforge.use_tenancy('signed')")
    return key


@pytest.mark.filterwarnings("ignore::jobforge_sa.errors.SecurityWarning")
def test_signed_tenants_do_the_same(jobforge_database: Database, signed: TenantKey) -> None:
    with Session(jobforge_database.engine(TESTER)) as session:
        bind_tenant(session, signed.tenant("a"))
        order = Order(tenant_id="a")
        session.add(order)
        Jobs(session).enqueue(shop.ship, lambda: Ship(order_id=order.id))
        Jobs(session).enqueue(shop.fail, lambda: Ship(order_id=order.id))
        drained = drain(session, shop.forge, raise_errors=False, scheduled=True)

        assert drained.counts == {"succeeded": 2, "failed": 4}
        assert session.scalar(sa.text("select jobforge.current_tenant()")) == "a"


@pytest.mark.parametrize("tenant", ["a", "b" * 200, "b\x01", "x\ue000", "ä", "a0"])
def test_nothing_stands_between_a_tenant_and_what_is_before_it(tenant: str) -> None:
    assert before(tenant) < tenant
    assert not before(tenant) < tenant[:-1] + chr(max(ord(tenant[-1]) - 1, 1))[:0] < tenant
    assert len(before(tenant)) <= 200
