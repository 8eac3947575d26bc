"""Imports fall one way: what stands lower never knows what stands higher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.fix_postgres import Database
from tests.house.source import PACKAGE, imports, name_of, python_files

# from the bottom up: each may import those before it
LAYERS = (
    "errors",
    "redaction",
    "types",
    "webhooks",
    "egress",
    "impact",
    "tenant",
    "trace",
    "context",
    "joblog",
    "tracing",
    "tasks",
    "db",
    "migrations",
    "models",
    "enqueue",
    "admin",
    "limits",
    "tenants",
    "retention",
    "queues",
    "settings",
    "secrets",
    "connectors",
    "artifacts",
    "handlers",
    "worker",
    "metrics",
    "results",
    "ops",
    "testing",
    "__main__",
)

# layers with fewer friends than their place allows, by who may import them
ONLY_BY: dict[str, set[str]] = {
    "handlers": {"worker", "ops"},  # they hang on tasks: the engine runs without them
    "migrations": set(),  # the door for an application's own revisions
    "ops": {"__main__"},  # it may know all, and nothing hangs on it
    "testing": set(),  # tests, examples and benchmarks may; a server for tests has no place in production
}

# what a library may be imported by; all others do without
ONLY_IN: dict[str, tuple[str, ...]] = {
    # 0.4 s to import, and nothing for a web process
    "alembic": ("db/ddl.py", "db/host_revision.py", "db/migrate.py", "migrations.py"),
    "typer": ("ops/",),
    "rich": ("ops/",),
    # an enqueue never starts a thread; webhooks.py has a lock, egress/ a thread for each lookup that may hang
    "boto3": ("artifacts/bucket.py",),
    "botocore": ("artifacts/bucket.py",),
    "jinja2": ("handlers/report/page.py",),
    "threading": ("artifacts/bucket.py", "worker/", "results/", "ops/", "testing/", "webhooks.py", "egress/"),
    "concurrent": ("worker/", "ops/", "testing/"),
    "pytest": ("testing/plugin.py",),  # what the fixtures give works without it
    "opentelemetry": ("tracing.py",),  # it is not loaded there, but found
    "httpcore": ("egress/",),  # the one way out
    "prometheus_client": ("metrics.py", "ops/"),
    "pydantic_settings": ("settings.py",),
    "cryptography": ("secrets/keys.py",),  # 60 ms to import: where a secret is sealed or opened
    "psycopg": ("worker/", "results/", "ops/", "testing/"),  # an application enqueues with the driver that it has
}

FILES = [file for file in python_files("jobforge_sa") if file != PACKAGE / "__init__.py"]

LOADED = "import sys; print('\\n'.join(sys.modules))"
WEB_PROCESS = """
import os
import sqlalchemy as sa
from sqlalchemy.orm import Session
from jobforge_sa import Context, JobForge, Jobs

forge = JobForge(tenant="main")

@forge.task()
def nothing(ctx: Context, payload: dict[str, int]) -> None: ...

with Session(sa.create_engine(os.environ["JOBFORGE_DATABASE_URL"])) as session:
    Jobs(session).enqueue(nothing, {"n": 1})
    session.commit()
"""


def layer(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def ours(file: Path) -> list[tuple[int, str, str]]:
    """The imports of our own modules: line, layer, whole name."""
    found = [(line, module.split("."), module) for line, module in imports(file)]
    return [(line, (*parts, "")[1], module) for line, parts, module in found if parts[0] == "jobforge_sa"]


def loaded(script: str, **environment: str) -> set[str]:
    process = subprocess.run(
        [sys.executable, "-c", script + LOADED],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return set(process.stdout.split())


def test_every_module_has_its_layer() -> None:
    assert {layer(file) for file in FILES} <= set(LAYERS)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_no_layer_knows_a_higher_one(file: Path) -> None:
    known = LAYERS[: LAYERS.index(layer(file)) + 1]
    wrong = [f"{name_of(file)}:{line} imports {module}" for line, above, module in ours(file) if above not in known]
    assert wrong == []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_who_is_for_few_is_imported_by_few(file: Path) -> None:
    wrong = [
        f"{name_of(file)}:{line} imports {module}"
        for line, target, module in ours(file)
        if target != layer(file) and target in ONLY_BY and layer(file) not in ONLY_BY[target]
    ]
    assert wrong == []


def test_the_front_door_leads_to_no_back_room() -> None:
    behind = {target for _, target, _ in ours(PACKAGE / "__init__.py")}
    assert behind <= {*LAYERS} - {*ONLY_BY}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_library_is_imported_where_it_belongs(file: Path) -> None:
    place = file.relative_to(PACKAGE).as_posix()
    wrong = [
        f"{name_of(file)}:{line} imports {module}"
        for line, module in imports(file)
        if not place.startswith(ONLY_IN.get(module.split(".")[0], ("",)))
    ]
    assert wrong == []


def test_a_revision_knows_nothing_of_us_and_so_never_rots() -> None:
    for file in python_files("alembic/versions"):
        assert {module.split(".")[0] for _, module in imports(file)} <= {"alembic", "sqlalchemy"}, file


def test_imports_are_absolute() -> None:
    assert [name_of(file) for file in FILES if any(module.startswith(".") for _, module in imports(file))] == []


def test_who_imports_jobs_loads_no_worker_no_alembic_and_no_terminal() -> None:
    modules = loaded("from jobforge_sa import Jobs\n")

    assert "jobforge_sa.enqueue.jobs" in modules
    roots = {".".join(module.split(".")[:2]) for module in modules}
    assert roots.isdisjoint({"jobforge_sa.worker", "jobforge_sa.ops", "jobforge_sa.testing", "jobforge_sa.models"})
    assert {module.split(".")[0] for module in modules}.isdisjoint({"alembic", "typer", "rich"})


def test_who_only_enqueues_for_the_built_in_handlers_loads_none_of_their_libraries() -> None:
    modules = loaded(
        "from jobforge_sa.handlers import *\nc = Connectors()\nc.http_request.dump(HttpRequest(url='https://a.test'))\n"
    )

    assert "jobforge_sa.handlers.http_request" in modules
    assert {module.split(".")[0] for module in modules}.isdisjoint(
        {"httpcore", "cryptography", "jinja2", "boto3", "h11"}
    )


def test_a_web_process_that_has_enqueued_still_has_loaded_no_worker(database: Database) -> None:
    modules = loaded(WEB_PROCESS, JOBFORGE_DATABASE_URL=database.url("jf_app").render_as_string(hide_password=False))

    assert not [module for module in modules if module.startswith(("jobforge_sa.worker", "alembic"))]
    with database.engine().connect() as connection:
        assert connection.scalar(sa.text("select count(*) from jobforge.jobs")) == 1
