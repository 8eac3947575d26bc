"""The site: its reference leaves nothing out, its menu has every page, its pictures say in words what they show."""

from __future__ import annotations

import re

import jobforge_sa
from jobforge_sa.models import __all__ as mapped
from tests.house.markdown import read
from tests.house.source import ROOT

DOCS = ROOT / "docs"
MENU = read(ROOT / "mkdocs.yml").partition("\nnav:\n")[2]
# linked before they are written
COMING: set[str] = set()


def test_the_reference_has_every_public_name() -> None:
    shown = set(re.findall(r"^::: (\S+)$", "".join(map(read, (DOCS / "reference").glob("*.md"))), re.MULTILINE))
    offered = [*jobforge_sa.__all__, *(f"models.{name}" for name in mapped)]
    assert [name for name in offered if f"jobforge_sa.{name}" not in shown] == []


def test_every_page_is_in_the_menu_once() -> None:
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    named = re.findall(r"(?m)^ +- (?:[^:\n]+: )?(\S+\.md)$", MENU)
    assert len(named) == len(set(named))
    left = {page for page in pages - set(named) if not page.startswith("decisions/")}  # a folder of the menu
    assert left == set()
    assert {page for page in set(named) - pages if not (ROOT / page).is_file()} <= COMING | {"index.md"}


def test_every_drawing_has_a_title_and_a_text() -> None:
    for drawing in (DOCS / "drawn").glob("*.svg"):
        text = drawing.read_text(encoding="utf-8")
        assert re.search(r"<title [^>]*>[^<]{5,}</title>\s*<desc [^>]*>[^<]{50,}</desc>", text), drawing.name
        assert "prefers-color-scheme: dark" in text


def test_drawings_have_the_same_colours_as_files_and_on_the_site() -> None:
    css = read(DOCS / "site" / "extra.css")
    style = (DOCS / "drawn" / "life.svg").read_text(encoding="utf-8")
    light, dark = style.partition("</style>")[0].split("@media")
    for name, colour in re.findall(r"\.(jf-\w+) \{[^}]*fill: (#\w+)", light):
        assert re.search(rf"(?m)^\.{name} \{{[^}}]*fill: {colour}", css), name
    for name, colour in re.findall(r"\.(jf-\w+) \{[^}]*fill: (#\w+)", dark):
        assert f'[data-md-color-scheme="slate"] .{name} {{ fill: {colour}' in css, name
