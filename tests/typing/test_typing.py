"""A wrong payload, handler or option is an error in the editor: in mypy's eyes and in pyright's, under strict rules."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = Path(__file__).parent / "cases"
MARK = re.compile(r"  # type: ignore\[[^]]*\]")

Check = Callable[[Path, Path], dict[int, str]]


def mypy(case: Path, folder: Path) -> dict[int, str]:
    """The lines with an error, and what it is."""
    (folder / "mypy.ini").write_text("[mypy]\nstrict = true\n")
    done = run(
        "mypy", "--config-file", str(folder / "mypy.ini"), "--cache-dir", str(ROOT / ".mypy_cache" / "cases"), case
    )
    errors = re.findall(r"^[^:\n]+:(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    assert done.returncode == bool(errors), done.stdout + done.stderr
    return {int(line): said for line, said in errors}


def pyright(case: Path, folder: Path) -> dict[int, str]:
    """The lines with an error, and what it is."""
    settings = {"include": [case.name], "typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    done = run("pyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(folder))
    try:
        found = json.loads(done.stdout)
    except ValueError:
        pytest.fail(done.stdout + done.stderr)
    assert found["summary"]["filesAnalyzed"] == 1
    return {
        one["range"]["start"]["line"] + 1: f"{one.get('rule')}: {one['message']}"
        for one in found["generalDiagnostics"]
        if one["severity"] == "error"
    }


def run(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", tool, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("check", [mypy, pyright])
@pytest.mark.parametrize("case", ["good", "bad"])
def test_each_mistake_is_an_error_and_nothing_else_is(check: Check, case: str, tmp_path: Path) -> None:
    source = (CASES / f"{case}.py").read_text()
    marked = {number for number, line in enumerate(source.splitlines(), 1) if MARK.search(line)}
    copy = tmp_path / f"{case}.py"
    copy.write_text(MARK.sub("", source))
    errors = check(copy, tmp_path)

    unexpected = {line: said for line, said in errors.items() if line not in marked}
    assert unexpected == {}
    assert sorted(marked - errors.keys()) == []
    assert bool(marked) is (case == "bad")
