"""What all commands have in common: --json, statuses that are written down, completion that asks no database."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from jobforge_sa.ops.commands import EPILOG, app
from jobforge_sa.types import JobState
from tests.acceptance.cli import inside
from tests.house import markdown
from tests.house.source import ROOT, functions

PAGE = ROOT / "docs" / "cli.md"
WITHOUT_JSON = {
    "worker": "runs until it is stopped; what it says is a log",
    "top": "a page for people; programs ask queues, tenants, workers and stats",
    "tenants export": "its answer is JSON lines already",
    "impact export": "its answer is JSON, or Mermaid",
    "replay export": "its answer is JSON already",
    "report": "its answer is JSON already, or CSV, or a page: --format",
    "artifacts get": "its answer is the artifact",
    "exporter": "it serves until it is stopped",
    "metrics": "its answer is what Prometheus reads",
}


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if not hasattr(group, "commands"):
        yield " ".join(path), group
        return
    for name, command in group.commands.items():
        yield from commands(command, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_every_command_answers_in_json_or_has_its_reason_not_to() -> None:
    without = {
        name for name, command in COMMANDS.items() if not any("--json" in option.opts for option in command.params)
    }
    assert without == WITHOUT_JSON.keys()


def test_the_page_has_every_command() -> None:
    said = set(re.findall(r"^\| `jobforge ([a-z -]+?)(?: [A-Z].*?)?` \|", markdown.read(PAGE), re.MULTILINE))
    assert said == COMMANDS.keys() | {"retention", "tenancy", "queues"}


INLINE = re.compile(r"(?<!`)`jobforge ([a-z][^`\n]*)`(?!`)")


def unknown_words(line: str) -> list[str]:
    """The commands and options of a line that are none."""
    group: Any = typer.main.get_command(app)
    words = line.split()
    while words and hasattr(group, "commands") and words[0] in group.commands:
        group = group.commands[words.pop(0)]
    if words and hasattr(group, "commands") and words[0].islower():
        return words[:1]
    known = {name for option in group.params for name in (*option.opts, *option.secondary_opts)} | {"--help", "-h"}
    return [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]


def test_every_command_that_a_page_names_is_there_with_its_options() -> None:
    named = {(page.name, line) for page in markdown.pages() for line in INLINE.findall(markdown.read(page))}
    assert len(named) > 100
    assert {f"{page}: {line}": words for page, line in named if (words := unknown_words(line))} == {}


STATUS = re.compile(r"^\| (\d+) \| .+ \| \[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\) \|$", re.MULTILINE)


def test_every_status_of_the_page_is_in_the_help_and_its_test_sees_it() -> None:
    rows = STATUS.findall(markdown.read(PAGE))
    known = {"0", "1", "2", "3", "130"}
    assert {status for status, _, _ in rows} == set(re.findall(r"\[bold\](\d+)\[/bold\]", EPILOG)) == known
    for status, test, file in rows:
        (node,) = [node for name, node in functions(ROOT / file) if name == test]
        body = "\n".join((ROOT / file).read_text().splitlines()[node.lineno - 1 : node.end_lineno])
        assert status == "0" or re.search(rf"(status=|== ).*\b{status}\b", body), test


def test_a_reader_that_goes_away_is_status_1() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-m", "jobforge_sa", "--version"], stdout=writes, stderr=subprocess.PIPE, cwd=ROOT, check=False
    )
    os.close(writes)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("jobforge jobs list --state ", {*JobState}),
        ("jobforge worker x:y --log-level ", {"debug", "info", "warning", "error"}),
        ("jobforge retention set d", {"dead"}),
        ("jobforge sm", {"smoke"}),
    ],
)
def test_a_shell_completes_without_a_database(typed: str, offered: set[str]) -> None:
    variables: dict[str, Any] = {
        "_JOBFORGE_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split(" ")) - 1),
    }
    done = inside(None, **variables, JOBFORGE_DATABASE_URL="postgresql://u@192.0.2.1/never")
    assert set(done.stdout.split()) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_each_shell_can_be_shown(shell: str) -> None:
    # else it asks which shell has started it, and that may be none
    done = inside(None, "--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "jobforge" in done.stdout
