"""What caused a job and what it caused, as a tree."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from jobforge_sa.impact import Impact, ImpactJob
from jobforge_sa.ops import screen

GUIDE = "bright_black"
HOW = {  # a handler's are what one expects
    "replay": "replay",
    "copy": "replay for another tenant",
    "schedule": "by a schedule",
    "batch": "in a batch",
}


def parts(impact: Impact, tenant: str | None) -> Iterator[RenderableType]:
    """What to print, from top to bottom."""
    trace = impact.job.trace_id
    if trace is not None:
        yield Text.assemble(("trace ", GUIDE), trace)
    yield _tree(impact, tenant)
    if impact.cut:
        yield Text("there are more: --limit, --depth; or ask for one further down", "yellow")


def _tree(impact: Impact, tenant: str | None) -> Tree:
    root = Tree(_label(impact.root, impact, tenant), guide_style=GUIDE)
    waiting = [(impact.root, root)]
    while waiting:
        job, branch = waiting.pop()
        waiting += [(child, branch.add(_label(child, impact, tenant))) for child in impact.children(job)]
    return root


def _label(job: ImpactJob, impact: Impact, tenant: str | None) -> Text:
    if job.gone:
        return Text(f"{job.job_id}  gone: pruned, or another tenant's", GUIDE)
    asked = job.job_id == impact.job_id
    line = Text.assemble((screen.one_line(job.type), "bold" if asked else ""), "  ")
    line.append_text(screen.coloured(str(job.state), screen.STATES)).append(
        f"  {job.job_id}", "bold" if asked else "dim"
    )
    for fact, style in _facts(job, impact, tenant):
        line.append("  ").append(screen.one_line(fact), style)
    return line


def _facts(job: ImpactJob, impact: Impact, tenant: str | None) -> Iterator[tuple[str, str]]:
    if job.cause not in (None, "handler"):
        yield HOW.get(str(job.cause), str(job.cause)), "cyan"
    if job.subject:
        yield job.subject, ""
    if (job.run or 0) > 1:
        yield f"run {job.run}", "yellow"
    if job.error_type and job.state != "succeeded":
        yield job.error_type, "red"
    if job.trace_id != impact.job.trace_id and job.trace_id:
        yield f"trace {job.trace_id}", GUIDE
    if tenant is None and job.tenant_id != impact.job.tenant_id:
        yield f"of {job.tenant_id}", "magenta"
