"""The child process of a worker: runs handlers in its main thread, one after the other, as the worker's threads do."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobforge_sa import tracing
from jobforge_sa.context import ClaimedJob
from jobforge_sa.joblog import JobFields
from jobforge_sa.tasks import Task
from jobforge_sa.tracing import Span
from jobforge_sa.worker import backend, errortext, place
from jobforge_sa.worker import ending as endings
from jobforge_sa.worker.ending import Ending
from jobforge_sa.worker.executor import Executor
from jobforge_sa.worker.process import SAID, SETUP, Setup
from jobforge_sa.worker.run import Run
from jobforge_sa.worker.wire import Wire

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

PR_SET_PDEATHSIG = 1
ORPHANED = 70  # exit status of a child whose worker is gone


def main(end: int, parent: int) -> None:
    """Run jobs until the worker hangs up.

    Args:
        end: The file descriptor of this end of the wire.
        parent: The worker's process id.
    """
    os.set_inheritable(end, False)
    _die_with(parent)
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all of a service at once: when to stop, the worker says
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which a handler's own subprocesses would inherit
    with contextlib.suppress(OSError):  # when memory is short the kernel takes this one, not the worker
        Path("/proc/self/oom_score_adj").write_text("500")
    faulthandler.enable()
    Child(Wire(socket.socket(fileno=end))).serve()


class Child:
    """Hears in one thread what the worker says, works in another."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._tasks: dict[str, Task[Any, Any]] = {}
        self._inbox: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._run: Run | None = None
        self._busy = True  # setting up

    def serve(self) -> None:
        """Set up, and run what comes."""
        try:
            setup = SETUP.validate_json(self._wire.receive())
            threading.Thread(target=self._hear, name="jobforge-wire", daemon=True).start()
            executor = self._set_up(setup)
        except BaseException as error:  # whatever an application's modules raise; a SystemExit, too
            self._say("failed", **asdict(endings.of_error(error)))
            return
        self._busy = False
        self._say("ready")
        while (run := self._inbox.get()) is not None:
            executor.run(run)

    def _set_up(self, setup: Setup) -> Executor:
        for module in setup.imports:
            importlib.import_module(module)
        self._tasks = {name: place.task(name, where) for name, where in setup.tasks.items()}
        if not logging.root.handlers:  # else the application logs as it wants
            logging.root.addHandler(forwarder := Forwarder(self))
            forwarder.addFilter(JobFields())
            for name, level in setup.levels.items():
                logging.getLogger(name).setLevel(level)
        engine = setup.blueprint.build()
        backend.watch(engine)
        return Executor(engine, _no_loop, self._report, _below_its_run, lambda _: self._say("completed"))

    def _hear(self) -> None:
        while True:
            try:
                message = SAID.validate_json(self._wire.receive())
            except EOFError:
                if self._busy:
                    os._exit(ORPHANED)  # nobody is left to say how it ended, or wants to know
                self._inbox.put(None)
                return
            if isinstance(message, ClaimedJob):
                self._busy = True
                self._run = Run(message, self._tasks[message.type])
                self._inbox.put(self._run)
            else:
                run = self._run
                if run is not None and run.job.lease_token == message.token:
                    run.interrupt(message.why)

    def _report(self, _run: Run, ending: Ending) -> None:
        self._run, self._busy = None, False
        self._say("ended", **asdict(ending))

    def _say(self, kind: str, **more: object) -> None:
        self.say({"kind": kind, **more})

    def say(self, message: dict[str, object]) -> None:
        """Send the worker a message. A worker that is gone hears of nothing; the wire's end ends this process."""
        try:
            self._wire.send(json.dumps(message).encode())
        except OSError:
            return


class Forwarder(logging.Handler):
    """Hands log records to the worker, whose handlers write them."""

    _PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
    _MOST = 20_000  # characters of a message or of a traceback

    def __init__(self, child: Child) -> None:
        super().__init__()
        self._child = child

    def emit(self, record: logging.LogRecord) -> None:
        """Hand it on as plain values."""
        try:
            kept = {
                key: value if isinstance(value, int | float | bool | None) else str(value)[:1000]
                for key, value in record.__dict__.items()
                if key not in self._PLAIN
            }
            if record.exc_info:
                kept["exc_text"] = errortext.clean(errortext.trace(record.exc_info[1])) if record.exc_info[1] else ""
            kept |= {
                "name": record.name, "levelno": record.levelno, "levelname": record.levelname,
                "msg": record.getMessage()[: self._MOST], "created": record.created, "msecs": record.msecs,
                "process": record.process, "threadName": record.threadName, "pathname": record.pathname,
                "filename": record.filename, "module": record.module, "lineno": record.lineno,
                "funcName": record.funcName,
            }  # fmt: skip
            self._child.say({"kind": "log", "record": kept})
        except Exception:
            self.handleError(record)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its worker dies, even while C code keeps every thread of it waiting.

    Elsewhere than on Linux it is the wire that tells.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has died before
        os._exit(ORPHANED)


def _below_its_run(job: ClaimedJob) -> AbstractContextManager[Span]:
    """The worker has the run's span; what the handler traces hangs below it."""
    return tracing.hanging(job.trace)


def _no_loop() -> AsyncEngine:
    raise AssertionError("async handlers run in the worker")
