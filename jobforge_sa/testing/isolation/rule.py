"""Whether the expression of a policy, as Postgres prints it, lets through rows of the asking tenant and no others.

What is judged are words, so it is strict: a comparison of a column with the tenant, alone or narrowed by AND, or a
row of another table that is bound in such a way. What it does not know it does not call bound.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_TOKEN = re.compile(r"\bcurrent_tenant\(\)")
_SETTING = re.compile(_TOKEN.pattern + r"|'jobforge\.tenant_id'|'request\.jwt\.claims'")  # anybody sets these
_CHOICE = re.compile(r"\b(?:OR|UNION|CASE|COALESCE)\b")
_KNOWN = re.compile(r"'(?:jobforge\.tenant_id|request\.jwt\.claims|\{[\w,]*\}|)'")
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_CAST = re.compile(r"(.*)::[\w .\"]+(?:\(\d+\))?", re.DOTALL)
_FIELD = re.compile(r"(.*) ->> '[^']*'", re.DOTALL)


def is_bound(expression: str, columns: Collection[str], *, leans: bool = False, signed: bool = False) -> bool:
    """Whether no row of another tenant can meet it.

    Args:
        expression: What pg_get_expr says.
        columns: The names of the table's columns.
        leans: Whether it reads another table whose policies bind who asks: its rows are then as good as the tenant.
        signed: Whether only a token names the tenant.
    """
    asks = _TOKEN if signed else _SETTING

    def bound(text: str) -> bool:
        text = _bare(text)
        if len(parts := _split(text, " OR ")) > 1:
            return all(map(bound, parts))
        if len(parts := _split(text, " AND ")) > 1:
            return any(map(bound, parts))
        if text.startswith("EXISTS (") or re.match(r"[\w\".():]+ IN \( SELECT ", text):
            return (leans or asks.search(text) is not None) and not _CHOICE.search(text)
        sides = _split(text, " = ")
        return text == "false" or (
            len(sides) == 2
            and any(_is_column(a, columns) and _names(asks, b, columns) for a, b in (sides, sides[::-1]))
        )

    return bound(" ".join(expression.split()))


def _is_column(text: str, columns: Collection[str]) -> bool:
    """Whether it is a column, cast or not, or a field of one; coalesce(column, ...) would be met by other rows too."""
    text = _bare(text)
    while match := _CAST.fullmatch(text) or _FIELD.fullmatch(text):
        text = _bare(match[1])
    return text.rpartition(".")[2].strip('"') in columns


def _names(asks: re.Pattern[str], text: str, columns: Collection[str]) -> bool:
    """Whether it is the tenant, not a constant where there is none, and depends on nothing in the row."""
    if _CHOICE.search(text) and re.search(r"'|\b\d", _KNOWN.sub("", text)):
        return False
    words = set(re.findall(r"\w+", _LITERAL.sub("", text)))
    return asks.search(text) is not None and not text.startswith(("ANY ", "ALL ")) and words.isdisjoint(columns)


def _bare(text: str) -> str:
    """Without the parentheses around the whole."""
    while text.startswith("(") and _depths(text).index(0) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def _split(text: str, word: str) -> list[str]:
    """What stands between a word, outside of parentheses and quotes."""
    depths, parts, start = _depths(text), [], 0
    for match in re.finditer(re.escape(word), text):
        if depths[match.start()] == 0:
            parts.append(text[start : match.start()])
            start = match.end()
    return [*parts, text[start:]]


def _depths(text: str) -> list[int]:
    """How deep in parentheses each character stands, a quoted one one deeper; a closing one stands outside."""
    depths, depth, quote = [], 0, ""
    for one in text:
        if quote:
            quote = "" if one == quote else quote
        elif one in "'\"":
            quote = one
        elif one in "()":
            depth += 1 if one == "(" else -1
        depths.append(depth + bool(quote))
    return depths
