"""The job's fields on whatever is logged while its handler runs, by any logger."""

from __future__ import annotations

import logging

from jobforge_sa.context import current_job


class JobFields(logging.Filter):
    """Gives each record the fields of the job that runs in its thread or task, where it has none of its own.

    Add it to a handler, not to a logger, whose filters see that logger's own records only. `jobforge worker` has it.

    Example:
        >>> handler.addFilter(JobFields())
        >>> handler.setFormatter(logging.Formatter("%(message)s %(job_id)s", defaults={"job_id": "-"}))
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything pass."""
        job = current_job.get()
        if job is not None and not hasattr(record, "job_id"):
            record.__dict__.update(job.log_fields())
        return True
