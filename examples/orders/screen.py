"""What the demo writes: wrapped beside its mark on a terminal, whole lines in a pipe."""

import logging

from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(highlight=False)


def title(text: str) -> None:
    console.print(Text.assemble("\n", ("▸ ", "bold cyan"), (text, "bold")), soft_wrap=True)


def line(text: str, style: str = "", mark: str = "") -> None:
    head, body = Text.from_markup(f"  {mark}"), Text(text, style)
    if console.is_terminal:
        columns = Table.grid()
        columns.add_column(no_wrap=True)
        columns.add_column()
        columns.add_row(head, body)
        console.print(columns)
    else:
        console.print(head + body, soft_wrap=True)


class Log(logging.Handler):
    """The library's warnings, between the other lines."""

    def emit(self, record: logging.LogRecord) -> None:
        line(record.getMessage(), "yellow")
