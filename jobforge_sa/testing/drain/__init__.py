"""The jobs of a test, run on its own connection. See `draining.py`."""

from jobforge_sa.testing.drain.draining import Drained, Ran, TooManyJobs, async_drain, before, drain

__all__ = ["Drained", "Ran", "TooManyJobs", "async_drain", "before", "drain"]
