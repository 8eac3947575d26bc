"""Engine: the functions that move jobs, the only write path.

Locks: none that matter, everything is new.
Down: the functions go, the jobs stay; nothing can be enqueued or run until the next upgrade.

Revision: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# a function stands behind those that it needs to exist when it is created
FUNCTIONS = (
    "schema_version",
    "wake",
    "token_mac",
    "token_tenant",
    "new_token",
    "add_tenant_key",
    "retire_tenant_key",
    "use_tenancy",
    "check_tenant",
    "act_for",
    "require_tenant",
    "require_read_committed",
    "new_job_id",
    "check_interval",
    "check_number",
    "check_retry",
    "retry_delay",
    "check_job",
    "count_ready",
    "check_quota",
    "find_place",
    "leave_place",
    "renew_place",
    "take_idempotency_key",
    "take_unique_key",
    "enqueue_job",
    "enqueue_jobs",
    "enqueue_payloads",
    "enqueue_job_for",
    "tell_waiting",
    "settle",
    "promote_due",
    "keep_alive",
    "ring_start",
    "check_limit",
    "check_claim",
    "claim_jobs",
    "claim_suspect",
    "has_suspect",
    "heartbeat_jobs",
    "heartbeat_job",
    "is_storable",
    "parse_results",
    "complete_jobs",
    "complete_job",
    "take_back",
    "rescue_expired_jobs",
    "cancel_now",
    "settle_cancels",
    "list_retention",
    "set_retention",
    "drop_retention",
    "begin_walk",
    "end_walk",
    "forget_jobs",
    "prune_jobs",
    "prune_results",
    "prune_keys",
    "prune",
    "upkeep",
    "cancel_job",
    "cancel_jobs_of",
    "reschedule_job",
    "retry_job",
    "replay_job",
    "get_job",
    "impact_of_job",
    "await_job",
    "list_jobs",
    "job_stats",
    "pause_tenant",
    "resume_tenant",
    "limit_tenant",
    "list_tenants",
    "count_tenant",
    "export_tenant",
    "purge_rest",
    "purge_tenant",
    "list_queues",
    "list_workers",
    "moment_text",
    "workers_of",
    "workers_of_job",
    "why_queued",
    "why_ended",
    "why_job",
    "artifact_limit",
    "limit_artifacts",
    "store_artifact",
    "get_artifact",
    "list_artifacts",
    "first_job_id",
    "complete_since",
    "report_jobs",
    "report_usage_summary",
    "report_job_analytics",
    "report_tenant_usage",
    "audit",
    "check_connector",
    "set_connector",
    "drop_connector",
    "list_connectors",
    "set_secret",
    "drop_secret",
    "list_secrets",
    "connector_of_run",
    "list_webhooks",
    "disable_webhook",
    "enable_webhook",
    "log_delivery",
)


def upgrade() -> None:
    for function in FUNCTIONS:
        op.create_function(function, 1)


def downgrade() -> None:
    for function in reversed(FUNCTIONS):
        op.drop_function(function)
