"""The processes of a storm: workers and enqueuers, each started again when it has ended, as a supervisor would."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.chaos import lifeline
from tests.chaos.arena import TENANTS, Arena
from tests.chaos.errands import POISONED

Kind = Literal["worker", "enqueuer"]
ALARMING = (" ERROR ", " CRITICAL ", "Exception in thread", "Exception ignored", "Warning: ")
YOUTH = 5.0  # seconds in which a process may not have come to listen for SIGTERM yet
EXPECTED = {0, -signal.SIGKILL, lifeline.ON_PURPOSE, lifeline.UNAVAILABLE, POISONED}


@dataclass(eq=False)
class Member:
    """One place in the crew, and the process that has it now."""

    kind: Kind
    command: Callable[[int], list[str]]
    veteran: bool = False  # never killed: it has to live through all the rest, and to recover unaided
    turn: int = 0
    process: subprocess.Popen[bytes] | None = None
    thaws_at: float | None = None
    again_at: float = 0.0
    started_at: float = 0.0

    @property
    def lives(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Crew:
    """Starts them, looks after them, and stops them all, by pid."""

    def __init__(self, arena: Arena, seed: int, workers: int, rate: float) -> None:
        self._folder = arena.folder
        self._keeps: set[Kind] = {"worker", "enqueuer"}
        self.ends: Counter[str] = Counter()
        self.odd: list[str] = []  # ends that nobody meant
        self.poisoned: set[int] = set()  # pids
        worker = [arena.url("jf_worker", arena.workers_way), arena.url("jf_app", arena.workers_way)]
        enqueuer = arena.url("jf_app", arena.enqueuers_way)

        def enqueue(tenant: str) -> Callable[[int], list[str]]:
            # a successor has a name and a chance of its own: its marks are new
            return lambda turn: ["enqueuer", enqueuer, tenant, str(self._folder), f"{seed} {tenant} {turn}",
                                 f"{tenant}{turn}", str(rate)]  # fmt: skip

        self.members = [Member("worker", lambda _: ["worker", *worker, "--no-poison"], veteran=True)]
        self.members += [Member("worker", lambda _: ["worker", *worker]) for _ in range(workers - 1)]
        self.members += [Member("enqueuer", enqueue(tenant)) for tenant in TENANTS]

    def mortal(self, kind: Kind) -> list[Member]:
        """Those who live and may be killed; frozen ones too."""
        return [member for member in self.members if member.kind == kind and member.lives and not member.veteran]

    def awake(self, kind: Kind) -> list[Member]:
        """Those who live and are not frozen."""
        return [member for member in self.members if member.kind == kind and member.lives and member.thaws_at is None]

    def tend(self) -> None:
        """Start who is missing, wake up who has been frozen for long enough. To be called often."""
        now = time.monotonic()
        for member in self.members:
            if member.thaws_at is not None and now >= member.thaws_at:
                self._thaw(member)
            if member.process is not None and member.process.poll() is not None:
                self._bury(member, now)
            if member.process is None and member.kind in self._keeps and now >= member.again_at:
                self._start(member)

    def kill(self, member: Member) -> None:
        """SIGKILL."""
        self._signal(member, signal.SIGKILL)

    def freeze(self, member: Member, seconds: float) -> None:
        """SIGSTOP, and SIGCONT when the time has come."""
        self._signal(member, signal.SIGSTOP)
        member.thaws_at = time.monotonic() + seconds

    def thaw_all(self) -> None:
        for member in self.members:
            if member.thaws_at is not None:
                self._thaw(member)

    def dismiss(self, kind: Kind, timeout: float) -> list[str]:
        """SIGTERM all of a kind and start none again; give what did not end well."""
        self._keeps.discard(kind)
        members = [m for m in self.members if m.kind == kind]
        for member in members:
            self._signal(member, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        wrong = []
        for member in members:
            if member.process is None:
                continue
            try:
                status = member.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                wrong.append(f"{kind} {member.process.pid} did not end within {timeout:.0f} s of SIGTERM")
                continue
            young = time.monotonic() - member.started_at < YOUTH + timeout and status == -signal.SIGTERM
            if status not in (0, lifeline.UNAVAILABLE, lifeline.ON_PURPOSE) and not young:
                wrong.append(f"{kind} {member.process.pid} ended with {status} after SIGTERM")
            member.process = None
        return wrong

    def end(self) -> None:
        """SIGKILL whoever is left; a frozen one too."""
        self._keeps.clear()
        for member in self.members:
            self._signal(member, signal.SIGKILL)
            if member.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    member.process.wait(10)

    def errors(self) -> list[str]:
        """Lines of the logs that say that something failed which no fault explains."""
        return [
            f"{file.name}: {line[:200]}"
            for file in sorted(self._folder.glob("*.log"))
            for line in file.read_text(errors="replace").splitlines()
            if any(word in line for word in ALARMING)
        ]

    def _start(self, member: Member) -> None:
        module, *arguments = member.command(member.turn)
        with (self._folder / f"{member.kind}-{self.members.index(member)}.log").open("ab") as log:
            member.process = subprocess.Popen(
                [sys.executable, "-m", f"tests.chaos.{module}", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                cwd=Path(__file__).parents[2],
            )  # fmt: skip
        member.turn += 1
        member.started_at = time.monotonic()

    def _bury(self, member: Member, now: float) -> None:
        assert member.process is not None
        status, pid = member.process.returncode, member.process.pid
        self.ends[f"{member.kind} {status}"] += 1
        if status == POISONED:
            self.poisoned.add(pid)
        if status not in (EXPECTED if not member.veteran else {lifeline.UNAVAILABLE}):
            self.odd.append(f"{member.kind} {pid} ended with {status}")
        member.process, member.thaws_at = None, None
        member.again_at = now + (0.5 if status == lifeline.UNAVAILABLE else 0.0)

    def _thaw(self, member: Member) -> None:
        member.thaws_at = None
        self._signal(member, signal.SIGCONT)

    @staticmethod
    def _signal(member: Member, number: signal.Signals) -> None:
        if member.process is not None and member.process.poll() is None:  # not reaped, so the pid is still its
            os.kill(member.process.pid, number)
