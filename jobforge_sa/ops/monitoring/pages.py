"""What a worker and the exporter show over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from jobforge_sa.metrics import worker_metrics
from jobforge_sa.ops.monitoring.exporter import Exporter
from jobforge_sa.ops.monitoring.web import Answer, Page
from jobforge_sa.worker.vitals import Health
from jobforge_sa.worker.worker import Worker


def of_worker(worker: Worker) -> Mapping[str, Page]:
    """Its health, and its numbers with those of its process."""
    registry = CollectorRegistry()
    registry.register(worker_metrics(worker))
    ProcessCollector(registry=registry)
    return {
        "/live": lambda: _health(worker.live),
        "/ready": lambda: _health(worker.ready),
        "/metrics": lambda: _metrics(registry),
    }


def of_exporter(exporter: Exporter) -> Mapping[str, Page]:
    """The state of the database; and that the exporter itself lives."""
    registry = CollectorRegistry()
    registry.register(exporter)
    return {"/metrics": lambda: _metrics(registry), "/live": lambda: Answer("ok\n")}


def _health(ask: Callable[[], Health]) -> Answer:
    said = ask()
    return Answer(f"{said}\n", HTTPStatus.OK if said else HTTPStatus.SERVICE_UNAVAILABLE)


def _metrics(registry: CollectorRegistry) -> Answer:
    return Answer(generate_latest(registry).decode(), kind=CONTENT_TYPE_LATEST)
