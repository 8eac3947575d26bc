"""A child process, as its worker has it: started, spoken to, killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from multiprocessing import spawn
from typing import Any

import pydantic

from jobforge_sa.context import ClaimedJob
from jobforge_sa.worker.blueprint import Blueprint
from jobforge_sa.worker.run import Why
from jobforge_sa.worker.wire import Wire

# the path comes first: what it takes to import us may stand in it
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]); "
    "from jobforge_sa.worker.child import main; main(int(sys.argv[1]), int(sys.argv[2]))"
)
_REAP = 5.0  # seconds; a process that was killed is there no longer than that


@dataclass(frozen=True, slots=True)
class Setup:
    """What a child is told first."""

    tasks: dict[str, str]  # names, and the places of their handlers
    imports: tuple[str, ...]  # modules that come before those
    blueprint: Blueprint
    levels: dict[str, int] = field(default_factory=dict)  # of the loggers


@dataclass(frozen=True, slots=True)
class Word:
    """That a run should stop."""

    token: uuid.UUID
    why: Why


# what a worker says to a child: the setup first, then jobs and words. As JSON: a payload must name no code
SETUP = pydantic.TypeAdapter(Setup)
JOB = pydantic.TypeAdapter(ClaimedJob)
WORD = pydantic.TypeAdapter(Word)
SAID = pydantic.TypeAdapter[ClaimedJob | Word](ClaimedJob | Word)


class Gone(Exception):
    """The child has ended. `status` is that of subprocess: negative for a signal."""

    def __init__(self, status: int | None) -> None:
        super().__init__(how(status))
        self.status = status


class Process:
    """A fresh interpreter with one socket and nothing else of ours, in a process group of its own.

    So a terminal's Ctrl-C does not reach it, and what its handler has started can be killed with it. Make it in a
    thread that lives as long as it does: the kernel takes the end of that thread for the parent's.
    """

    def __init__(self, setup: Setup) -> None:
        ours, its = socket.socketpair()
        with its:
            self.wire = Wire(ours)
            command = [spawn.get_executable(), "-c", _PROGRAM, str(its.fileno()), str(os.getpid()), _path()]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[its.fileno()], process_group=0
            )
        self.born = time.monotonic()
        self.ready = False
        self.killed = False  # by us
        self._ending = threading.Lock()
        with contextlib.suppress(OSError):  # gone already: whoever receives from it hears of that
            self.wire.send(SETUP.dump_json(setup))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        with self._ending:
            return self._alive()

    def give(self, job: ClaimedJob) -> None:
        """Let it run a job. Where it has ended, `receive` says so."""
        with contextlib.suppress(OSError):
            self.wire.send(JOB.dump_json(job))

    def tell(self, token: uuid.UUID, why: Why) -> bool:
        """Tell it that a run should stop.

        Returns:
            Whether that could be done now.
        """
        return self.wire.try_to_send(WORD.dump_json(Word(token, why)))

    def receive(self) -> dict[str, Any]:
        """Wait for what it says.

        Raises:
            Gone: it has ended, or is killed for saying what it cannot say.
        """
        try:
            message = json.loads(self.wire.receive())
            if isinstance(message, dict):
                return message
        except (EOFError, ValueError):
            pass
        raise Gone(self.end())

    def kill(self) -> None:
        """Kill it, and what it has started. Whoever receives from it hears of that."""
        with self._ending:
            self.killed = self.killed or self._alive()
            self._kill_group()
        self.wire.shut()

    def hang_up(self) -> None:
        """Let it end by itself, if it has no job."""
        self.wire.shut()

    def wait(self, timeout: float) -> bool:
        """Wait for its end. Returns: whether it has come."""
        with contextlib.suppress(subprocess.TimeoutExpired), self._ending:
            self._process.wait(max(timeout, 0))
        return self._process.returncode is not None

    def end(self) -> int | None:
        """Have it gone for sure, with all that it had started. Returns: its exit status."""
        with self._ending:
            self._kill_group()  # what ends by itself has its status by now, and keeps it
            with contextlib.suppress(subprocess.TimeoutExpired):  # one that not even the kernel can end: left to it
                self._process.wait(_REAP)
            return self._process.returncode

    def close(self) -> None:
        """Give the socket back, when nobody receives any more."""
        self.wire.close()

    def forget(self) -> None:
        """This process was forked: the child is its parent's."""
        self._process.returncode = 0
        self.wire.close()

    def _alive(self) -> bool:
        if self._process.returncode is not None or not hasattr(os, "waitid"):
            return self._process.poll() is None
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:  # somebody else has waited for it
            return self._process.poll() is None

    def _kill_group(self) -> None:
        if self._process.returncode is not None:  # waited for: the number may be another's by now
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def how(status: int | None) -> str:
    """How a process ended, in words."""
    if status is None:
        return "it cannot be waited for"
    if status >= 0:
        return f"it exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"it was killed by {name}"


def _path() -> str:
    return json.dumps([os.path.abspath(entry) for entry in sys.path])  # "" is the folder of this moment
