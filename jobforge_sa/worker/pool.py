"""The child processes of a worker: as many as handlers run in them at once, kept for the next jobs."""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Engine

from jobforge_sa.tracing import Span
from jobforge_sa.worker import deadlines, executor
from jobforge_sa.worker import ending as endings
from jobforge_sa.worker.ending import Ending
from jobforge_sa.worker.incidents import Incidents
from jobforge_sa.worker.process import Gone, Process, Setup
from jobforge_sa.worker.run import Run, Why
from jobforge_sa.worker.service import Service

LOOK = 0.1  # seconds between two looks at what runs
START = 50.0  # seconds for a child to start: within the minute that a lease has beyond its job's timeout
LEAVE = 2.0  # seconds for idle children to end by themselves
WORDS: tuple[Why, ...] = ("canceled", "lost", "timed_out", "stopping")


@dataclass(slots=True)
class Duty:
    """A run in a child."""

    run: Run
    told: set[str] = field(default_factory=set)
    since: float | None = None  # monotonic: it was told then that it should stop
    given_up: bool = False  # its process is killed


class ProcessPool(Service):
    """Runs handlers in children, and looks after these from a thread of its own.

    That thread also starts them, for a child lives no longer than the thread that has made it.
    """

    name = "processes"

    def __init__(
        self, engine: Engine, setup: Setup | None, report: executor.Report, trace: executor.Trace, incidents: Incidents
    ) -> None:
        super().__init__(engine)
        self._setup = setup
        self._report = report
        self._trace = trace
        self._incidents = incidents
        self._wanted: queue.SimpleQueue[Future[Process]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._all: set[Process] = set()
        self._idle: list[Process] = []
        self._duties: dict[Process, Duty] = {}
        self._killing = False

    # -- of the lanes' threads -------------------------------------------------------------

    def run(self, run: Run) -> None:
        """Run a handler in a child, from this thread, and report its end, whatever happens."""
        ending = endings.RELEASED
        try:
            with self._trace(run.job) as span:  # here, not in the child, which may die before it could tell of it
                ending = self._end(run, span)
                executor.describe(span, ending)
        finally:
            self._report(run, ending)

    def _end(self, run: Run, span: Span) -> Ending:
        try:
            return self._serve(run, span)
        except BaseException as error:  # the worker's own: what a handler raises its child has put into words
            return endings.RELEASED if self._killing else executor.failed(run, error)

    def _serve(self, run: Run, span: Span) -> Ending:
        process = self._take()
        try:
            ending = self._converse(process, run, span)
        except Gone as gone:
            return self._gone(process, run, gone)
        except BaseException:
            process.end()
            self._forget(process)
            raise
        finally:
            with self._lock:
                duty = self._duties.pop(process, None)
        if process.ready and not (duty and duty.given_up):
            with self._lock:
                self._idle.append(process)
        else:
            process.end()
            self._forget(process)
        return ending

    def _converse(self, process: Process, run: Run, span: Span) -> Ending:
        if not process.ready:
            first = self._listen(process)
            if first["kind"] != "ready":
                ending = _ending(first)
                executor.say(run, ending)
                return ending
            process.ready = True
        with self._lock:
            if run.should_stop or self._killing:
                return executor.told(run)
            self._duties[process] = Duty(run)
        self.wake()  # it sleeps long while nothing runs
        run.start()
        process.give(run.job._replace(trace=span.carry(run.job.trace)))
        message = self._listen(process)
        if message["kind"] == "completed":  # and it goes on: no heartbeat must miss the lease
            self._report(run, endings.COMPLETED)
            message = self._listen(process)
        return _ending(message)

    @staticmethod
    def _listen(process: Process) -> dict[str, Any]:
        """What it says next, the records for the log apart."""
        while (message := process.receive())["kind"] == "log":
            record = logging.makeLogRecord(message["record"])
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                with contextlib.suppress(Exception):  # a filter that raises must not cost the job its process
                    logger.handle(record)
        return message

    def _take(self) -> Process:
        with self._lock:
            found = self._idle.pop() if self._idle else None
        while found is not None and not found.alive:  # it died idle: nobody was harmed
            found.end()
            self._forget(found)
            with self._lock:
                found = self._idle.pop() if self._idle else None
        if found is not None:
            return found
        ask: Future[Process] = Future()
        with self._lock:
            if self._killing:  # nobody would start it
                raise RuntimeError("the worker stops")
            self._wanted.put(ask)
        self.wake()
        try:
            return ask.result(START)
        except TimeoutError:
            if ask.cancel():  # else it is being made just now, and nobody else would take it
                raise
            return ask.result(START)

    def _gone(self, process: Process, run: Run, gone: Gone) -> Ending:
        self._forget(process)
        if not process.killed:
            self._incidents.died(run, str(gone))
            oom = ", perhaps for want of memory" if gone.status == -signal.SIGKILL else ""
            return endings.died(f"the handler's process died: {gone}{oom}")
        if process.ready:
            self._incidents.killed(run)
            return endings.killed(executor.told(run))
        if self._killing:
            return endings.RELEASED
        return endings.died(f"a process for the handler did not start within {START:.0f} s")

    def _forget(self, process: Process) -> None:
        with self._lock:
            self._all.discard(process)
        process.close()

    # -- of its own ------------------------------------------------------------------------

    def step(self) -> None:
        """Start what was asked for, look after what runs, and sleep."""
        self._start_asked()
        with self._lock:
            starting = self._all - self._duties.keys() - set(self._idle)
            duties = dict(self._duties)
        now = time.monotonic()
        for process in starting:
            if not process.ready and now - process.born > START:
                process.kill()
        for process, duty in duties.items():
            self._look_after(process, duty, now)
        if self._wanted.empty():
            self.sleep(LOOK if duties or starting else START)

    def kill(self) -> None:
        """Kill all: the worker waits for them no longer. Their runs end as released."""
        with self._lock:
            self._killing = True
            processes = list(self._all)
        for process in processes:
            process.kill()

    def finish(self) -> None:
        """Let the idle ones go, and kill what is left."""
        with self._lock:
            self._killing = True
            idle, self._idle = self._idle, []
            left = self._all - set(idle)
        self._refuse_asked()
        for process in idle:
            process.hang_up()
        for process in left:
            process.kill()  # its lane's thread hears of it
        until = time.monotonic() + LEAVE
        for process in idle:
            process.wait(until - time.monotonic())
            process.end()
            self._forget(process)
        for process in left:
            process.wait(until - time.monotonic())

    def forget_all(self) -> None:
        """This process was forked: the children are its parent's, and their wires must end with that."""
        for process in list(self._all):
            process.forget()

    def _start_asked(self) -> None:
        while not self._wanted.empty():
            ask = self._wanted.get()
            if not ask.set_running_or_notify_cancel():
                continue
            assert self._setup is not None, "there are tasks for it"
            try:
                process = Process(replace(self._setup, levels=_levels()))
            except BaseException as error:
                ask.set_exception(error)
                continue
            with self._lock:
                self._all.add(process)
            ask.set_result(process)

    def _refuse_asked(self) -> None:
        while not self._wanted.empty():
            ask = self._wanted.get()
            if ask.set_running_or_notify_cancel():
                ask.set_exception(RuntimeError("the worker stops"))

    def _look_after(self, process: Process, duty: Duty, now: float) -> None:
        signals = duty.run
        for why in WORDS:
            if getattr(signals, why) and why not in duty.told:
                duty.since = duty.since if duty.since is not None else now
                if process.tell(duty.run.job.lease_token, why):
                    duty.told.add(why)
        only_stopping = signals.stopping and not (signals.canceled or signals.lost or signals.timed_out)
        patient = duty.since is None or only_stopping or now - duty.since <= deadlines.PATIENCE
        if patient and process.alive:  # what a dead one has started may hold its end of the wire
            return
        with self._lock:
            if self._duties.get(process) is not duty:  # it ended just now: the process may run another's job already
                return
            duty.given_up = True
        process.kill()


def _ending(message: dict[str, Any]) -> Ending:
    return Ending(**{key: value for key, value in message.items() if key != "kind"})


def _levels() -> dict[str, int]:
    """The levels of the loggers that have one: a child hands on what passes them."""
    named = {name: logging.getLogger(name) for name in list(logging.root.manager.loggerDict)}
    return {"": logging.root.level} | {name: logger.level for name, logger in named.items() if logger.level}
