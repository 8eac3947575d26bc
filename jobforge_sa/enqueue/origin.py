"""The job whose handler uses a session: what is enqueued through that comes of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

ORIGIN = "jobforge.origin"  # the key in Session.info


@dataclass(frozen=True, slots=True)
class Origin:
    """What jobs enqueued by a handler inherit from its job, beside the tenant."""

    parent_id: uuid.UUID
    trace: str | None
