"""What the environment says of a worker and its command: all names in one class, with their defaults and meanings."""

from __future__ import annotations

import datetime as dt
import difflib
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import AliasChoices, Field, SecretStr

from jobforge_sa.errors import ConfigurationError

try:
    from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
except ImportError as error:
    raise ImportError("pydantic-settings is not installed; run: pip install 'jobforge_sa[settings]'") from error

log = logging.getLogger("jobforge_sa.settings")

PREFIX = "JOBFORGE_"
MOST_SLOTS = 10_000
YEAR = 31_536_000  # seconds; `inf` is no timedelta
# names that other parts read: signed tenancy, sealed secrets, the server of tests, demo, examples, the tests themselves
OTHERS = (
    "JOBFORGE_TENANT_KEY", "JOBFORGE_SECRET_KEYS", "JOBFORGE_POSTGRES", "JOBFORGE_PG_BINDIR",
    "JOBFORGE_TEST_DATABASE_URL", "JOBFORGE_EXAMPLES_URL", "JOBFORGE_FAULTS", "JOBFORGE_PROPERTIES",
    "JOBFORGE_UPDATE_SNAPSHOT",
)  # fmt: skip
# what Kubernetes gives the containers beside a service that is called jobforge, and what the chaos tests give theirs
_NOT_OURS = re.compile(
    r"JOBFORGE_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT\w*|PORT(?:_\d+_\w+)?)|JOBFORGE_(?:CHAOS|TEST)_\w+"
)
_SLOTS = re.compile(r"(?P<queue>[^=]+)(?:=(?P<slots>[0-9]{1,5}))?")


class Settings(BaseSettings):
    """The settings of a worker, from `JOBFORGE_…` in the environment, or given by name. No `.env` is read by itself.

    Limits and pauses are no settings: they live in the database, and hold at once for all workers.

    Example:
        >>> worker = Worker.from_settings(forge, Settings.read(concurrency=5))
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True,
        env_ignore_empty=True,
    )  # fmt: skip

    database_url: SecretStr | None = Field(
        None, validation_alias=AliasChoices("JOBFORGE_DATABASE_URL", "DATABASE_URL"),
        description="The database: `postgresql://user:password@host/database`. Else `DATABASE_URL`",
    )  # fmt: skip
    session_url: SecretStr | None = Field(
        None, description="Where the handlers' sessions connect: as the application's login. Default: the same"
    )
    queues: Annotated[Mapping[str, int | None], NoDecode] | None = Field(
        None, description="The queues to work off, with the slots of each: `mail=5,default`. Default: the tasks'"
    )
    concurrency: int = Field(10, ge=1, le=MOST_SLOTS, description="Handlers at once in each queue that does not say")
    lease: float = Field(30, ge=1, le=86_400, description="Seconds after which a dead worker is missed")
    poll: float = Field(1, ge=0.01, le=3600, description="The longest sleep, in seconds, when there is nothing to do")
    listen: bool = Field(True, description="Wake by NOTIFY; or by polling alone")
    grace: float = Field(30, ge=0, le=86_400, description="Seconds that a stop waits for handlers")
    idle_warning: float = Field(
        10, ge=0.1, le=YEAR,
        description="Seconds that a handler's transaction may be open without a statement before a warning",
    )  # fmt: skip
    idle_limit: float = Field(300, ge=0.1, le=YEAR, description="... before it is ended")
    continue_traces: bool = Field(
        False, description="A run's span stands in the trace of its enqueue, and is not just linked to it"
    )
    http: str | None = Field(
        None, description="`[HOST:]PORT` for /live, /ready and /metrics, of `jobforge worker`. Default: none"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Of `jobforge worker`")
    log_format: Literal["text", "json"] = Field("text", description="Of `jobforge worker`: lines, or JSON lines")

    @pydantic.field_validator("queues", mode="before")
    @classmethod
    def _read_queues(cls, value: object) -> object:
        try:
            return slots_of(value.split(",")) if isinstance(value, str) else value
        except ValueError:  # its text shows the value
            raise ValueError(f"write mail=5,default: each queue once, with 1 to {MOST_SLOTS:,} slots") from None

    @pydantic.field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @classmethod
    def read(cls, **given: Any) -> Self:
        """The settings; what is given wins over the environment, and None is not given.

        Raises:
            ConfigurationError: one cannot be read. Its value is not shown, for it may be a secret.
        """
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except pydantic.ValidationError as error:
            faults = [f"{variable(str(one['loc'][0]))}: {one['msg']}" for one in error.errors(include_input=False)]
            raise ConfigurationError(
                "; ".join(faults), cure="set it in the environment, or as an option, as docs/settings.md says"
            ) from None

    def worker_arguments(self) -> dict[str, Any]:
        """Those that are keyword arguments of `Worker`."""
        queues = self.queues and {name: slots or self.concurrency for name, slots in self.queues.items()}
        times = ("lease", "poll", "grace", "idle_warning", "idle_limit")
        return {
            "queues": queues, "concurrency": self.concurrency, "listen": self.listen,
            "continue_traces": self.continue_traces,
        } | {name: dt.timedelta(seconds=getattr(self, name)) for name in times}  # fmt: skip

    def warn_of_unknown(self, environment: Mapping[str, str] = os.environ) -> None:
        """Warn of each name in the environment that looks like one of ours and is none; values are not shown."""
        for name, nearest in unknown(environment):
            log.warning("%s is no setting%s", name, f"; did you mean {nearest}?" if nearest else "")


def variable(name: str) -> str:
    """The variable of a setting."""
    return name if name.isupper() else f"{PREFIX}{name.upper()}"


def unknown(environment: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """The names that look like ours and are none, each with the one that it was perhaps meant to be."""
    known = [*map(variable, Settings.model_fields), *OTHERS]
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known and not _NOT_OURS.fullmatch(name):
            near = difflib.get_close_matches(name.removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in known], 1)
            yield name, f"{PREFIX}{near[0]}" if near else None


def slots_of(texts: Iterable[str]) -> dict[str, int | None]:
    """The slots of queues that are written `name` or `name=slots`.

    Raises:
        ValueError: one cannot be read.
    """
    slots: dict[str, int | None] = {}
    for text in filter(None, map(str.strip, texts)):
        found = _SLOTS.fullmatch(text)
        if found is None or (found["slots"] and not 1 <= int(found["slots"]) <= MOST_SLOTS):
            raise ValueError(f"{text[:100]} cannot be read; write mail, or mail=5")
        if found["queue"] in slots:
            raise ValueError(f"the queue {found['queue'][:100]!r} is named twice")
        slots[found["queue"]] = int(found["slots"]) if found["slots"] else None
    return slots
