"""The jobs of a test's session, all that a test does with them in one hand: the fixture `jobs`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from jobforge_sa.tasks import JobForge, Task
from jobforge_sa.testing._given import Given
from jobforge_sa.testing.clock import Clock
from jobforge_sa.testing.drain import Drained, Ran, drain
from jobforge_sa.testing.enqueued import assert_enqueued, refute_enqueued
from jobforge_sa.testing.inline import inline
from jobforge_sa.types import JobInfo


class JobsUnderTest:
    """Drains the jobs of a session, asserts what was enqueued, runs them inline, and has their clock.

    Args:
        session: The test's.
        forge: Gives the registry of the application's tasks, when it is needed.

    Attributes:
        session: The test's.
        clock: What the database takes for now in its transaction.
    """

    def __init__(self, session: Given, forge: Callable[[], JobForge]) -> None:
        self.session = session
        self.clock = Clock(session)
        self._forge = forge

    def drain(self, **options: Any) -> Drained:
        """Run the jobs that wait. See `jobforge_sa.testing.drain.drain`."""
        __tracebackhide__ = True
        return drain(self.session, self._forge(), **options)

    def inline(self, **options: Any) -> AbstractContextManager[list[Ran]]:
        """Run each job where it is enqueued, for a block. See `jobforge_sa.testing.inline.inline`."""
        return inline(self.session, self._forge(), **options)

    def assert_enqueued(self, task: Task[Any, Any] | str, payload: Any = ..., **wanted: Any) -> list[JobInfo]:
        """Assert that a job was enqueued. See `jobforge_sa.testing.enqueued.assert_enqueued`."""
        __tracebackhide__ = True
        return assert_enqueued(self.session, task, payload, **wanted)

    def refute_enqueued(self, task: Task[Any, Any] | str, payload: Any = ..., **wanted: Any) -> None:
        """Assert that no such job was enqueued. See `jobforge_sa.testing.enqueued.refute_enqueued`."""
        __tracebackhide__ = True
        refute_enqueued(self.session, task, payload, **wanted)
