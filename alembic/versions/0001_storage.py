"""Storage: the schema, its clock and tenant, the tables with their policies, the view of all states.

Locks: none that matter, everything is new.
Down: every table is dropped, with all jobs in it. The roles stay: they belong to the cluster.

Revision: 0001
Revises: -
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "settings",
    "tenant_keys",
    "limits",
    "jobs",
    "idempotency_keys",
    "unique_keys",
    "waits",
    "lines",
    "turns",
    "ready",
    "heads",
    "scheduled",
    "leases",
    "workers",
    "cancel_requests",
    "attempts",
    "outcomes",
    "results",
    "retention",
    "pruning",
    "artifacts",
    "connectors",
    "connector_secrets",
    "webhook_endpoints",
    "webhook_deliveries",
)


def upgrade() -> None:
    op.run_sql("schema", 1)
    op.create_function("now", 1)
    op.create_function("current_tenant", 1)  # the policies of the tables call it
    for table in TABLES:
        op.run_sql(f"tables/{table}", 1)
    op.run_sql("views/all_jobs", 1)
    op.run_sql("views/all_attempts", 1)
    op.run_sql("views/all_results", 1)
    op.run_sql("views/all_deliveries", 1)
    op.run_sql("types/ended_run", 1)


def downgrade() -> None:
    op.drop_relation("type", "ended_run")
    op.drop_relation("view", "all_deliveries")
    op.drop_relation("view", "all_results")
    op.drop_relation("view", "all_attempts")
    op.drop_relation("view", "all_jobs")
    for table in reversed(TABLES):
        op.drop_relation("table", table)
    op.drop_function("current_tenant")
    op.drop_function("now")
