"""The site's view of the repository: pages that stand outside docs/, and links that lead there.

The pages are read on two places, in the repository and on the site. They link as the repository has it, which
`tests/house` holds; here each of those links gets where the site has the same thing: a page, or the source as text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {
    "README.md": "index.md",
    **{name: name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "GOVERNANCE.md")},
    **{f"benchmarks/results/{file.name}": f"benchmarks/{file.name}" for file in ROOT.glob("benchmarks/results/*.*")},
}
WIDE = {"comparison.md", "leases.md", "faults.md", "security-cases.md"}  # tables that need the room of the side
INSIDE = {src: path for path, src in OUTSIDE.items()}
LINK = re.compile(r"(?P<before>\]\(\s*<?)(?P<target>[^)\s>#:]+)(?P<anchor>#[^)\s>]*)?(?P<after>>?\s*\))")
# GitHub begins a list right behind a line of text, Python-Markdown does not
LIST = re.compile(r"^(?![-*] |\d+\. |[\s|<])(.+)\n(?=[-*] |1\. )", re.MULTILINE)
DRAWN = re.compile(r"^!\[[^\]]*\]\((?:\.\./)*drawn/(?P<name>\w+\.svg)\)$", re.MULTILINE)
TAG = re.compile(r"<(?:script|link|img|iframe|source|video)\b[^>]*>")
FETCHED = re.compile(r"\b(?:src|href|srcset)=[\"']?(?:https?:)?//(?!127\.0\.0\.1)")
CODE = re.compile(r"^(?P<mark>`{3,}|~{3,}).*?^(?P=mark)[ \t]*$|(?<!`)`[^`\n]+`(?!`)", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of a folder into the menu, and leave out what no page stands for: some are being written."""
    config.nav = _there(config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/, and the text of every other file that a page links to."""
    for path, src in OUTSIDE.items():
        files.append(File.generated(config, src, content=(ROOT / path).read_text(encoding="utf-8")))
    for path in sorted({path for file in files.documentation_pages() for path in _linked(file)}):
        if (ROOT / path).is_file():
            files.append(File.generated(config, f"source/{path}.txt", content=(ROOT / path).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links into the repository into links within the site."""
    here = _place(page.file.src_uri)
    if page.file.src_uri in WIDE:
        page.meta["hide"] = ["navigation", "toc"]

    def turned(found: re.Match[str]) -> str:
        path, anchor = _path(here, found["target"]), found["anchor"] or ""
        src = OUTSIDE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if src is None:
            src, anchor = f"source/{path}.txt", ""  # the text has no lines to jump to
        elif (ROOT / path).is_dir():
            src = posixpath.join(src, "README.md")
        target = posixpath.relpath(src, posixpath.dirname(page.file.src_uri) or ".")
        return f"{found['before']}{target}{anchor}{found['after']}"

    return _outside_code(markdown, lambda text: DRAWN.sub(_drawn, LIST.sub(r"\1\n\n", LINK.sub(turned, text))))


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Refuse a page that fetches something from elsewhere when it is read."""
    for tag in TAG.findall(output):
        if FETCHED.search(tag):
            raise PluginError(f"{page.file.src_uri} fetches from elsewhere: {tag}")
    return output


def _linked(file: File) -> set[str]:
    here = _place(file.src_uri)
    found = {_path(here, link["target"]) for link in LINK.finditer(CODE.sub("", file.content_string))}
    return {path for path in found if path not in OUTSIDE and not path.startswith("docs/")}


def _place(src: str) -> str:
    """Where in the repository a page of the site stands."""
    return INSIDE.get(src, f"docs/{src}")


def _path(here: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(here), target))


def _drawn(found: re.Match[str]) -> str:
    """The drawing itself in place of a link to it: so it takes the colours that the reader has chosen for the site."""
    text = (ROOT / "docs" / "drawn" / found["name"]).read_text(encoding="utf-8")
    bare = re.sub(r"<style>.*?</style>|\n", "", text, flags=re.DOTALL)
    return f'<figure class="drawn">{bare}</figure>'


def _outside_code(text: str, change: Any) -> str:
    parts, at = [], 0
    for found in CODE.finditer(text):
        parts += [change(text[at : found.start()]), found[0]]
        at = found.end()
    return "".join([*parts, change(text[at:])])


def _there(nav: Any) -> Any:
    if isinstance(nav, str):
        if nav.endswith("/"):
            return _folder(nav)
        known = nav in INSIDE or (ROOT / "docs" / nav).is_file()
        return nav if known else None
    if isinstance(nav, dict):
        kept = {title: left for title, item in nav.items() if (left := _there(item))}
        return kept or None
    return [left for item in nav if (left := _there(item))]


def _folder(folder: str) -> list[Any]:
    pages = sorted((ROOT / "docs" / folder).glob("[0-9]*.md"))
    titles = [page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for page in pages]
    return [f"{folder}README.md", *({title: f"{folder}{page.name}"} for title, page in zip(titles, pages, strict=True))]
