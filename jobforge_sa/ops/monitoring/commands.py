"""The commands `jobforge exporter` and `jobforge metrics`: the state of the database for Prometheus."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from jobforge_sa.db.url import shown
from jobforge_sa.ops import database, extras, logs
from jobforge_sa.ops.monitoring.web import Server
from jobforge_sa.ops.options import Url
from jobforge_sa.worker.signals import StopSignals

log = logging.getLogger("jobforge_sa.exporter")

PORT = 9187


def exporter(
    url: Url = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, metavar="PORT", help="0: any that is free.")] = PORT,
    host: Annotated[str, typer.Option(metavar="HOST", help="0.0.0.0: all interfaces.")] = "127.0.0.1",
    log_format: Annotated[logs.Format, typer.Option(metavar="FORMAT", help="text or json.")] = logs.Format.TEXT,
) -> None:
    """Serve the state of the database to Prometheus, at /metrics, until SIGTERM or Ctrl-C. Takes an administrator."""
    logs.to_stderr(logs.Level.INFO, log_format)
    extras.require("prometheus_client")
    from jobforge_sa.ops.monitoring import pages
    from jobforge_sa.ops.monitoring.exporter import Exporter

    engine = database.engine(url, name="jobforge exporter", pool_size=1, max_overflow=0, pool_pre_ping=True)
    with StopSignals() as stop, Server(host, port, pages.of_exporter(Exporter(engine))) as server:
        log.info("metrics of %s: %s/metrics", shown(engine.url), server.url)
        stop.asked.wait()
    engine.dispose()


def metrics(url: Url = None) -> None:
    """Print the state of the database once, as Prometheus reads it. Exit 2 where it cannot be read."""
    extras.require("prometheus_client")
    from prometheus_client import CollectorRegistry, generate_latest

    from jobforge_sa.ops.monitoring import standing
    from jobforge_sa.ops.monitoring.exporter import Once

    registry = CollectorRegistry()
    registry.register(Once(standing.read(database.engine(url, name="jobforge metrics"))))
    typer.echo(generate_latest(registry).decode(), nl=False)
