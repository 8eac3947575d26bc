"""The worker: a thread in the application, a context manager, a lifespan, or a process of its own. Wiring only."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Engine

from jobforge_sa import tracing
from jobforge_sa.tasks import JobForge
from jobforge_sa.worker import alive, preflight
from jobforge_sa.worker import ending as endings
from jobforge_sa.worker.arguments import (
    at_least,
    from_settings,
    process_name,
    queues_of,
    seconds,
    warn_of_latecomers,
)
from jobforge_sa.worker.bed import Bed
from jobforge_sa.worker.claimer import Claimer
from jobforge_sa.worker.counters import ENDS, Counters
from jobforge_sa.worker.deadlines import Deadlines
from jobforge_sa.worker.engines import SessionEngines
from jobforge_sa.worker.executor import Executor
from jobforge_sa.worker.heartbeat import Heartbeat
from jobforge_sa.worker.incidents import Incidents
from jobforge_sa.worker.lane import Lane
from jobforge_sa.worker.link import own_engine
from jobforge_sa.worker.listener import Listener
from jobforge_sa.worker.loop import Loop
from jobforge_sa.worker.pool import ProcessPool
from jobforge_sa.worker.reporter import Reporter
from jobforge_sa.worker.run import Run, Runs
from jobforge_sa.worker.setup import set_up
from jobforge_sa.worker.signals import StopSignals
from jobforge_sa.worker.upkeep import Upkeep
from jobforge_sa.worker.vitals import Health, Numbers, Vitals
from jobforge_sa.worker.voice import log
from jobforge_sa.worker.watchdog import Watchdog

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from jobforge_sa.settings import Settings


THREADS = 4  # of its own that have a connection, beside the listener: heartbeat, upkeep, reporter, claimer


class Worker:
    """Runs the jobs of a registry's tasks.

    Args:
        engine: The database: an `Engine`, an `AsyncEngine`, or a URL. Other drivers than psycopg give their URL.
        forge: The tasks. Jobs of types that it does not have are left for workers that do.
        queues: The queues, with how many handlers may run at once in each; a list gives each `concurrency`.
            Default: the queues of the tasks.
        concurrency: Handlers at once, for each queue that does not say.
        lease: How long a job stays this worker's without a sign of life. A heartbeat goes out each third of it.
        poll: The longest sleep between two looks when there is nothing to do.
        listen: Wake by NOTIFY. Where a pooler stands between (pgbouncer) it is switched off by itself, and said once.
        session_engine: Where the handlers' sessions connect; the same database, perhaps as another role. Where tenancy
            is signed it gets sealed. Default: `engine`, which is not.
        async_session_engine: Where those of async handlers do. Default: an engine made from the URL of the other one;
            give another where that was made with `connect_args` or has events, such as one that sets a role. Its
            connections live on the worker's loop: share it with nothing else.
        grace: How long `stop` lets running handlers go on.
        process_engine: For tasks with `process=True`: a function at the top level of a module, which makes the engine
            of a child process's sessions. Needed where `session_engine` has events or a creator; otherwise the child
            makes one from its URL and `connect_args`.
        process_imports: Modules that a child process imports before those of the handlers.
        idle_warning: How long a handler's transaction may be open without a statement, as while it waits for the
            network, before that is warned of; and `idle_limit`: before it is ended, and with it the attempt. None:
            for ever. Not for child processes.
        continue_traces: Whether a run's span stands in the trace of its enqueue, and is not just linked to it.

    Use it as a context manager, `with Worker(engine, forge): ...`; or `start()` and `stop()`; or `run()` in a process
    of its own; or `FastAPI(lifespan=worker.lifespan)`.
    """

    def __init__(
        self,
        engine: Engine | AsyncEngine | str,
        forge: JobForge,
        *,
        queues: Mapping[str, int] | Iterable[str] | None = None,
        concurrency: int = 10,
        lease: dt.timedelta = dt.timedelta(seconds=30),
        poll: dt.timedelta = dt.timedelta(seconds=1),
        listen: bool = True,
        session_engine: Engine | None = None,
        async_session_engine: AsyncEngine | None = None,
        grace: dt.timedelta = dt.timedelta(seconds=30),
        process_engine: Callable[[], Engine] | None = None,
        process_imports: Iterable[str] = (),
        idle_warning: dt.timedelta | None = dt.timedelta(seconds=10),
        idle_limit: dt.timedelta | None = dt.timedelta(minutes=5),
        continue_traces: bool = False,
    ) -> None:
        self.id = uuid.uuid4()
        self.queues, self._serves_all = queues_of(forge, queues, concurrency), queues is None
        self._incidents = Incidents(Counters())
        self._given, self._engine = engine, own_engine(engine, sum(self.queues.values()))
        self._forge = forge
        self._lease, self._poll = at_least(lease, 1, "lease"), at_least(poll, 0.01, "poll")
        self._listen = listen
        self._grace = grace.total_seconds()
        chosen = session_engine or self._engine
        self._sessions = SessionEngines(
            chosen, async_session_engine, ours=chosen is not self._given, slots=sum(self.queues.values())
        )
        self._process_engine, self._process_imports = process_engine, tuple(process_imports)
        self._idle = seconds(idle_warning, "idle_warning"), seconds(idle_limit, "idle_limit")
        self._trace = partial(tracing.processing, worker=process_name(), below=continue_traces)
        self._running, self._clean = False, True
        self._vitals: Vitals | None = None
        self._stopping = threading.RLock()

    @classmethod
    def from_settings(cls, forge: JobForge, settings: Settings, **more: Any) -> Self:
        """A worker as the environment says, but for what is given here: arguments of `Worker`.

        Raises:
            ConfigurationError: no database is given, or something cannot work.
        """
        url, arguments = from_settings(forge, settings)
        return cls(url, forge, **(arguments | more))

    # -- life --------------------------------------------------------------------------

    def start(self) -> Self:
        """Look whether everything fits, and start the threads.

        Raises:
            ServerUnavailable, SchemaMismatch, AccessDenied, RowSecurityOff: it does not; the error names the cure.
            ConfigurationError: a task with `process=True` cannot be run in a child process.
        """
        if self._running:
            return self
        if self._serves_all:
            warn_of_latecomers(self._forge, self.queues)
        database = preflight.look(self._engine)
        preflight.look_at_sessions(self._sessions.engine, database, strict=self._forge.strict_rls)
        self._setup = set_up(self._forge, self._sessions.engine, self._process_engine, self._process_imports, database)
        self._sessions.watch()
        self._wire()
        others = (self._deadlines, self._watchdog, self._pool)
        self._vitals = Vitals(self._connected, others, self._heartbeat, self._lanes, self._lease)
        for service in self._connected:
            service.outage = self._vitals.outage  # one voice for all of them
        self._running = True
        alive.workers.add(self)
        try:
            for service in (*self._connected, *others):
                service.start()
        except BaseException:  # no more threads: those that there are must not work on, for nobody could stop them
            self.stop(0)
            raise
        log.info("worker %s started: %s", self.id, ", ".join(f"{q} x{n}" for q, n in self.queues.items()))
        return self

    def stop(self, timeout: float | None = None) -> bool:
        """Stop: claim nothing more, give back what was not started, let the rest finish, then give that back too.

        Args:
            timeout: Seconds for running handlers; default the worker's `grace`.

        Returns:
            Whether every handler had ended by then.
        """
        with self._stopping:  # who comes second waits, and hears the same
            if self._running:
                self._running = False
                try:
                    self._clean = self._stop(timeout)
                except BaseException:  # a second Ctrl-C: nobody is waited for any longer, and everything given back
                    self._clean = self._stop(0)
                    raise
            return self._clean

    def stats(self) -> dict[str, int]:
        """What has happened since this worker was made, as numbers that only grow.

        `claimed`: jobs taken. How runs ended: `succeeded`, `failed`, `timed_out`, `snoozed`, `released`, `canceled`;
        `lost`, whose lease was gone. Handlers that ignored that they should stop: `abandoned`, whose threads were left
        behind, `killed`, whose processes were killed. `died`: processes that died by themselves. `rescued`: jobs taken
        back from dead workers or passed deadlines, by this one's upkeep. `unheard`: jobs whose claim's answer got lost
        on its way to this worker, which were queued again. `idle`: handlers whose transaction was open for longer than
        `idle_warning` without a statement; `overstayed`: than `idle_limit`.
        """
        return self._incidents.counters.read()

    @property
    def outcomes(self) -> Counter[str]:
        """How runs ended: those numbers of `stats` that are an outcome, and not 0."""
        return Counter({name: count for name, count in self.stats().items() if count and name in ENDS})

    def live(self) -> Health:
        """Whether to leave this process alone: its threads live, and none is stuck. Also while it stops, or is stopped.

        For an orchestrator's liveness. A database that is away is no reason to say no, for a new process would not
        reach it either.
        """
        return self._vitals.live() if self._running and self._vitals else Health()

    def ready(self) -> Health:
        """Whether it works: started and not stopping, heard by the database within its lease, and hearing it."""
        return self._vitals.ready() if self._running and self._vitals else Health(("it is not started, or stops",))

    def numbers(self) -> Numbers | None:
        """All its numbers of this moment; None before the first start."""
        if self._vitals is None:
            return None
        counters, unreported = self._incidents.counters, self._reporter.backlog
        return self._vitals.numbers(counters, unreported, self.live(), self.ready())

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until there is nothing to claim and nothing running.

        Returns:
            Whether that came within so many seconds.
        """
        self._upkeep.do_now()
        return self._claimer.drain(timeout)

    def run(self, *, once: bool = False) -> int:
        """Run in this process until SIGTERM or SIGINT; a second signal does not wait for handlers.

        Args:
            once: Until there is nothing to do now.

        Returns:
            The exit status: 0; 1 if `once` and an attempt failed; 3 if handlers had to be left behind.
        """
        stop = StopSignals()
        with stop:
            self.start()
            if once:
                while not self.drain(0.2) and not stop.asked.is_set():
                    pass
            else:
                stop.asked.wait()
            clean = self._stop_unless(stop)
        if not clean:
            return 3
        failed = sum(count for outcome, count in self.outcomes.items() if outcome in ("failed", "timed_out", "lost"))
        return 1 if once and failed else 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(self.stop)

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """For ASGI applications: `Starlette(lifespan=worker.lifespan)`."""
        async with self:
            yield

    # -- how ---------------------------------------------------------------------------

    def _stop(self, timeout: float | None) -> bool:
        alive.workers.discard(self)
        first = (*self._listeners, self._claimer, self._upkeep)
        for service in self._connected:
            service.hurry()
        for service in first:
            service.ask()
        for service in first:
            service.stop(10)
        for lane in self._lanes:
            for run in lane.close():
                self._reporter.report(run, endings.RELEASED)
        clean = self._runs.wait_empty(self._grace if timeout is None else timeout)
        if not clean:
            clean = self._interrupt()
        self._deadlines.stop(10)
        self._pool.stop(10)
        self._loop.stop(self._sessions.close_async, 5)
        self._reporter.stop(10)
        self._heartbeat.stop(10)
        self._watchdog.stop(10)
        if self._engine is not self._given:
            self._engine.dispose()
        log.info("worker %s stopped%s", self.id, "" if clean else "; some handlers had not ended")
        return clean

    def _wire(self) -> None:
        self._runs = Runs(self._incidents)
        self._reporter = Reporter(self._engine, self._runs, lambda: self._claimer.settled())
        executor = Executor(self._sessions.engine, self._sessions.make_async, self._reporter.report, self._trace)
        self._pool = ProcessPool(self._engine, self._setup, self._reporter.report, self._trace, self._incidents)
        self._loop = Loop(executor.run_async)

        def run(run: Run) -> None:
            (self._pool if run.task.process else executor).run(run)

        self._lanes = [Lane(queue, slots, run, self._loop.spawn) for queue, slots in self.queues.items()]
        self._wire_services()
        for lane in self._lanes:
            lane.on_free(self._claimer.freed)

    def _wire_services(self) -> None:
        bed = Bed()
        self._claimer = Claimer(
            self._engine, self._runs, self._lanes, self._forge.tasks, worker_id=self.id, lease=self._lease,
            poll=self._poll, unreported=lambda: self._reporter.backlog,
            release=lambda run: self._reporter.report(run, endings.RELEASED), signed=self._sessions.seal,
            loop_late=lambda: self._loop.late, bed=bed,
        )  # fmt: skip
        self._heartbeat = Heartbeat(
            self._engine, self._runs, worker_id=self.id, lease=self._lease, name=process_name(),
            queues=list(self.queues), types=list(self._forge.tasks), listens=self._listen,
            connections=THREADS + self._listen + sum(self.queues.values()),
            claim_in_doubt=lambda: self._claimer.in_doubt,
        )  # fmt: skip
        self._deadlines = Deadlines(
            self._engine, self._runs, {lane.queue: lane for lane in self._lanes}, self._reporter.report, self._idle
        )
        self._upkeep = Upkeep(
            self._engine, self._incidents, worker_id=self.id, lease=self._lease, steady=self._heartbeat.steady
        )
        self._listeners: list[Listener] = []
        if self._listen:
            self._listeners = [
                Listener(self._engine, self.queues, self._claimer.wake, self._heartbeat.wake, self._heartbeat.deaf, bed)
            ]
        self._connected = (self._heartbeat, self._upkeep, self._reporter, self._claimer, *self._listeners)
        self._watchdog = Watchdog(self._engine, self._connected)

    def forked(self) -> None:
        """This process was forked: nothing of the parent's is ours. Called by itself."""
        self._running, self._stopping = False, threading.RLock()
        self._pool.forget_all()
        # the old id is the parent's, and so are its numbers, whose lock another thread may hold
        self.id = uuid.uuid4()
        self._incidents = Incidents(Counters())
        self._engine.dispose(close=False)
        self._sessions.forget()

    def _interrupt(self) -> bool:
        """The grace is over: ask the handlers to stop, and after a moment give their jobs back."""
        for run in self._runs.all():
            run.interrupt("stopping")
        if self._runs.wait_empty(1):
            return True
        self._pool.kill()  # before others may run those jobs
        self._runs.wait_empty(1)
        left = [run for run in self._runs.all() if not run.ended]
        self._release_all()
        for run in left:
            run.sever()  # it may wait on a half-open connection; and what it still writes would not count
        self._runs.wait_empty(5)
        return False

    def _release_all(self) -> None:
        for run in self._runs.all():
            self._reporter.report(run, endings.RELEASED)

    def _stop_unless(self, signals: StopSignals) -> bool:
        """Stop in another thread; a second signal gives everything back at once."""
        clean: list[bool] = []
        stopper = threading.Thread(target=lambda: clean.append(self.stop()), name="jobforge-stop", daemon=True)
        stopper.start()
        while stopper.is_alive():
            if signals.again.wait(0.05):
                self._pool.kill()
                self._release_all()
                stopper.join(10)
                return False
        return clean == [True]
