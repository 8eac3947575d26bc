"""The terminal: its width and colours, and what may be written to it. A pipe gets plain lines of any length."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from jobforge_sa.errors import JobForgeError

GAP = 2  # blanks between two cells
UNBOUNDED = 10_000  # columns, where no terminal cuts the line

STATES = {
    "scheduled": "cyan",
    "queued": "yellow",
    "running": "bold blue",
    "succeeded": "green",
    "dead": "bold red",
    "canceled": "bright_black",
}
OUTCOMES = {
    "succeeded": "green",
    "failed": "red",
    "timed_out": "red",
    "lost": "magenta",
    "snoozed": "cyan",
    "released": "cyan",
    "canceled": "bright_black",
}

# A tenant's data may hold escape sequences, which would act on the operator's terminal, marks that reverse what
# he reads, and halves of surrogate pairs, which cannot be written at all.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def console() -> Console:
    """The standard output, as rich sees it."""
    plain = Console(highlight=False, markup=False, emoji=False)
    if not plain.is_terminal:
        plain.width = UNBOUNDED
    return plain


def show(target: Console, *parts: RenderableType) -> None:
    """Print them; in a pipe without the blanks that fill a table's cells. A text that says no_wrap stays one line."""
    if target.is_terminal:
        for part in parts:
            target.print(part, soft_wrap=isinstance(part, Text) and bool(part.no_wrap))
        return
    with target.capture() as captured:
        for part in parts:
            target.print(part)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def table() -> Table:
    """A table without columns yet: no lines, two blanks between cells, bold headings."""
    return Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")


def listing(
    width: int, columns: Sequence[tuple[str, JustifyMethod]], rows: Sequence[Sequence[Text]], go: Sequence[str]
) -> Table:
    """A table of names and what is said of each, one line a row; a pipe has all of it.

    Args:
        width: The whole line.
        columns: The headings, the names' among them.
        rows: The cells.
        go: The names' heading, then those that are left out where a name of 36 cells, a UUID, would not be seen, the
            least important first. What is longer is cut.
    """
    sizes = {
        heading: max([len(heading), *(row[place].cell_len for row in rows)])
        for place, (heading, _) in enumerate(columns)
    }
    name, *others = go
    while others and min(sizes[name], 36) > _room(width, sizes, name):
        sizes.pop(others.pop(0), None)
    sizes[name] = min(sizes[name], max(_room(width, sizes, name), 8))
    made = table()
    for heading, side in columns:
        if heading in sizes:
            made.add_column(heading, width=sizes[heading], justify=side, no_wrap=True, overflow="ellipsis")
    if gone := [heading for heading, _ in columns if heading not in sizes]:
        made.caption, made.caption_justify = (
            Text(f"no room for {', '.join(gone)}: --json has all", "bright_black"),
            "left",
        )
    for row in rows:
        made.add_row(*(cell for cell, (heading, _) in zip(row, columns, strict=True) if heading in sizes))
    return made


def _room(width: int, sizes: Mapping[str, int], name: str) -> int:
    return width - sum(size + GAP for heading, size in sizes.items() if heading != name)


def safe(text: object) -> str:
    """Text from the database, with nothing in it that a terminal would obey."""
    return _UNSAFE.sub("\ufffd", str(text).replace("\r\n", "\n"))


def one_line(text: object, limit: int = 200) -> str:
    """The same on one line, and not longer than anybody reads in a table."""
    line = " ".join(safe(text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def named(name: str) -> str:
    """A tenant's name as it can be read, typed and told from every other; a strange one as JSON writes it."""
    plain = name.isprintable() and name == " ".join(name.split()) and not name.startswith('"')
    return name if plain else json.dumps(name)


def coloured(word: str, styles: dict[str, str]) -> Text:
    """A state or an outcome in its colour."""
    return Text(word, styles.get(word, ""))


def note(text: str) -> None:
    """Say on stderr what is no answer: what comes next, what was met on the way."""
    _stderr().print(safe(text))


def refuse(error: JobForgeError) -> None:
    """Say on stderr what is wrong, and its cure."""
    stderr = _stderr()
    stderr.print(Text("error: ", "bold red").append(safe(error.message), "not bold default"))
    if error.cure:
        stderr.print(Text("cure: ", "bold green").append(safe(error.cure), "not bold default"))


def _stderr() -> Console:
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
