"""How the tests run the code of a page: its blocks in their order, on one database, as a reader would.

| block | is |
|---|---|
| `python` | executed; all of a page share names. There are `engine`, a login with all roles, and `owner`, a superuser |
| `python title="shop/jobs.py"` | written to that file of the page's folder |
| `text` behind `python` | what that printed, or the last line of what it raised |
| `console` | commands behind `$`, and what they print |
| `sh` | commands that must succeed |
| `sql` | run by a superuser; of a page that makes roles, which belong to the cluster, all is rolled back |
| `yaml` `json` `toml` `ini` `dockerfile` | parsed |

`…` stands for what differs from run to run, and on a line of its own for lines that are left out. `<!-- setup` in a
comment is run and not shown; `<!-- not run: reason -->` before a block leaves it out.
"""

from __future__ import annotations

import ast
import asyncio
import configparser
import contextlib
import inspect
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import yaml

from jobforge_sa.errors import SecurityWarning
from tests.acceptance.cli import ROOT, environment, inside
from tests.fix_postgres import Database
from tests.house.markdown import Block

RUN = {"python", "console", "sh", "sql"}
PARSED: dict[str, Callable[[str], object]] = {
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "json": json.loads,
    "toml": tomllib.loads,
    "ini": lambda text: configparser.ConfigParser(strict=False, interpolation=None).read_string(text),
    "dockerfile": lambda text: _instructions(text),
}
INSTRUCTION = re.compile(r"(FROM|RUN|COPY|WORKDIR|ENV|USER|ENTRYPOINT|CMD|STOPSIGNAL|EXPOSE|HEALTHCHECK) \S")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class PageRun:
    """A page that is being run: its names, its folder, its database."""

    def __init__(self, database: Database, folder: Path, *, login: str) -> None:
        self._database, self._folder = database, folder
        self._url = database.url(login)
        self._given = {"DATABASE_URL": self._url.render_as_string(hide_password=False)}
        os.environ |= self._given  # the fixture puts it back, and the path
        sys.path.insert(0, str(folder))
        page = sys.modules["page"] = ModuleType("page")  # classes look up their annotations there
        self._names = vars(page)
        self._names |= {"owner": database.engine(), "engine": database.engine(login)}
        self._superuser: psycopg.Connection[Any] | None = None

    def __call__(self, steps: list[Block]) -> dict[Block, str]:
        """Run them all.

        Returns:
            Of each block that says what comes, what comes.
        """
        said: dict[Block, str] = {}
        undone = any(step.language == "sql" and "create role" in step.text for step in steps)
        with psycopg.connect(self._database.dsn(), autocommit=not undone) as self._superuser:
            for step, following in zip(steps, [*steps[1:], None], strict=True):
                if step.reason:
                    continue
                answer = self._step(step)
                if step.language == "python" and following and following.follows and following.language == "text":
                    said[following] = answer
                elif step.language == "console":
                    said[step] = answer
                else:
                    assert not answer, f"{step.page}:{step.line} says {answer}"
            self._superuser.rollback()
        return said

    def _step(self, step: Block) -> str:
        """What a block prints."""
        if step.title:
            file = self._folder / step.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(step.text, encoding="utf-8")
        if step.language in PARSED:
            PARSED[step.language](step.text)
        elif step.language == "python" and not step.title:
            return self._python(step)
        elif step.language == "sql":
            assert self._superuser is not None
            self._superuser.execute(step.text.encode())
        elif step.language == "sh":
            for command in re.split(r"\n(?![ \t])", step.text.replace("\\\n", " ").strip()):
                self._shell(command.partition("  #")[0], status=0)
        elif step.language == "console":
            commands = [line.removeprefix("$ ") for line in step.text.splitlines() if line.startswith("$ ")]
            return "".join(f"$ {command}\n{plain(self._shell(command))}" for command in commands)
        return ""

    def _python(self, step: Block) -> str:
        """What it printed; and the last lines of what it raised."""
        source = "\n" * step.line + step.text  # so that a traceback names the line of the page
        code = compile(source, step.page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                if code.co_flags & inspect.CO_COROUTINE:
                    asyncio.run(eval(code, self._names))
                else:
                    exec(code, self._names)
            except Exception as error:
                self._names["error"] = error
                printed.write("".join(traceback.format_exception_only(error)))
        return printed.getvalue()

    def _shell(self, command: str, status: int | None = None) -> str:
        folder = str(Path(sys.executable).parent)
        if command.startswith("jobforge ") and not re.search(r"[|>$&]", command):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SecurityWarning)  # once for each engine, wherever it is met first
                done = inside(self._url, *shlex.split(command)[1:], status=status, cwd=self._folder, **self._given)
            forget_modules(self._folder)  # a later block may write them anew
        else:
            given = {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "COLUMNS": "120"} | self._given
            done = subprocess.run(
                ["bash", "-c", command], cwd=self._folder, env=environment(None, **given),
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert status is None or done.returncode == status, f"{command}\n{done.stdout}{done.stderr}"
        return (done.stdout + done.stderr).replace(self._database.name, "shop")


def fits(written: str, now: str) -> bool:
    """Whether a page says what comes."""
    lines = [re.escape(line).replace("…", ".*") for line in plain(written).splitlines()]
    pattern = "\n".join("(?s:.*)" if line == ".*" else line for line in lines)
    return re.fullmatch(pattern, plain(now).rstrip()) is not None


def plain(said: str) -> str:
    """Without what nobody sees: colours, and blanks at the ends of lines."""
    lines = ANSI.sub("", said).strip("\n").splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def forget_modules(folder: Path) -> None:
    """Import anew what stands in a folder."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


def _instructions(text: str) -> None:
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        assert not line.strip() or line.startswith("#") or INSTRUCTION.match(line), line
