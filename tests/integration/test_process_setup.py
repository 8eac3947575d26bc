"""What cannot run in a child process is refused before it runs, with the cure; and how a child gets its engine."""

from __future__ import annotations

import datetime as dt
import functools
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import AsyncContext, Context, JobForge, Jobs, Worker, seal
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.tasks import Task
from jobforge_sa.worker import blueprint
from tests.fix_postgres import Database
from tests.integration import process_app as app
from tests.integration.process_app import Order
from tests.support import wait_for

FORGE = JobForge(tenant="acme")


def hidden(ctx: Context, payload: Order) -> None: ...


HIDDEN = FORGE.task("hidden", process=True)(hidden)
found = hidden
del hidden


def renamed(handler: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(handler)
    def inside(ctx: Context, payload: Order) -> Any:
        return handler(ctx, payload)

    return inside


WRAPPED = JobForge(tenant="acme")


@WRAPPED.task("wrapped", process=True)
@renamed
def wrapped(ctx: Context, payload: Order) -> int:
    return payload.n + 1


def bare(ctx: Context, payload: Order) -> int:
    return payload.n + 2


WRAPPED.task("bare", process=True)(bare)


# -- handlers --------------------------------------------------------------------------


def test_an_async_handler_is_refused_at_its_registration() -> None:
    with pytest.raises(ConfigurationError, match=r"is async.*\n  cure: write def"):

        @JobForge().task(process=True)
        async def work(ctx: AsyncContext, payload: Order) -> None: ...


def test_a_handler_inside_a_function_is_refused_at_its_registration() -> None:
    with pytest.raises(ConfigurationError, match=r"defined in a function.*\n  cure: define it at the top level"):

        @JobForge().task(process=True)
        def work(ctx: Context, payload: Order) -> None: ...


def test_a_handler_that_no_other_process_finds_is_refused_when_the_worker_starts(database: Database) -> None:
    with pytest.raises(ConfigurationError, match=r"the task hidden is not what a child process finds at .*:hidden"):
        Worker(database.engine("jf_one"), FORGE).start()


def test_a_handler_of_the_program_itself_is_refused_when_the_worker_starts(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(found, "__module__", "__main__")
    with pytest.raises(ConfigurationError, match=r"__main__.*\n  cure: move it into a module"):
        Worker(database.engine("jf_one"), FORGE).start()


def test_a_decorated_handler_and_one_that_is_no_task_in_its_module_are_found(database: Database) -> None:
    engine = database.engine("jf_one")
    results = [run(engine, WRAPPED, WRAPPED.tasks[name]) for name in ("wrapped", "bare")]
    assert results == [2, 3]


def run(engine: sa.Engine, forge: JobForge, task: Task[Any, Any], **options: Any) -> Any:
    """The result of a job of this task, or its error."""
    with Session(engine) as session, session.begin():
        job = Jobs(session, tenant="acme").enqueue(task, Order(n=1), max_attempts=1).id
    with Worker(engine, forge, **options) as worker, Session(engine) as session:
        wait_for(lambda: sum(worker.outcomes.values()), 30)
        info = Jobs(session, tenant="acme").get(job)
        if info.state == "succeeded":
            return info.result
        query = "select error from jobforge.attempts where job_id = :id"
        with session.begin_nested():
            session.execute(sa.text("select set_config('jobforge.tenant_id', 'acme', true)"))
            return session.scalar(sa.text(query), {"id": job})


def test_a_module_that_a_child_cannot_import_fails_the_job_with_the_reason(database: Database) -> None:
    error = run(database.engine("jf_one"), app.forge, app.who, process_imports=["no_such_module"])
    assert (error["type"], error["message"]) == ("ModuleNotFoundError", "No module named 'no_such_module'")


# -- engines ---------------------------------------------------------------------------


def test_a_childs_engine_is_as_the_workers(database: Database) -> None:
    engine = database.engine(
        "jf_one",
        connect_args={"application_name": "shop"},
        isolation_level="SERIALIZABLE",
        hide_parameters=True,
        json_serializer=json.dumps,
        json_deserializer=app.deserialize,
    )
    seal(engine)
    result = run(engine.execution_options(compiled_cache=None), app.forge, app.who)
    assert (result["name"], result["isolation"], result["is"]) == ("shop", "serializable", "jf_one for acme")
    plan = blueprint.of_engine(engine, sealed=False)
    assert plan.sealed
    assert plan.build().hide_parameters
    assert plan.functions == {"json_serializer": "json:dumps", "json_deserializer": f"{app.__name__}:deserialize"}


def test_a_blueprint_shows_no_password_and_is_drawn_while_others_connect(database: Database) -> None:
    engine = sa.create_engine("postgresql+psycopg://me:hunter2@h/d", connect_args={"sslpassword": "hunter3"})
    plan = blueprint.of_engine(engine, sealed=False)
    assert plan.arguments == {"sslpassword": "hunter3"}
    assert plan.build().url.password == "hunter2"
    assert "hunter" not in repr(plan)

    real, failed = database.engine("jf_one", poolclass=sa.NullPool), []

    def connect() -> None:
        try:
            for _ in range(20):
                real.connect().close()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=connect) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        blueprint.of_engine(real, sealed=False)
    for thread in threads:
        thread.join()
    assert failed == []


def set_role(connection: Any, record: object) -> None: ...


@pytest.mark.parametrize("event", ["connect", "do_connect", "checkout", "engine_connect", "begin"])
def test_an_engine_with_listeners_that_a_child_would_lack_is_refused(event: str) -> None:
    engine = sa.create_engine("postgresql+psycopg://h/d")
    if event == "engine_connect":  # in the form of SQLAlchemy 1.4, which it wraps
        sa.event.listen(engine, event, set_role)
    else:
        sa.event.listen(engine, event, lambda *_: None)
    with pytest.raises(ConfigurationError, match=rf"\({event}: .*\n  cure: .*process_engine="):
        blueprint.of_engine(engine, sealed=False)


def test_an_engine_with_a_creator_or_with_what_cannot_be_sent_is_refused(database: Database) -> None:
    real = database.engine("jf_one")
    creator = database.engine("jf_one", creator=lambda: real.dialect.connect(**real.dialect.create_connect_args(real.url)[1]))  # noqa: E501  # fmt: skip
    with pytest.raises(ConfigurationError, match=r"a creator of its own.*\n  cure: .*process_engine="):
        Worker(creator, app.forge, session_engine=creator).start()
    lock = sa.create_engine("postgresql+psycopg://h/d", connect_args={"it": threading.Lock()})
    with pytest.raises(
        ConfigurationError, match=r"connect_args have 'it', a lock that cannot be sent.*\n  cure: .*process_engine="
    ):
        blueprint.of_engine(lock, sealed=False)


def test_a_factory_makes_the_engine_in_the_child(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBFORGE_TEST_PROCESS_URL", database.url("jf_one").render_as_string(hide_password=False))
    engine = database.engine("jf_one")
    sa.event.listen(engine, "connect", lambda *_: None)
    result = run(engine, app.forge, app.who, process_engine=app.make_engine)
    assert (result["name"], result["is"]) == ("made by hand", "jf_one for acme")


def test_a_factory_that_makes_none_or_is_not_found_is_refused(database: Database) -> None:
    engine = database.engine("jf_one")
    nothing: Any = app.make_nothing
    with pytest.raises(ConfigurationError, match=r"process_engine made str\n  cure: return create_engine"):
        Worker(engine, app.forge, process_engine=nothing).start()
    with pytest.raises(ConfigurationError, match="process_engine is not what a child process finds"):
        Worker(engine, app.forge, process_engine=lambda: engine, grace=dt.timedelta(0)).start()
