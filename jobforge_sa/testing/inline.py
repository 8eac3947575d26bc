"""Run each job where it is enqueued: for tests of what comes of a call, and not of when it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from sqlalchemy import Connection, event

from jobforge_sa.db import enqueue_calls
from jobforge_sa.tasks import JobForge
from jobforge_sa.tenant import SignedTenant
from jobforge_sa.testing._given import Given, connection_of, session_of
from jobforge_sa.testing.drain import Ran, drain

# what `Jobs` sends, whatever the tenant: known by identity, for it is prebuilt
_ENQUEUES = {
    id(call.statement(tenant))
    for call in (enqueue_calls.ENQUEUE_JOB, enqueue_calls.ENQUEUE_JOBS, enqueue_calls.ENQUEUE_PAYLOADS)
    for tenant in (None, "", SignedTenant("", str))
}


@contextmanager
def inline(session: Given, forge: JobForge, **options: Any) -> Iterator[list[Ran]]:
    """Run the jobs of a session or connection as soon as they are enqueued, for a block.

    `enqueue` and `enqueue_many` return when their jobs have run, and raise what the handlers raise. For `Jobs.add` the
    flush does, and the session waits for its `rollback()`, as after any flush that raises. Each is a `drain`, by whose
    `options` it goes: what handlers enqueue runs behind them, what is due later waits.

    The application meets an order that it never meets in production, where a job runs when its transaction has
    committed: what it writes behind the enqueue is not there yet. Test with `drain` what depends on that.

    Yields:
        What has run so far; it grows.
    """
    ran: list[Ran] = []
    with ExitStack() as listening:
        _Hook(session, lambda it: ran.extend(drain(it, forge, **options)), listening)
        yield ran


class _Hook:
    """Hears of enqueues, and runs the jobs as soon as the session can take it."""

    def __init__(self, given: Given, run: Callable[[Connection], None], listening: ExitStack) -> None:
        self._given, self._run, self._listening = given, run, listening
        self._session = session = session_of(given)
        self._watched: set[Connection] = set()
        self._due = self._runs = False
        if session is not None:
            self._listen(session, "after_begin", lambda _session, _transaction, it: self._watch(it))
            self._listen(session, "after_flush_postexec", lambda *_: self._run_due())
        self._watch(connection_of(given))

    def _listen(self, target: object, name: str, heard: Callable[..., None]) -> None:
        event.listen(target, name, heard)
        self._listening.callback(event.remove, target, name, heard)

    def _watch(self, connection: Connection) -> None:
        if connection not in self._watched:
            self._watched.add(connection)
            self._listen(connection, "after_execute", self._executed)

    def _executed(self, _connection: Connection, statement: object, *_: Any) -> None:
        if id(statement) in _ENQUEUES and not self._runs:
            self._due = True
            if not getattr(self._session, "_flushing", False):  # all that tells: the end of the flush is heard, too
                self._run_due()

    def _run_due(self) -> None:
        if not self._due:
            return
        self._due, self._runs = False, True
        try:
            self._run(connection_of(self._given))
        finally:
            self._runs = False
            if self._session is not None and self._session.expire_on_commit:
                self._session.expire_all()
