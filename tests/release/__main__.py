"""Build what a release would bring, and try it: `python -m tests.release`. Nothing is uploaded.

A wheel and an archive of the sources, in `dist/`; both are checked, and hold the same. The wheel is installed where
there is nothing else, on every Python from 3.11 on that this machine has, and a program of examples/ is run there.
Beside them: `sbom.cdx.json` (CycloneDX) and `licences.md`, of what the wheel brings along.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tests.house.source import ROOT
from tests.release import licences

DIST = ROOT / "dist"
PROGRAM = ROOT / "examples" / "unit_of_work.py"  # it starts a server of its own
EXTRAS = "binary,cli,embedded"
FOREIGN = ("JOBFORGE_", "PYTHON", "DATABASE_")
OLDEST = 11
console = Console(highlight=False)


class Failed(Exception):
    """A step has failed; this is what it printed."""


def call(*command: str | Path, cwd: Path = ROOT) -> str:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("JOBFORGE_", "PYTHON", "DATABASE_"))
    }
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", check=False,
    )  # fmt: skip
    if done.returncode:
        raise Failed(f"$ {' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


def main() -> int:
    shutil.rmtree(DIST, ignore_errors=True)
    try:
        for said in steps():
            console.print(f"[green]✓[/] {said}", soft_wrap=True)
    except Failed as error:
        console.print("[red]✗[/]", escape(str(error)), soft_wrap=True)
        return 1
    console.print(f"\nready in {DIST.name}/; docs/releasing.md says how it goes on")
    return 0


def steps() -> Iterator[str]:
    if changed := call("git", "status", "--porcelain").strip():
        raise Failed(f"commit or remove first, for it would be in the archive:\n{changed}")
    ready = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    call(sys.executable, "-m", "build", *ready, "--outdir", DIST, ROOT)
    (wheel,), (archive,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    yield f"built {wheel.name} and {archive.name}"
    call(sys.executable, "-m", "twine", "check", "--strict", wheel, archive)
    yield "twine finds nothing wrong with either"
    with tempfile.TemporaryDirectory() as folder:
        yield same(wheel, archive, ready, Path(folder))
        for python in pythons():
            yield tried(wheel, python, Path(folder))
        yield licences.written(DIST, Path(folder) / f"python{OLDEST}")


def same(wheel: Path, archive: Path, ready: list[str], folder: Path) -> str:
    """The wheel that others make from the archive has the same files."""
    call(sys.executable, "-m", "build", "--wheel", *ready, "--outdir", folder, *unpacked(archive, folder))
    (again,) = folder.glob("*.whl")
    first, second = ({one.filename: one.CRC for one in zipfile.ZipFile(file).infolist()} for file in (wheel, again))
    if first != second:
        raise Failed(f"a wheel made from {archive.name} differs: {sorted(first.items() ^ second.items())[:5]}")
    return f"a wheel made from {archive.name} is the same, {len(first)} files"


def unpacked(archive: Path, folder: Path) -> list[Path]:
    shutil.unpack_archive(archive, folder / "sources", filter="data")
    return list((folder / "sources").iterdir())


def pythons() -> list[str]:
    """One for each version, oldest first, by name: `python3.11`, `python3.12` …"""
    found = []
    for minor in range(OLDEST, OLDEST + 10):
        program = shutil.which(f"python3.{minor}")
        try:
            found.append(call(program, "-c", "import sys; print(sys.executable)").strip() if program else "")
        except Failed:  # a shim of a version that is not there
            continue
    return [program for program in found if program]


def tried(wheel: Path, python: str, folder: Path) -> str:
    """Install it into an empty environment, and run the README's program there."""
    version = call(python, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])").strip()
    home = folder / f"python{version.split('.')[1]}"
    call(python, "-m", "venv", home / "venv")
    call(home / "venv/bin/python", "-m", "pip", "install", "--quiet", f"{wheel}[{EXTRAS}]")
    call(home / "venv/bin/python", "-m", "pip", "check")
    shutil.copy(PROGRAM, home)
    said = call(home / "venv/bin/python", PROGRAM.name, cwd=home)
    wanted = PROGRAM.read_text(encoding="utf-8").partition("# Output:\n")[2].replace("# ", "")
    if said != wanted:
        raise Failed(f"on Python {version} {PROGRAM.name} printed:\n{said}")
    called = call(home / "venv/bin/jobforge", "--version", cwd=home).strip()
    return f"Python {version}: {called}, installed where nothing else was; {PROGRAM.name} prints what it says"


if __name__ == "__main__":
    sys.exit(main())
