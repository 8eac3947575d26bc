"""The pages as these tests read them: fenced blocks, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.house.source import ROOT

README = ROOT / "README.md"

_FENCE = re.compile(
    r"^(?P<mark>`{3,}|~{3,})(?P<language>[\w+-]*)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=mark)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]+)"')
# what a reader does not see: why the block behind it is not run, or what stands ready before it
_NOT_RUN = re.compile(r"<!-- not run: ((?:(?!-->).)+?) -->\s*\Z", re.DOTALL)
_SETUP = re.compile(r"^<!-- setup(?P<info>[^\n]*)\n(?P<text>(?:(?!-->).)*?)^-->$", re.MULTILINE | re.DOTALL)
_TARGET = re.compile(
    r"\]\(\s*<?(?P<inline>[^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s+(?P<named>\S+)", re.MULTILINE
)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    title: str = ""  # the file that it is the text of
    reason: str = ""  # why no test runs it
    hidden: bool = False  # a comment for the tests
    follows: bool = False  # it stands right behind another one: text there is what that prints

    @property
    def first(self) -> str:
        """Its first line, by which a list names it."""
        return self.text.strip().partition("\n")[0]


def pages() -> list[Path]:
    """Every page of ours."""
    folders = [ROOT / name for name in ("docs", "examples", "benchmarks", "tests", "alembic", ".github")]
    found = (page for folder in folders for page in folder.rglob("*.md") if "node_modules" not in page.parts)
    return sorted([*ROOT.glob("*.md"), *found])


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8") if page.exists() else ""


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    text, name = read(page), page.relative_to(ROOT).as_posix()
    return [_block(name, text, found) for found in _FENCE.finditer(text)]


def steps(page: Path) -> list[Block]:
    """The same, and between them the comments that make ready what a reader has anyway."""
    text, name = read(page), page.relative_to(ROOT).as_posix()
    bare = _FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)
    hidden = [_hidden(name, bare, found) for found in _SETUP.finditer(bare)]
    return sorted([*blocks(page), *hidden], key=lambda block: block.line)


def _hidden(name: str, text: str, found: re.Match[str]) -> Block:
    line = text.count("\n", 0, found.start()) + 1
    return Block(name, line, found["info"].strip() or "python", found["text"], hidden=True)


def _block(name: str, text: str, found: re.Match[str]) -> Block:
    title, reason = _TITLE.search(found["info"]), _NOT_RUN.search(text, 0, found.start())
    return Block(
        name, text.count("\n", 0, found.start()) + 1, found["language"], found["text"],
        title=title[1] if title else "", reason=" ".join(reason[1].split()) if reason else "",
        follows=text[: found.start()].rstrip().endswith("```"),
    )  # fmt: skip


def block(page: Path, first: str) -> Block:
    """The block of a page that begins with this line."""
    found = [block for block in blocks(page) if block.first == first]
    assert len(found) == 1, f"{page.name} has {len(found)} blocks that begin with {first!r}"
    return found[0]


def program(page: Path) -> tuple[Block, Block]:
    """The first Python block that makes a JobForge, and the text block behind it: a program and what it prints."""
    found = blocks(page)
    places = [place for place, block in enumerate(found) if block.language == "python" and "JobForge(" in block.text]
    assert places, f"{page.name} has no program"
    printed = [block for block in found[places[0] :] if block.language == "text"]
    assert printed, f"{page.name}: no text block with its output follows the program"
    return found[places[0]], printed[0]


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Each link out of the page's text: its line and target."""
    text = _without_code(read(page))
    for found in _TARGET.finditer(text):
        yield text.count("\n", 0, found.start()) + 1, found["inline"] or found["named"]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub and the site make of the headings."""
    seen: dict[str, int] = {}
    for heading in _HEADING.findall(_FENCE.sub("", read(page))):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        seen[slug] = seen.get(slug, -1) + 1
        if seen[slug]:
            seen[f"{slug}-{seen[slug]}"] = 0
    return set(seen)


def _without_code(text: str) -> str:
    """Blank what is code, line by line, so that the numbers stay."""
    text = _FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)
    return re.sub(r"(?<!`)`[^`\n]+`(?!`)", "`code`", text)
