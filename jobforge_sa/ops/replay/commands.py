"""The commands `jobforge replay …`: a job as a file, run again without effect, or enqueued again."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from jobforge_sa.context import ClaimedJob
from jobforge_sa.db import calls
from jobforge_sa.errors import ConfigurationError, JobNotFound
from jobforge_sa.ops import application, database, records, screen, whole_file
from jobforge_sa.ops.jobs.commands import JobId
from jobforge_sa.ops.options import Json, TenantName, Url
from jobforge_sa.ops.reader import Reader, proved, reading, writing
from jobforge_sa.ops.replay import bundle as bundles
from jobforge_sa.ops.replay import export as bundle_export
from jobforge_sa.ops.replay import verdict
from jobforge_sa.ops.replay.bundle import Bundle, RecordedAttempt
from jobforge_sa.ops.replay.rehearsal import Rehearsal, claimed
from jobforge_sa.tasks import Task
from jobforge_sa.tenant import name_of, named
from jobforge_sa.types import JobInfo

replay = typer.Typer(
    help="Export a job as a sealed file; run it again without effect; enqueue it again.", no_args_is_help=True
)

File = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A file that replay export wrote.")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write to this file, not to the standard output.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file.")]
Foreign = Annotated[bool, typer.Option("--foreign", help="Even if the bundle comes from another database.")]


@replay.command()
def export(
    job_id: JobId,
    forge: Annotated[str | None, typer.Argument(metavar="[MODULE:FORGE]", help="Where its task is: for the versions of the application's packages.")] = None,  # noqa: E501
    url: Url = None,
    tenant: TenantName = None,
    out: Out = None,
    force: Force = False,
    redact: Annotated[list[str] | None, typer.Option("--redact", metavar="NAME", help="Leave out what stands under keys of this name, too; repeat it.")] = None,  # noqa: E501
) -> None:  # fmt: skip
    """Write a job as a sealed file: payload, attempts, result and versions, without what looks secret."""
    place = None if out is None else whole_file.free(out, force=force)
    registry = None if forge is None else application.load(forge)
    with reading(database.engine(url), tenant) as reader:
        body = bundle_export.collect(reader, job_id, registry, redact or [])
    text = bundles.sealed(body)
    if place is None:
        sys.stdout.write(text)
    else:
        with whole_file.written(place, force=force) as stream:
            stream.write(text.encode())
    hidden = len(body["redacted"]["places"])
    said = "nothing looked secret" if hidden == 0 else f"{hidden} secret{'s' if hidden > 1 else ''} left out"
    screen.note(f"job {job_id}: {said}" + ("" if out is None else f"; written to {screen.one_line(out)}"))


@replay.command()
def run(
    file: File,
    forge: Annotated[str, typer.Argument(metavar="MODULE:FORGE", help="Where the tasks are, such as shop.jobs:forge.")],
    url: Url = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Roll back whatever it does. There is no other way.")] = False,  # noqa: E501
    foreign: Foreign = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Run a bundle's job here in a transaction that is rolled back, without a network. Exit 1 if it ends otherwise."""
    if not dry_run:
        raise ConfigurationError(
            "replay run rolls back whatever the handler does, and wants to be told so",
            cure="add --dry-run; or run it for good, by a worker: jobforge replay enqueue BUNDLE",
        )
    found = _read(file)
    task, last = _task(found, forge), _last(found)
    with reading(database.engine(url), found.origin.tenant_id) as reader:
        bundle_export.require_home(found, reader, foreign=foreign)
        reader.require_proof()
        job = _claimed(found, last, _payload(found, reader))
    engine = database.engine(url, name="jobforge dry run", pinned=False)
    with database.translated(engine, "jobforge_app"):
        played = Rehearsal(task, job, named(proved(found.origin.tenant_id))).play(engine)
    differ = list(verdict.differences(found, last, played))
    schemas = (found.payload_schema, bundle_export.schema_of(task))
    notes = list(verdict.notes(found.versions, bundle_export.versions(task), schemas))
    if as_json:
        typer.echo(records.line({"same": not differ, "differences": differ, "notes": notes}))
    else:
        _tell(found, f"{played.ending.outcome}, as run {last.run}", differ, notes)
    raise typer.Exit(1 if differ else 0)


