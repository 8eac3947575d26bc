"""The statements that make an object again what its revision made it.

Most can be run twice, for a check may know the same fault and its cure. What was added is taken away, but no data: a
strange table moves out of the schema. Where no statement is known (a column is gone, a type is another) there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_NAME = r'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)'  # as the catalog quotes it
_PATH = rf"{_NAME}(?:\.{_NAME})?"

# what the catalog says, and what takes it away
_AWAY = tuple(
    (re.compile(pattern, re.DOTALL), instead)
    for pattern, instead in (
        (rf"grant (.+) on (\w+) ({_PATH}) to ({_NAME})(?: with grant option)?", r"revoke \1 on \2 \3 from \4"),
        (rf"create policy ({_NAME}) on ({_PATH}) as .+", r"drop policy if exists \1 on \2"),
        (rf"CREATE (?:UNIQUE )?INDEX ({_NAME}) ON .+", r"drop index if exists jobforge.\1"),
        (rf"CREATE STATISTICS ({_PATH}) .+", r"drop statistics if exists \1"),
        (rf"CREATE (?:CONSTRAINT )?TRIGGER ({_NAME}) .+? ON ({_PATH}) .+", r"drop trigger if exists \1 on \2"),
        (rf"CREATE RULE ({_NAME}) AS\n? +ON \w+ TO ({_PATH}) .+", r"drop rule if exists \1 on \2"),
        (rf"CREATE OR REPLACE FUNCTION ({_PATH}\((?:(?!DEFAULT)[^()])*\))\n.+", r"drop function if exists \1"),
        (rf"alter \w+ {_PATH} owner to {_NAME}", ""),  # the revision's own owner takes it back
        (rf"alter table ({_PATH}) inherit ({_PATH})", r"alter table \1 no inherit \2"),
        (rf"alter table ({_PATH}) replica identity \w", r"alter table \1 replica identity default"),
        (r"comment on (.+?) is '.*", r"comment on \1 is null"),
        (rf"alter default privileges for role ({_NAME}) on (\w+) to public: (\w+)",
         r"alter default privileges for role \1 revoke \3 on \2 from public"),
        (rf"create (collation|operator|text search \w+) ({_PATH}\S*)", r"drop \1 if exists \2"),
    )
)  # fmt: skip
# what the revision made, and what makes it again; "view" is no word of a grant's
_BACK = tuple(
    (re.compile(pattern, re.DOTALL), instead)
    for pattern, instead in (
        (r"(grant .+ on )view( .+)", r"\1table\2"),
        (r"(grant .+|comment on .+|alter (?:table|view|function|schema|type) .+)", r"\1"),
        (rf"(create policy ({_NAME}) on ({_PATH}) .+)", r"drop policy if exists \2 on \3; \1"),
        (r"CREATE ((?:UNIQUE )?INDEX) (.+)", r"create \1 if not exists \2"),
        (rf"create (view {_PATH}) \(\n.+?\n\)( .+)", r"create or replace \1\2"),
        (rf"alter default privileges for role ({_NAME}) on functions to nobody but the owner",
         r"alter default privileges for role \1 revoke execute on functions from public"),
        (rf"alter default privileges for role ({_NAME}) on types to nobody but the owner",
         r"alter default privileges for role \1 revoke usage on types from public"),
    )
)  # fmt: skip
_STRANGE = {"function": "drop routine if exists {}", "view": "drop view if exists {}", "type": "drop type if exists {}"}
_TABLE = re.compile(rf"create table ({_PATH}) \(\n(.*?)\n\)(?: with \(\n(.*)\n\))?", re.DOTALL)
_CONSTRAINT = re.compile(rf"constraint ({_NAME}) (.+)", re.DOTALL)
_COLUMN = re.compile(rf"({_NAME}) (.+?)( not null)?(?: statistics (\d+))?", re.DOTALL)
_ROLE = re.compile(rf"create role ({_NAME}) ([a-z ]+?)(?: set (?P<set>.+?))?(?: in role (?P<of>.+))?", re.DOTALL)
_POWERS = ("superuser", "bypassrls", "createrole", "createdb", "replication")


def statements(name: str, made: Sequence[str], now: Sequence[str]) -> list[str] | None:
    """What makes an object of this kind and name, whose statements are these now, what it was made; None: unknown."""
    if not made:
        kind, _, path = name.partition(" ")
        return [_STRANGE.get(kind, f"alter {kind} if exists {{}} set schema public").format(path)]
    made, now = ([text.removesuffix(";") for text in texts] for texts in (made, now))
    gone, new = [text for text in made if text not in now], [text for text in now if text not in made]
    if any(text.startswith("grant ") for text in new):  # a revoke takes the grants of single columns away, too
        gone = [text for text in made if text not in now or text.startswith("grant ")]
    try:
        altered = list(_body(gone, new))
        away, back = ([_by(_AWAY, text) for text in new], [_by(_BACK, text) for text in gone])
    except LookupError:
        return None
    return [*altered, *filter(None, away), *back]


def _by(rules: Sequence[tuple[re.Pattern[str], str]], text: str) -> str:
    for pattern, instead in rules:
        if found := pattern.fullmatch(text):
            return " ".join(line.strip() for line in found.expand(instead).splitlines())
    raise LookupError(text)


def _body(gone: list[str], new: list[str]) -> Iterator[str]:
    """Take the statements that create the object itself out of both, and give what alters it."""
    for pattern, altered in ((_TABLE, _table), (_ROLE, _role), (re.compile(r"create view .+", re.DOTALL), None)):
        before, after = ([text for text in texts if pattern.fullmatch(text)] for texts in (gone, new))
        if before and after:
            new.remove(after[0])
            if altered is not None:
                gone.remove(before[0])
                yield from altered(_matched(pattern, before[0]), _matched(pattern, after[0]))


def _matched(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    if (found := pattern.fullmatch(text)) is None:
        raise LookupError(text)
    return found


def _table(made: re.Match[str], now: re.Match[str]) -> Iterator[str]:
    alter = f"alter table {made[1]}"
    (before, settings), (after, set_now) = ((_lines(found[2]), _settings(found[3])) for found in (made, now))
    constraints = {found[1]: found[2] for line in before if (found := _CONSTRAINT.fullmatch(line))}
    for line in after:
        if line not in before and (found := _CONSTRAINT.fullmatch(line)) and found[1] not in constraints:
            yield f"{alter} drop constraint if exists {found[1]}"
    for line in before:
        if line not in after and (found := _CONSTRAINT.fullmatch(line)):
            yield f"{alter} drop constraint if exists {found[1]}, add constraint {line.removeprefix('constraint ')}"
    columns, columns_now = (_columns(lines) for lines in (before, after))
    if {name: kind for name, (kind, *_) in columns.items()} != {name: kind for name, (kind, *_) in columns_now.items()}:
        raise LookupError(made[1])
    for name, (_, filled, statistics) in columns.items():
        if (filled, statistics) != columns_now[name][1:]:
            word = "set" if filled else "drop"
            yield f"{alter} alter {name} {word} not null, alter {name} set statistics {statistics}"
    if away := sorted(set_now.keys() - settings.keys()):
        yield f"{alter} reset ({', '.join(away)})"
    if back := [f"{key} = {value}" for key, value in settings.items() if set_now.get(key) != value]:
        yield f"{alter} set ({', '.join(back)})"


def _columns(lines: Sequence[str]) -> dict[str, tuple[str, bool, int]]:
    """The columns by name: their type, whether they are not null, and their statistics."""
    found = (_matched(_COLUMN, line) for line in lines if not _CONSTRAINT.fullmatch(line))
    return {one[1]: (one[2], bool(one[3]), int(one[4] or -1)) for one in found}


def _lines(text: str) -> list[str]:
    return [line.strip().rstrip(",") for line in text.splitlines()]


def _settings(text: str | None) -> dict[str, str]:
    return dict(line.split("=", 1) for line in _lines(text or ""))


def _role(made: re.Match[str], now: re.Match[str]) -> Iterator[str]:
    words = [*made[2].split(), *(f"no{power}" for power in _POWERS if power not in made[2].split())]
    yield f"alter role {made[1]} {' '.join(words)}"
    if now["set"]:
        yield f"alter role {made[1]} reset all"
    if now["of"]:
        yield f"revoke {now['of']} from {made[1]}"
