"""Why a job does not run, on one page: the answer, what else keeps it back, and the command that goes on from there."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from jobforge_sa.ops import screen
from jobforge_sa.types import JobInfo, Reason

# what an operator does next, by code; where there is nothing to do there is none
_MENDED = ("jobforge jobs show {job}", "jobforge jobs retry {job}  # when its cause is mended")
_HOLDER = ("jobforge doctor",)  # who that is, and how it is ended
NEXT = {
    "tenant_paused": ("jobforge tenants resume {tenant}",),
    "queue_paused": ("jobforge queues resume {queue}",),
    "task_paused": ("jobforge tasks resume {type}",),
    "tenant_full": ("jobforge limits --scope tenant",),
    "queue_full": ("jobforge limits --scope queue",),
    "task_full": ("jobforge limits --scope task",),
    "tenant_rate": ("jobforge limits --scope tenant",),
    "queue_rate": ("jobforge limits --scope queue",),
    "task_rate": ("jobforge limits --scope task",),
    "tenant_held": _HOLDER,
    "queue_held": _HOLDER,
    "task_held": _HOLDER,
    "no_worker": ("jobforge worker MODULE:FORGE --queue {queue}",),
    "unknown_type": ("jobforge worker MODULE:FORGE --queue {queue}  # of an application that has the task {type}",),
    "suspect": ("jobforge jobs show {job}",),
    "overdue": ("jobforge worker MODULE:FORGE --queue {queue}",),
    "worker_lost": ("jobforge worker MODULE:FORGE --queue {queue}",),
    "attempts_used": _MENDED,
    "crashed": _MENDED,
    "final": _MENDED,
    "canceled_waiting": ("jobforge jobs retry {job}",),
    "canceled_running": ("jobforge jobs retry {job}",),
    "delayed": ("jobforge jobs reschedule {job}  # to now",),
    "snoozed": ("jobforge jobs reschedule {job}  # to now",),
    "retry": ("jobforge jobs reschedule {job}  # to now",),
}


def parts(job: JobInfo, reasons: Sequence[Reason]) -> Iterator[RenderableType]:
    """What to print, from top to bottom."""
    yield Text.assemble(
        (str(job.id), "bold"), "  ", screen.coloured(job.state, screen.STATES), "  ", screen.one_line(job.type),
        (f"  of {screen.one_line(job.tenant_id)}, queue {screen.one_line(job.queue)}\n", "bright_black"),
    )  # fmt: skip
    for number, reason in enumerate(reasons):
        yield Padding(Text(screen.one_line(reason.says, 600), "bold" if number == 0 else ""), (0, 0, 0, 2))
    commands = [command for reason in reasons for command in _next(reason)]
    if commands:
        yield ""
    for command in dict.fromkeys(commands):
        named = command.format(tenant=_quoted(job.tenant_id), queue=job.queue, type=job.type, job=job.id)
        yield Text.assemble(("  next: ", "green"), named, no_wrap=True)


def _next(reason: Reason) -> tuple[str, ...]:
    if reason.code == "no_worker" and reason.detail.get("last_alive") is None:  # perhaps nobody meant this name
        return (f"{NEXT['no_worker'][0]}  # if the name is right: jobforge queues",)
    if reason.code == "in_line":
        return (f"jobforge why {reason.detail['before']}",)
    return NEXT.get(reason.code, ())


def _quoted(text: str) -> str:
    return shlex.quote(screen.one_line(text))
