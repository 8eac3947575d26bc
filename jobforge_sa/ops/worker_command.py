"""The command `jobforge worker`. What an option leaves open the environment says, and then the default."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy import Engine

from jobforge_sa.db.url import shown
from jobforge_sa.ops import application, database, extras, logs
from jobforge_sa.ops.monitoring import web
from jobforge_sa.ops.options import Url

if TYPE_CHECKING:
    from jobforge_sa.settings import Settings
    from jobforge_sa.worker.worker import Worker

log = logging.getLogger("jobforge_sa.cli")


def worker(
    forge: Annotated[str, typer.Argument(metavar="MODULE:FORGE", help="Where the tasks are, such as shop.jobs:forge.")],
    url: Url = None,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            "--queue", metavar="NAME[=SLOTS]", help="Work off this queue; repeat it.", show_default="the tasks'"
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Handlers at once in each queue that does not say.", show_default="10"),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Work off what is due now, then exit: 1 if one failed.")] = False,
    listen: Annotated[
        bool | None,
        typer.Option("--listen/--no-listen", help="Wake by NOTIFY, or by polling alone.", show_default="listen"),
    ] = None,
    lease: Annotated[
        float | None,
        typer.Option(min=1, metavar="SECONDS", help="After how long a dead worker is missed.", show_default="30"),
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="How long a stop waits for handlers.", show_default="30"),
    ] = None,
    session_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where the handlers' sessions connect: as the application's login."),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="Serve /live, /ready and /metrics there; the host is 127.0.0.1."),
    ] = None,
    log_level: Annotated[
        logs.Level | None,
        typer.Option(metavar="LEVEL", help="Log to stderr: debug, info, warning, error.", case_sensitive=False),
    ] = None,
    log_format: Annotated[
        logs.Format | None,
        typer.Option(metavar="FORMAT", help="text, or json: an object a line.", case_sensitive=False),
    ] = None,
) -> None:
    """Run jobs until SIGTERM or Ctrl-C; a second one does not wait for handlers.

    What is not given here is taken from JOBFORGE_CONCURRENCY and the like: docs/settings.md.
    """
    extras.require("pydantic_settings")
    from jobforge_sa.settings import Settings

    settings = Settings.read(
        database_url=url, session_url=session_url, concurrency=concurrency, listen=listen, lease=lease, grace=grace,
        http=http, log_level=log_level, log_format=log_format,
    )  # fmt: skip
    logs.to_stderr(logs.Level(settings.log_level), logs.Format(settings.log_format))
    settings.warn_of_unknown()
    raise typer.Exit(_run(forge, settings, queue or [], once=once))


def _run(place: str, settings: Settings, given: list[str], *, once: bool) -> int:
    registry = application.load(place)
    arguments = settings.worker_arguments()
    if given or not arguments["queues"]:
        arguments["queues"] = application.queues(registry, given, settings.concurrency)
    from jobforge_sa.worker.worker import Worker

    slots = sum(arguments["queues"].values())
    engine = _engine(settings.database_url, "jobforge worker", slots)
    handlers = _engine(settings.session_url or settings.database_url, "jobforge handlers", slots)
    process = Worker(
        engine, registry, session_engine=handlers, process_imports=[place.partition(":")[0]], **arguments
    )  # fmt: skip
    log.info("%s", application.introduce(registry, process.queues, shown(engine.url)))
    database.require(engine, "jobforge_worker")
    gc.freeze()  # what the application has loaded lives as long as this process: a look at all of it takes 50 ms
    try:
        with database.translated(engine, "jobforge_worker"), _served(process, settings.http):
            status = process.run(once=once)
    finally:
        handlers.dispose()
    if once:
        log.info("%s", application.sum_up(process.outcomes))
    return status


def _engine(url: Any, name: str, slots: int) -> Engine:
    secret = url and url.get_secret_value()
    return database.engine(secret, name=name, pinned=False, pool_size=slots, pool_pre_ping=True)


@contextlib.contextmanager
def _served(process: Worker, http: str | None) -> Iterator[None]:
    """Its pages, from before its start until after its end: an orchestrator asks all the time."""
    if http is None:
        yield
        return
    host, port = web.address(http)
    extras.require("prometheus_client")
    from jobforge_sa.ops.monitoring import pages

    with web.Server(host, port, pages.of_worker(process)) as server:
        log.info("health and metrics: %s/live /ready /metrics", server.url)
        yield
