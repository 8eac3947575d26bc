"""Which revisions of the schema this code works with, and what no catalog says of the contract. Constants only."""

from __future__ import annotations

from typing import Final, NamedTuple

HEAD = "0002"
"""The newest revision that this code knows. An older schema lacks something that it calls."""

VERSION = "1"
"""The contract's own: another one where a name or a meaning of `docs/sql-contract.md` is not what it was."""

CHANNEL = "jobforge"
"""The channel of the wake-up hints; their payload is a queue's name."""


class Refusal(NamedTuple):
    """What an SQLSTATE of ours means. Texts in Markdown, as the page has them."""

    cause: str
    cure: str


REFUSALS: Final[dict[str, Refusal]] = {
    "JF001": Refusal(
        "this transaction has no tenant", "set one: `select set_config('jobforge.tenant_id', '<tenant>', true)`"
    ),
    "JF002": Refusal(
        "two different tenants: argument, setting and JWT claim do not agree, or the claim is no string or number",
        "leave `p_tenant_id` out, or make them the same",
    ),
    "JF003": Refusal(
        "an argument or option is out of its range, or is no JSON array where one is due; a tenant is too long",
        "change what the message names; in a bulk call it names the position",
    ),
    "JF004": Refusal(
        "the payload is no JSON object, or has more than 262,144 bytes",
        "keep large or free data in a table of yours and enqueue its key",
    ),
    "JF005": Refusal(
        "claim, heartbeat of a worker, rescue, upkeep or a bulk change above READ COMMITTED",
        "`set transaction isolation level read committed`, best on a connection of its own",
    ),
    "JF006": Refusal(
        "the tenant token is forged, has expired, or its key is unknown or retired",
        "sign a new one for each transaction, with a key that the database knows",
    ),
    "JF007": Refusal(
        "the tenant has as many waiting jobs as its quota allows",
        "wait until some have run; or an administrator raises it: `limit_tenant`",
    ),
    "JF008": Refusal(
        "the job's state does not allow it: retry of what has not failed, reschedule of what runs or has ended, retry "
        "while another job has its unique key",
        "look at the state first; cancel what runs, enqueue anew what has succeeded",
    ),
    "JF009": Refusal(
        "an artifact has more bytes than the database takes",
        "make it smaller, or keep it elsewhere and pass its location; or an administrator raises it: `limit_artifacts`",
    ),
}
"""The SQLSTATEs that functions of ours raise."""

WORDS: Final[dict[str, tuple[str, ...]]] = {
    "answer": ("done", "already_done", "lost", "refused"),
    "signal": ("lost", "cancel", "released"),
    "tenancy": ("plain", "signed"),
}
"""Columns of answers that hold one of a few words which stand in bodies alone."""

_SAID = frozenset({"paused_at", "max_running", "rate", "burst", "weight", "max_waiting"})
_CLAIMED = frozenset({"timeout", "idempotency_key", "parent_id", "trace", "tenant_token"})

MAY_BE_NULL: Final[dict[str, frozenset[str]]] = {
    "all_attempts": frozenset({"run_ms", "error"}),
    "all_jobs": frozenset(
        {
            "timeout", "retry", "idempotency_key", "unique_key", "ordering_key", "subject", "parent_id", "cause",
            "trace", "due_at", "worker_id", "claimed_at", "deadline", "finished_at", "result",
        }
    ),
    "act_for": frozenset(),
    "artifact_limit": frozenset(),
    "audit": frozenset(),
    "cancel_jobs": frozenset({"next_cursor"}),
    "cancel_jobs_of": frozenset(),
    "claim_jobs": _CLAIMED,
    "claim_suspect": _CLAIMED,
    "complete_job": frozenset({"reason"}),
    "complete_jobs": frozenset({"job_id", "reason"}),
    "count_tenant": frozenset(),
    "doze": frozenset(),
    "drop_retention": frozenset({"p_type"}),
    "enqueue_job": frozenset(),
    "enqueue_job_for": frozenset(),
    "enqueue_jobs": frozenset(),
    "enqueue_payloads": frozenset(),
    "export_tenant": frozenset(),
    "first_job_id": frozenset(),
    "get_artifact": frozenset({"location", "body"}),
    "has_suspect": frozenset(),
    "heartbeat_job": frozenset({"deadline"}),
    "heartbeat_jobs": frozenset({"job_id"}),
    "limit_artifacts": frozenset(),
    "limit_queue": _SAID,
    "limit_task": _SAID,
    "limit_tenant": _SAID,
    "list_artifacts": frozenset({"location"}),
    "list_limits": _SAID | {"bucket"},
    "list_queues": frozenset({"oldest", "next_due", "paused_at", "max_running"}),
    "list_tenants": _SAID,
    "list_workers": frozenset({"name", "queues", "types"}),
    "now": frozenset(),
    "pause_queue": _SAID,
    "pause_task": _SAID,
    "pause_tenant": _SAID,
    "prune": frozenset(),
    "purge_tenant": frozenset(),
    "report_job_analytics": frozenset(
        {
            "type", "success_rate", "run_p50", "run_p95", "run_p99", "wait_p50", "wait_p95", "wait_p99", "back_to",
        }
    ),
    "report_jobs": frozenset({"state"}),
    "report_tenant_usage": frozenset({"queue", "type", "back_to", "max_waiting", "paused_at", "max_artifact_bytes"}),
    "report_usage_summary": frozenset({"day", "back_to"}),
    "reschedule_jobs": frozenset({"next_cursor"}),
    "rescue_expired_jobs": frozenset(),
    "resume_queue": _SAID,
    "resume_task": _SAID,
    "resume_tenant": _SAID,
    "retry_jobs": frozenset({"next_cursor"}),
    "schema_version": frozenset(),
    "set_retention": frozenset({"p_keep"}),
    "store_artifact": frozenset(),
    "upkeep": frozenset({"jobs"}),
    "why_ended": frozenset({"p_last"}),
    "why_job": frozenset(),
    "why_limited": frozenset(),
    "why_queued": frozenset(),
    "workers_of": frozenset({"last_alive", "alive_until", "started_at"}),
    "workers_of_job": frozenset({"last_alive", "alive_until", "started_at"}),
}  # fmt: skip
"""Columns of a function's or view's rows that may be NULL, and arguments without a default that may be. The catalog
knows that of a table's columns alone; of what is not listed any column may be, and no such argument."""
