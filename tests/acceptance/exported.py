"""What is exported: the names of all series, and their labels."""

from __future__ import annotations

from jobforge_sa import Context, JobForge, Worker
from jobforge_sa.metrics import worker_metrics
from jobforge_sa.ops.monitoring.exporter import GAUGES

LABELS = {
    "jobforge_worker_runs_total": {"queue", "type", "outcome"},
    "jobforge_worker_run_seconds": {"queue", "type", "outcome"},
    "jobforge_worker_wait_seconds": {"queue"},
    "jobforge_worker_incidents_total": {"incident"},
    "jobforge_worker_running": {"queue"},
    "jobforge_worker_slots": {"queue"},
}
forge = JobForge(tenant="main")


@forge.task()
def nothing(ctx: Context, payload: dict[str, int]) -> None: ...


def exported() -> dict[str, set[str]]:
    """The names of all series, and their labels: of the database as they are declared, of a worker as it gives them."""
    found = {f"jobforge_{name}": set(labels) for name, (_, labels) in GAUGES.items()}
    worker = Worker("postgresql://nobody@nowhere/", forge)
    for family in worker_metrics(worker).collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = LABELS.get(name, set())
        found[name] = labels
        if family.type == "histogram":
            found |= {f"{name}_bucket": {*labels, "le"}, f"{name}_sum": labels, f"{name}_count": labels}
    return found
