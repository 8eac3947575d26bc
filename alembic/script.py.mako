"""${message}.

Locks: what waits for this, and how long.
Down: what is lost.

Revision: ${up_revision}
Revises: ${down_revision or "-"}
"""

from alembic import op
${imports if imports else ""}
revision = "${up_revision}"
down_revision = ${'"%s"' % down_revision if down_revision else None}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else 'op.create_function("…", 2)'}


def downgrade() -> None:
    ${downgrades if downgrades else 'op.create_function("…", 1)'}
