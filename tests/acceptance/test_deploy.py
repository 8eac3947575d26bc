"""The Dockerfile and the compose file of the docs. Nothing here can run them; what they say is held to what we have."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import typer
import yaml
from dockerfile_parse import DockerfileParser

from jobforge_sa.ops.commands import app
from jobforge_sa.settings import Settings, unknown
from tests.acceptance.cli import ROOT

DEPLOY = ROOT / "docs" / "deploy"


@pytest.fixture(scope="module")
def dockerfile() -> list[dict[str, Any]]:
    return list(DockerfileParser(str(DEPLOY / "Dockerfile"), cache_content=True).structure)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found = yaml.safe_load((DEPLOY / "compose.yml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def parsed(command: list[str]) -> None:
    """Have our command line take the words, and run nothing."""
    assert command[0] == "jobforge"
    group = typer.main.get_group(app)
    name, found, rest = group.resolve_command(typer.Context(group), command[1:])
    assert found is not None
    found.make_context(name, rest)


def test_the_image_runs_the_worker_as_nobody_special_and_signals_reach_it(dockerfile: list[dict[str, Any]]) -> None:
    last = {one["instruction"]: one["value"] for one in dockerfile}
    assert [one["instruction"] for one in dockerfile if one["instruction"] == "FROM"] == ["FROM", "FROM"]
    assert last["USER"] not in ("root", "0")
    command = yaml.safe_load(last["CMD"])
    assert isinstance(command, list), "the exec form: a shell would keep SIGTERM to itself"
    parsed(command)


def test_the_extras_that_the_image_installs_exist(dockerfile: list[dict[str, Any]]) -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (install,) = (one["value"] for one in dockerfile if "jobforge_sa[" in one["value"])
    assert {*install.partition("[")[2].partition("]")[0].split(",")} <= known.keys()


def test_the_services_wait_for_the_migration_and_the_worker_for_its_handlers(compose: dict[str, Any]) -> None:
    services = compose["services"]
    parsed(services["migrate"]["command"])
    for name in ("web", "worker"):
        assert services[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    grace = float(services["worker"]["environment"]["JOBFORGE_GRACE"])
    assert float(services["worker"]["stop_grace_period"].removesuffix("s")) > grace


def test_each_setting_is_one_and_each_name_is_defined(compose: dict[str, Any]) -> None:
    given = [name for one in compose["services"].values() for name in one.get("environment", {})]
    assert list(unknown(given)) == []
    assert {"grace", "session_url"} <= Settings.model_fields.keys()
    assert {*compose["volumes"]} == {"data"}
    assert {name for one in compose["services"].values() for name in one.get("secrets", [])} == {*compose["secrets"]}
