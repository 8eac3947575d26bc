"""Background jobs that commit with your data: a transactional, multi-tenant job queue for SQLAlchemy on Postgres.

>>> forge = JobForge(tenant="main")
>>> @forge.task()
... def send_receipt(ctx: Context, payload: Receipt) -> None: ...
>>> Jobs(session).enqueue(send_receipt, Receipt(order_id=1))  # exists if and only if the session commits
>>> with Worker(engine, forge): ...
"""

from typing import TYPE_CHECKING, Any

from jobforge_sa.context import AsyncContext, Context
from jobforge_sa.enqueue.jobs import Jobs
from jobforge_sa.enqueue.tenant import bind_tenant
from jobforge_sa.tasks import JobForge, Task
from jobforge_sa.tenant import TenantKey
from jobforge_sa.types import Cancel, Delays, Discard, Done, Enqueued, Exponential, JobState, Retry, Snooze

if TYPE_CHECKING:
    from jobforge_sa.enqueue.aio import AsyncJobs
    from jobforge_sa.tenants import Tenants
    from jobforge_sa.worker.worker import Worker

__all__ = [
    "AsyncContext",
    "AsyncJobs",
    "Cancel",
    "Context",
    "Delays",
    "Discard",
    "Done",
    "Enqueued",
    "Exponential",
    "JobForge",
    "JobState",
    "Jobs",
    "Retry",
    "Snooze",
    "Task",
    "TenantKey",
    "Tenants",
    "Worker",
    "bind_tenant",
]

_LATE = {
    "AsyncJobs": "jobforge_sa.enqueue.aio",
    "Tenants": "jobforge_sa.tenants",
    "Worker": "jobforge_sa.worker.worker",
}


def __getattr__(name: str) -> Any:
    """Load late what not everybody needs: a web process loads no thread code, and greenlet may be missing."""
    if name in _LATE:
        from importlib import import_module

        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
