"""Servers that listen at a socket of the file system: run until they are told to end, and asked."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def running(
    command: tuple[str, ...], log: Path, cwd: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A module of Python as a process, until it is told to end; then it has ended well."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=cwd, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM), log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def listens(door: Path) -> bool:
    """Whether a server accepts there: the file is made by bind(), and until listen() it refuses."""
    with socket.socket(socket.AF_UNIX) as other:
        return other.connect_ex(str(door)) == 0


def ask(door: Path, method: str, target: str, **headers: str) -> tuple[int, bytes]:
    """The answer's status and body."""
    with closing(http.client.HTTPConnection("localhost")) as connection:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(10)
        connection.sock.connect(str(door))
        connection.request(method, target, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()