@replay.command()
def enqueue(
    file: File,
    url: Url = None,
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="TENANT", help="For this tenant. Another one than the job's takes an administrator, and --other-tenant.")] = None,  # noqa: E501
    other_tenant: Annotated[bool, typer.Option("--other-tenant", help="Yes, another tenant gets the job and its payload.")] = False,  # noqa: E501
    foreign: Foreign = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Enqueue a new job like the bundle's, linked to it. Prints its id."""
    found = _read(file)
    home = found.origin.tenant_id
    elsewhere = tenant is not None and tenant != home
    if elsewhere and not other_tenant:
        raise ConfigurationError(
            f"the job is {screen.one_line(home)}'s, not {screen.one_line(tenant)}'s",
            cure="leave --tenant out; or, if that tenant shall get the job with its payload, add --other-tenant",
        )
    with writing(database.engine(url), home) as reader:
        if (elsewhere or foreign) and not reader.admin:
            raise ConfigurationError(
                "only an administrator enqueues a job for another tenant, or from another database",
                cure="connect as a login of jobforge_admin",
            )
        bundle_export.require_home(found, reader, foreign=foreign)
        made = _enqueued(found, reader, tenant if elsewhere else None)
    typer.echo(
        records.line(records.job(made)) if as_json else f"{made.id}  {made.state}, a replay of {found.origin.job_id}"
    )


# -- how -------------------------------------------------------------------------------


def _read(file: Path) -> Bundle:
    found, said = bundles.read(file)
    for line in said:
        screen.note(f"note: {line}")
    return found


def _task(found: Bundle, forge: str) -> Task[Any, Any]:
    registry = application.load(forge)
    task = registry.tasks.get(found.job.type)
    if task is None:
        raise ConfigurationError(
            f"{forge} has no task {found.job.type!r}", cure=f"it has {', '.join(sorted(registry.tasks)[:8])}"
        )
    from jobforge_sa.handlers import Connectors  # here, as in report_command: it takes 70 ms

    if task.name in Connectors().forge.tasks:
        raise ConfigurationError(
            f"a run of {task.name} stands on the token of a live lease, and a dry run has none",
            cure="run it for good, by a worker: jobforge replay enqueue BUNDLE",
        )
    return task


def _original(found: Bundle, reader: Reader) -> JobInfo | None:
    try:
        return reader.jobs.get(found.origin.job_id)
    except JobNotFound:
        return None


def _payload(found: Bundle, reader: Reader) -> str:
    """The payload as text: the bundle's, or where something of that was left out the original's.

    Raises:
        ConfigurationError: the original is gone, or is another one.
    """
    if found.payload_is_whole:
        return json.dumps(found.job.payload, ensure_ascii=False)
    original = _original(found, reader)
    if original is None:
        raise ConfigurationError(
            "secrets of the payload were left out of the bundle, and the job is no longer in the database",
            cure="export bundles of jobs whose payloads hold no secrets, but the keys of rows that do",
        )
    if not found.matches(original.payload):
        raise ConfigurationError("the payload of the job has changed since the bundle was made", cure=bundles.AGAIN)
    payload: object = original.payload  # its text, where Python cannot decode it
    return payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)


def _last(found: Bundle) -> RecordedAttempt:
    if found.last is None:
        raise ConfigurationError(
            "no run of the job is on record, so there is nothing to compare with",
            cure=f"when it has run, {bundles.AGAIN}",
        )
    return found.last


def _claimed(found: Bundle, last: RecordedAttempt, payload: str) -> ClaimedJob:
    job = found.job
    return claimed(
        {
            "id": found.origin.job_id, "tenant_id": found.origin.tenant_id, "queue": job.queue, "type": job.type,
            "priority": job.priority, "payload": payload, "run": last.run, "attempt": last.attempt,
            "max_attempts": job.max_attempts, "claimed_at": last.claimed_at, "timeout": job.timeout,
            "run_at": job.run_at, "created_at": job.created_at, "idempotency_key": job.idempotency_key,
            "parent_id": job.parent_id, "trace": json.dumps(job.trace) if isinstance(job.trace, dict) else None,
        }
    )  # fmt: skip


def _enqueued(found: Bundle, reader: Reader, elsewhere: str | None) -> JobInfo:
    original = _original(found, reader)
    if elsewhere is None and original is not None:
        return reader.jobs.replay(original.id)
    try:
        item = found.item(json.loads(_payload(found, reader)), original)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(
            "Python cannot read the payload, and so cannot give it to another tenant",
            cure="enqueue it by SQL: jobforge.enqueue_job_for",
        ) from error
    if elsewhere is not None:
        reader.session.execute(calls.ACT_FOR, {"tenant_id": name_of(elsewhere)})
    return reader.jobs.replay(found.origin.job_id, if_gone=item)


def _tell(found: Bundle, same: str, differ: Sequence[str], notes: Sequence[str]) -> None:
    head = Text.assemble((str(found.origin.job_id), "bold"), "  ", screen.one_line(found.job.type), "  ")
    head.append("otherwise", "bold red") if differ else head.append("the same", "bold green").append(f": {same}")
    screen.show(screen.console(), head)
    for line in differ:
        screen.show(screen.console(), Text(f"  {screen.one_line(line, 600)}"))
    for line in notes:
        screen.show(screen.console(), Text(f"  note: {screen.one_line(line, 600)}", "bright_black"))
