"""Our schema as one line in a revision of the application's own Alembic history.

It runs on the connection and in the transaction of that revision, so both go up, and fail, together. The
history of the application stays linear and its version table its own; ours is `jobforge.alembic_version`.

Example:
    ```python
    from jobforge_sa import migrations


    def upgrade() -> None:
        migrations.upgrade("0001")


    def downgrade() -> None:
        migrations.downgrade("base", frm="0001")
    ```
"""

from __future__ import annotations

from collections.abc import Mapping

from jobforge_sa.db import migrate

__all__ = ["downgrade", "include_name", "upgrade"]


def upgrade(revision: str, *, frm: str | None = None) -> None:
    """Move our schema up to a pinned revision; call it inside `upgrade()` of your own.

    `frm` is where your previous revision left it. Only `--sql` needs it, which cannot ask the database.
    """
    from alembic import op

    migrate.run(op.get_context(), "upgrade", revision, frm)


def downgrade(revision: str, *, frm: str | None = None) -> None:
    """Move our schema down to a revision or to `base`; `frm` as for `upgrade`, needed by `--sql` only."""
    from alembic import op

    migrate.run(op.get_context(), "downgrade", revision, frm)


def include_name(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:  # noqa: ARG001
    """Keep our schema out of autogenerate; needed in `context.configure` only with `include_schemas=True`."""
    return not (type_ == "schema" and name == migrate.SCHEMA)
