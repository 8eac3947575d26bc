"""What clients may call, from the catalog as `introspect` describes it: signatures, callers, limits, rows.

The text of a reviewed snapshot and that of a live database are of one form, so both are read here, and neither needs
the other. Limits are read from the bodies, where they are judged: a copy could differ from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

__all__ = ["Argument", "Catalog", "Column", "Function", "Limits", "read"]

_CREATED = re.compile(r"CREATE OR REPLACE FUNCTION jobforge\.(\w+)\((.*)\)\n RETURNS (.*)\n LANGUAGE ")
_BODY = re.compile(r"\nAS \$function\$(.*)\$function\$\n", re.DOTALL)
_CALLERS = re.compile(r"^grant execute on function .* to jobforge_(\w+);$", re.MULTILINE)
_COMMENT = re.compile(r"^comment on function .*? is '(.*)';$", re.MULTILINE)
_COLUMNS = re.compile(r"create (?:table|view) \S+ \(\n(.*?)\n\)", re.DOTALL)
_CALL = re.compile(r"\bjobforge\.(\w+)\(")
_CODE = re.compile(r"'(JF\d{3})'")
_RAISED = re.compile(r"errcode = .*")
# what stands behind a column's type where it is described
_BEHIND = re.compile(r" (?:collate|not null|default|generated|storage|compression|statistics|with \() ?.*")

_TEXT = r"'((?:[^']|'')*)'"
_WHOLE = r"(-?\d+)"


class Column(NamedTuple):
    """A column of a row that a function answers with."""

    name: str
    type: str  # as Postgres writes it: "timestamp with time zone"
    null: bool  # whether it may be NULL, as far as the catalog knows


class Argument(NamedTuple):
    """An argument of a function."""

    name: str
    type: str
    default: str | None  # an expression, such as '00:00:30'::interval; None: it has to be given


@dataclass(frozen=True, slots=True)
class Limits:
    """What a function refuses of one argument."""

    least: int | None = None  # of a number, or of the length of a text
    most: int | None = None
    words: tuple[str, ...] = ()  # the only ones that it takes
    pattern: str | None = None
    bytes: int | None = None  # of the JSON as text
    between: tuple[str, ...] = ()  # of intervals and times: two literals
    also: str | None = None  # one that it takes beside these


@dataclass(frozen=True)
class Function:
    """A function that clients may call."""

    name: str
    arguments: tuple[Argument, ...]
    columns: tuple[Column, ...]  # of its rows; none: it answers nothing
    relation: str | None  # the table or view whose rows these are
    many: bool  # any number of rows; else one
    callers: tuple[str, ...]  # roles, without their prefix
    comment: str
    codes: tuple[str, ...]  # SQLSTATEs of ours that it may raise, by its own hand or by those that it calls
    body: str


@dataclass(frozen=True)
class Catalog:
    """The functions of the contract, and what they are read from."""

    described: Mapping[str, str]  # what `introspect.describe` gave

    @cached_property
    def functions(self) -> Mapping[str, Function]:
        """Those that are granted to somebody, by name."""
        granted = (text for _, text in sorted(self.described.items()) if _CREATED.match(text) and _CALLERS.search(text))
        return {one.name: one for one in map(self._function, granted)}

    @cached_property
    def bodies(self) -> Mapping[str, str]:
        """The body of each function, granted or not."""
        return {
            created[1]: body[1]
            for text in self.described.values()
            if (created := _CREATED.match(text)) and (body := _BODY.search(text))
        }

    def relation(self, name: str) -> tuple[Column, ...]:
        """The columns of a table or view.

        Raises:
            KeyError: there is none of this name.
        """
        place = f"jobforge.{name}"
        text = self.described.get(f"table {place}") or self.described[f"view {place}"]
        found = _COLUMNS.match(text)
        lines = [line.strip() for line in _split(found[1])] if found else []
        return tuple(_column(line) for line in lines if not line.startswith("constraint "))

    def words(self, relation: str, column: str) -> tuple[str, ...]:
        """The only words that a column of a table holds, by its check."""
        found = re.search(rf"CHECK \(\({column} = ANY \(ARRAY\[(.*?)\]", self.described[f"table jobforge.{relation}"])
        return tuple(re.findall(_TEXT, found[1])) if found else ()

    def limits(self, function: str) -> Mapping[str, Limits]:
        """What a function refuses, by argument; what it hands on to others of ours under the same name included."""
        found: dict[str, dict[str, Any]] = {}
        for name in reversed(self._called(function)):
            for argument, limits in _limits(self.bodies[name]).items():
                found[argument] = found.get(argument, {}) | limits
        return {argument: Limits(**said) for argument, said in found.items()}

    def _function(self, text: str) -> Function:
        name, arguments, returns = _CREATED.match(text).groups()  # type: ignore[union-attr]
        comment = _COMMENT.search(text)
        return Function(
            name, tuple(_argument(one) for one in _split(arguments)), *self._answer(name, returns),
            tuple(sorted(_CALLERS.findall(text))), comment[1].replace("''", "'") if comment else "",
            tuple(sorted({code for one in self._called(name) for code in _codes(self.bodies[one])})), self.bodies[name],
        )  # fmt: skip

    def _answer(self, name: str, returns: str) -> tuple[tuple[Column, ...], str | None, bool]:
        if returns == "void":
            return (), None, False
        if returns.startswith("TABLE("):
            return tuple(_column(one) for one in _split(returns[len("TABLE(") : -1])), None, True
        many = returns.startswith("SETOF ")
        kind = returns.removeprefix("SETOF ")
        if kind.startswith("jobforge."):
            relation = kind.removeprefix("jobforge.")
            return self.relation(relation), relation, many
        return (Column(name, kind, True),), None, many

    def _called(self, name: str) -> list[str]:
        """A function and those that it calls, however deep, each once, callers first."""
        found = [name]
        for one in found:
            found += sorted({*_CALL.findall(self.bodies[one])} & self.bodies.keys() - {*found})
        return found


def read(described: Mapping[str, str]) -> Catalog:
    """The contract of a schema, from what `introspect.describe` or `introspect.parse` gave."""
    return Catalog(described)


def _codes(body: str) -> set[str]:
    return {code for line in _RAISED.findall(body) for code in _CODE.findall(line)}


def _split(text: str) -> Iterator[str]:
    """The parts between the commas that stand in no brackets and no quotes."""
    part, depth, quoted = "", 0, False
    for letter in text:
        quoted ^= letter == "'"
        depth += 0 if quoted else {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth and not quoted:
            yield part.strip()
            part = ""
        else:
            part += letter
    if part.strip():
        yield part.strip()


def _argument(text: str) -> Argument:
    head, _, default = text.partition(" DEFAULT ")
    name, _, kind = head.partition(" ")
    return Argument(name.strip('"'), kind, default or None)


def _column(text: str) -> Column:
    name, _, kind = text.partition(" ")
    return Column(name.strip('"'), _BEHIND.sub("", kind), " not null" not in kind)


def _limits(body: str) -> dict[str, dict[str, Any]]:
    """What a body says of its arguments: `p_x not between`, `length(p_x) >`, `p_x not in`, and so on."""
    constants = dict(re.findall(rf"(\w+)\s+constant text := {_TEXT}", body))
    found: dict[str, dict[str, Any]] = {}
    for kind, pattern in _SAID.items():
        for match in re.finditer(pattern, body):
            found.setdefault(match[1], {}).update(_meaning(kind, match, constants))
    return found


_SAID = {
    "between": rf"(p_\w+) not between {_WHOLE} and {_WHOLE}",
    "length": rf"length\((p_\w+)\) not between {_WHOLE} and {_WHOLE}",
    "longest": rf"(?<!octet_)length\((p_\w+)\) > {_WHOLE}",
    "bytes": rf"octet_length\((p_\w+)::text\) > {_WHOLE}",
    "words": r"(p_\w+) not in \(([^)]*)\)",
    "pattern": rf"(p_\w+) !~ (?:(\w+)|{_TEXT})",
    "times": rf"(p_\w+) not between {_TEXT} and {_TEXT}",
    "also": rf"if (p_\w+) = interval {_TEXT} then",
    "intervals": rf"check_interval\((p_\w+), interval {_TEXT}, interval {_TEXT}\)",
}


def _meaning(kind: str, match: re.Match[str], constants: Mapping[str, str]) -> dict[str, Any]:
    match kind:
        case "between" | "length":
            return {"least": int(match[2]), "most": int(match[3])}
        case "longest":
            return {"most": int(match[2])}
        case "also":
            return {"also": match[2]}
        case "bytes":
            return {"bytes": int(match[2])}
        case "words":
            return {"words": tuple(re.findall(_TEXT, match[2]))}
        case "pattern":
            return {"pattern": match[3] or constants.get(match[2])}
    return {"between": (match[2], match[3])}
