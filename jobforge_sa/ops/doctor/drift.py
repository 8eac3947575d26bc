"""What differs in the schema from what its revision made: a body, a policy, an index, a right, a setting.

`made/` has what each revision makes, as `db/introspect` writes it; tests hold it true. The checks know single faults
and their cures; this knows none, and so misses none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path

from sqlalchemy import Connection

from jobforge_sa.db import introspect
from jobforge_sa.ops.doctor import cure as doctor_cure

MADE = Path(__file__).parent / "made"
_FEW = 3  # objects that differ alike, and lines that differ, which are told one by one

# a schema may be opened to single logins, see docs/security.md: whether they should have it, foreign_grant tells
_ENTRY = re.compile(r"grant usage on schema jobforge to \S+")
# what makes it slow and shows nothing: settings with the lines around them, statistics, indexes that refuse no row
_SLOW = re.compile(r"\s+(toast\.)?\w+=[\w.-]+|\) with \(|\)|CREATE (INDEX|STATISTICS) .*")
_OPENS = re.compile(r"^(grant|create policy) | SECURITY DEFINER", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Difference:
    """Objects that differ alike from what the revision made."""

    level: str
    objects: tuple[str, ...]
    gone: tuple[str, ...]  # lines that the revision made
    new: tuple[str, ...]  # lines that it did not
    whole: bool  # the object itself is gone or new
    cure: str  # SQL or a command

    @property
    def where(self) -> str:
        """The objects in a few words."""
        if len(self.objects) == 1:
            return self.objects[0]
        more = f" and {len(self.objects) - _FEW} more" if len(self.objects) > _FEW else ""
        return f"{len(self.objects)} objects: {', '.join(self.objects[:_FEW])}{more}"

    @property
    def detail(self) -> str:
        """What differs."""
        if self.whole:
            return f"the revision made none such: {_few(self.new)}" if self.new else "it is gone"
        sides = (("without", self.gone), ("with", self.new))
        return "it is " + ", and ".join(f"{word} {_few(lines)}" for word, lines in sides if lines)


def closest(connection: Connection) -> str:
    """The revision that the schema is most like: for a login that may not ask at which it stands."""
    now = introspect.describe(connection).items()
    return max(sorted(MADE.glob("*.sql")), key=lambda file: len(_made(file).items() & now)).stem


def find(connection: Connection, revision: str) -> list[Difference] | None:
    """What differs from this revision; None if it is none of those that we know."""
    file = MADE / f"{revision}.sql"
    if not file.exists():
        return None
    made, now = _made(file), introspect.statements(connection)
    alike: dict[Difference, dict[str, Difference]] = {}
    for name in sorted(made.keys() | now.keys()):
        one = _compared(made.get(name, ""), "\n".join(now.get(name, ())), name)
        if one.gone or one.new:
            cured = replace(one, cure=_cure(name, made.get(name, ""), now.get(name, ()), file))
            alike.setdefault(_nameless(one, name), {})[name] = cured
    return [_together(one, group) for one, group in alike.items()]


def _together(nameless: Difference, group: dict[str, Difference]) -> Difference:
    """One difference of all that differ alike; a few lines tell of them, and the cures follow each other."""
    if len(group) == 1:
        return next(iter(group.values()))
    return replace(nameless, objects=tuple(group), cure=" ".join(one.cure for one in group.values()))


def _cure(name: str, made: str, now: Sequence[str], file: Path) -> str:
    """The command that makes the object again what it was; or, where there is none, the place where that is written."""
    before = introspect.statements_of(made)
    if name.startswith("function ") and made and before[0] not in now:  # over what is there: that takes no right away
        first, last = _place(name, file)
        read = f"sed -n '{first},{last}p' {file}"
        if not now:  # made anew by its owner, whose functions are closed to PUBLIC
            read = f"{{ echo 'set role jobforge_owner;'; {read}; }}"
        return f"{read} | psql  # as revision {file.stem} made it"
    if (found := doctor_cure.statements(name, before, now)) is not None:
        return "; ".join(found) + ";"
    return f"restore it as revision {file.stem} made it, which is written in {file}:{_place(name, file)[0]}"


def _place(name: str, file: Path) -> tuple[int, int]:
    """The first and the last line of the object."""
    lines = file.read_text(encoding="utf-8").splitlines()
    begin = lines.index(f"-- {name}") + 1
    return begin, next((end for end in range(begin, len(lines)) if lines[end].startswith("-- ")), len(lines))


def _made(file: Path) -> dict[str, str]:
    return introspect.parse(file.read_text(encoding="utf-8"))


def _compared(made: str, now: str, name: str) -> Difference:
    before, after = _lines(made), _lines(now)
    gone: list[str] = []
    new: list[str] = []
    for verb, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if verb != "equal":
            gone += before[a:b]
            new += after[c:d]
    return Difference(_level(made, now, (*gone, *new)), (name,), tuple(gone), tuple(new), not (made and now), cure="")


def _nameless(one: Difference, name: str) -> Difference:
    """With … in place of the object, so that those that differ alike are equal."""
    gone, new = (
        tuple(line.replace(name, "…").replace(name.partition(" ")[2], "…") for line in lines)
        for lines in (one.gone, one.new)
    )
    return replace(one, objects=(), gone=gone, new=new)


def _lines(text: str) -> list[str]:
    lines = (line.rstrip(",;") for line in text.splitlines())
    return [line for line in lines if line and not _ENTRY.fullmatch(line)]


def _level(made: str, now: str, lines: Sequence[str]) -> str:
    if not made:
        return "error" if _OPENS.search(now) else "warning"
    if now and all(line.startswith("comment on ") for line in lines):
        return "note"
    return "warning" if now and all(_SLOW.fullmatch(line) for line in lines) else "error"


def _few(lines: Sequence[str]) -> str:
    more = f" ({len(lines) - _FEW} more lines)" if len(lines) > _FEW else ""
    return "; ".join(" ".join(line.split()) for line in lines[:_FEW]) + more
