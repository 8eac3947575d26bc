"""Background jobs that commit with your data: a transactional, multi-tenant job queue for SQLAlchemy on Postgres.

>>> forge = JobForge(tenant="main")
>>> @forge.task()
... def send_receipt(ctx: Context, payload: Receipt) -> None: ...
>>> Jobs(session).enqueue(send_receipt, Receipt(order_id=1))  # exists if and only if the session commits
>>> with Worker(engine, forge): ...
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobforge_sa.context import AsyncContext, Context
    from jobforge_sa.db.seal import seal
    from jobforge_sa.enqueue.aio import AsyncJobs
    from jobforge_sa.enqueue.jobs import Jobs
    from jobforge_sa.enqueue.pending import PendingJob
    from jobforge_sa.enqueue.row import Row
    from jobforge_sa.enqueue.rows import HasJobs
    from jobforge_sa.enqueue.tenant import bind_tenant
    from jobforge_sa.limits import Limits, Tasks
    from jobforge_sa.queues import Queues
    from jobforge_sa.results.aio import AsyncResults
    from jobforge_sa.results.results import Results
    from jobforge_sa.retention import Retention
    from jobforge_sa.tasks import JobForge, Task
    from jobforge_sa.tenant import TenantKey
    from jobforge_sa.tenants import Tenants
    from jobforge_sa.types import Cancel, Delays, Discard, Done, Enqueued, Exponential, JobState, Retry, Snooze
    from jobforge_sa.worker.worker import Worker

__all__ = [
    "AsyncContext",
    "AsyncJobs",
    "AsyncResults",
    "Cancel",
    "Context",
    "Delays",
    "Discard",
    "Done",
    "Enqueued",
    "Exponential",
    "HasJobs",
    "JobForge",
    "JobState",
    "Jobs",
    "Limits",
    "PendingJob",
    "Queues",
    "Results",
    "Retention",
    "Retry",
    "Row",
    "Snooze",
    "Task",
    "Tasks",
    "TenantKey",
    "Tenants",
    "Worker",
    "bind_tenant",
    "seal",
]

_HOME = {
    "jobforge_sa.context": ("AsyncContext", "Context"),
    "jobforge_sa.db.seal": ("seal",),
    "jobforge_sa.enqueue.aio": ("AsyncJobs",),
    "jobforge_sa.enqueue.jobs": ("Jobs",),
    "jobforge_sa.enqueue.pending": ("PendingJob",),
    "jobforge_sa.enqueue.row": ("Row",),
    "jobforge_sa.enqueue.rows": ("HasJobs",),
    "jobforge_sa.enqueue.tenant": ("bind_tenant",),
    "jobforge_sa.results.aio": ("AsyncResults",),
    "jobforge_sa.results.results": ("Results",),
    "jobforge_sa.limits": ("Limits", "Tasks"),
    "jobforge_sa.queues": ("Queues",),
    "jobforge_sa.retention": ("Retention",),
    "jobforge_sa.tasks": ("JobForge", "Task"),
    "jobforge_sa.tenant": ("TenantKey",),
    "jobforge_sa.tenants": ("Tenants",),
    "jobforge_sa.types": (
        "Cancel", "Delays", "Discard", "Done", "Enqueued", "Exponential", "JobState", "Retry", "Snooze",
    ),
    "jobforge_sa.worker.worker": ("Worker",),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load what is asked for: a web process loads no thread code, and a run of pytest no SQLAlchemy for our plugin."""
    for module, names in _HOME.items():
        if name in names:
            from importlib import import_module

            value = globals()[name] = getattr(import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
