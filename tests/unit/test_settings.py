"""Settings: from the environment and from code, in one place, without showing a secret."""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from jobforge_sa import Context, JobForge, Worker
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.ops.monitoring import web
from jobforge_sa.settings import Settings, unknown, variable

URL = "postgresql://ann:hunter2@localhost/shop"
forge = JobForge(tenant="main")


@forge.task()
def nothing(ctx: Context, payload: dict[str, int]) -> None: ...


def database(settings: Settings) -> str:
    return "" if settings.database_url is None else settings.database_url.get_secret_value()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    with mock.patch.dict("os.environ", {}, clear=True):
        yield monkeypatch


def test_the_environment_is_read_and_what_is_given_wins(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DATABASE_URL", "postgresql://other/db")
    assert database(Settings.read()) == "postgresql://other/db"
    environment.setenv("JOBFORGE_DATABASE_URL", URL)
    environment.setenv("JOBFORGE_QUEUES", "mail=5, default")
    environment.setenv("JOBFORGE_CONCURRENCY", "7")
    environment.setenv("JOBFORGE_LISTEN", "false")
    environment.setenv("JOBFORGE_LOG_LEVEL", "WARNING")
    environment.setenv("JOBFORGE_GRACE", "")

    settings = Settings.read(lease=5, concurrency=None, database_url=None)
    assert database(settings) == URL
    assert settings.worker_arguments()["queues"] == {"mail": 5, "default": 7}
    assert (settings.lease, settings.grace, settings.listen, settings.log_level) == (5, 30, False, "warning")
    assert database(Settings.read(database_url="postgresql://mine/db")) == "postgresql://mine/db"

    worker = Worker.from_settings(forge, settings, poll=dt.timedelta(seconds=2))
    assert worker.queues == {"mail": 5, "default": 7}
    assert (worker._lease, worker._poll, worker._listen) == (dt.timedelta(seconds=5), dt.timedelta(seconds=2), False)


def test_no_secret_is_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("JOBFORGE_DATABASE_URL", URL)
    environment.setenv("JOBFORGE_SESSION_URL", URL)
    environment.setenv("JOBFORGE_HTTP", "9000")
    assert "hunter2" not in repr(Settings.read()) + str(Settings.read().model_dump())
    for name in ("CONCURRENCY", "QUEUES", "LISTEN", "LOG_LEVEL"):  # pasted into the wrong line
        with environment.context() as only:
            only.setenv(f"JOBFORGE_{name}", f"{URL}?sslmode=require")
            with pytest.raises(ConfigurationError) as caught:
                Settings.read()
        assert f"JOBFORGE_{name}: " in str(caught.value)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="JOBFORGE_HTTP") as caught:
        web.address(URL)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("QUEUES", "mail=many", "write mail=5,default"),
        ("QUEUES", "mail=0", "with 1 to 10,000 slots"),
        ("QUEUES", "mail,mail=2", "each queue once"),
        ("LEASE", "0", "greater than or equal to 1"),
        ("LEASE", "nan", "less than or equal to"),
        ("IDLE_WARNING", "inf", "less than or equal to"),
        ("IDLE_LIMIT", "1e300", "less than or equal to"),
        ("LOG_FORMAT", "xml", "'text' or 'json'"),
    ],
)
def test_what_cannot_be_read_is_named(environment: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    environment.setenv(f"JOBFORGE_{name}", value)
    with pytest.raises(ConfigurationError, match=re.escape(words)) as caught:
        Settings.read()
    assert f"JOBFORGE_{name}: " in str(caught.value)


def test_a_name_that_is_none_is_warned_of_with_the_nearest(
    environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given = {"JOBFORGE_CONCURENCY": "secret", "JOBFORGE_TENANT_KEY": "k", "JOBFORGE_LEASE": "1", "JOBFORGE_XYZZY": "1",
             "JOBFORGE_PORT": "tcp://10.0.0.1:80", "JOBFORGE_PORT_80_TCP_ADDR": "10.0.0.1",
             "JOBFORGE_SERVICE_HOST": "10.0.0.1"}  # fmt: skip
    assert [*unknown(given)] == [("JOBFORGE_CONCURENCY", "JOBFORGE_CONCURRENCY"), ("JOBFORGE_XYZZY", None)]
    caplog.set_level(logging.WARNING)
    Settings.read().warn_of_unknown(given)
    assert "JOBFORGE_CONCURENCY is no setting; did you mean JOBFORGE_CONCURRENCY?" in caplog.text
    assert "secret" not in caplog.text


def test_a_dotenv_is_not_read_by_itself(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("JOBFORGE_CONCURRENCY=99\n")
    environment.chdir(tmp_path)
    assert Settings.read().concurrency == 10


def test_without_a_database_the_cure_is_said(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="set JOBFORGE_DATABASE_URL"):
        Worker.from_settings(forge, Settings.read())


def test_the_table_of_the_page_is_the_class() -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `(JOBFORGE_\w+)` \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    fields = Settings.model_fields.items()
    assert rows == [
        (f"JOBFORGE_{name.upper()}", "" if field.default is None else f"`{str(field.default).lower()}`",
         field.description) for name, field in fields
    ]  # fmt: skip
    assert {variable(name) for name, _ in fields} == {name for name, *_ in rows}
