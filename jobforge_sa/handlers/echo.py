"""A secret as servers say it back: as it is, in JSON, in URLs, in HTML, in base64, within other text or cut off."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator

from jobforge_sa.redaction import GONE

LEAST_BEGINNING = 4  # characters: fewer are a word's end as often as not
LEAST_CORE = 4  # of base64; fewer stand in many words
LONGEST = 24  # characters of one that is escaped: \\u002f within JSON within JSON, %25E2%2598%2582

_ESCAPES = re.compile(r"(?:[\\%&][\w\\#;%]*)?")  # nothing, or the beginning of an escape, where a text was cut in it
_RUN = re.compile(r"\\+|[^\\]", re.DOTALL)
_ALPHABETS = {"+": "[+-]", "/": "[/_]"}  # base64's two
_NAMES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
_EDGE = r"[A-Za-z0-9+/_-]?"  # of base64: a character that has a part of the secret's bits, and of its neighbour's


class Echo:
    """Takes what was sent in secret out of what came back.

    Args:
        secrets: Values of secrets, signatures.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        said = [one for secret in sorted({*filter(None, secrets)}, key=len, reverse=True) for one in _tokens(secret)]
        self._said = [_Said(*one) for one in said]

    def without(self, text: str) -> str:
        """The text with stars in place of each of them, and of one's beginning at the end of a text that was cut."""
        for one in self._said:  # the longest first: it may hold others
            text = one.cut_off(one.whole.sub(GONE, text))
        return text


class _Said:
    """One way to write a secret."""

    def __init__(self, before: str, tokens: list[str], behind: str) -> None:
        self.whole = re.compile(before + "".join(tokens) + behind)
        self._start = re.compile("".join(tokens[:LEAST_BEGINNING]))
        self._rest = [re.compile(token) for token in tokens[LEAST_BEGINNING:]]

    def cut_off(self, text: str) -> str:
        """A text that is cut within a secret ends with its beginning."""
        at = max(0, len(text) - LONGEST * (LEAST_BEGINNING + len(self._rest)))
        while found := self._start.search(text, at):
            if self._goes_on(text, found.end()):
                return text[: found.start()] + GONE
            at = found.start() + 1
        return text

    def _goes_on(self, text: str, at: int) -> bool:
        """Whether the rest of the secret stands there, as far as the text goes."""
        before = at
        for part in self._rest:
            found = part.match(text, at)
            if found is None:  # from the one before: its & may have been the beginning of &amp;
                return len(text) - at < LONGEST and any(_ESCAPES.fullmatch(text, place) for place in (at, before))
            before, at = at, found.end()
        return False  # all of it: that was replaced


def _tokens(secret: str) -> Iterator[tuple[str, list[str], str]]:
    """Its characters, each in all the ways in which it is written; and the characters around it that belong to it."""
    yield "", [_written(run) for run in _RUN.findall(secret)], ""
    raw = secret.encode("utf-8", "replace")
    for ahead, skipped in ((0, 0), (1, 2), (2, 3)):  # by what stands before it, base64 has three ways to write it
        core = base64.b64encode(bytes(ahead) + raw).decode()[skipped : (ahead + len(raw)) * 8 // 6]
        if len(core) >= LEAST_CORE:
            yield _EDGE if ahead else "", [_written(one, _ALPHABETS.get(one)) for one in core], f"{_EDGE}={{0,2}}"


def _written(one: str, literal: str | None = None) -> str:
    """A pattern for one character, or for a run of backslashes. It gives nothing back that it took: no text is slow."""
    if one.isascii() and one.isalnum():
        return one
    if one[0] == "\\":
        return rf"(?:\\{{{len(one)},{4 * len(one)}}}+|(?i:%(?:25){{0,3}}5c){{{len(one)}}})"
    forms = [
        rf"\\{{1,4}}+u{ord(one):04x}",
        "".join(f"%(?:25){{0,3}}{octet:02x}" for octet in one.encode("utf-8", "replace")),
        rf"&(?:amp;)?(?:#0{{0,4}}{ord(one)}|#x0{{0,4}}{ord(one):x}|{_NAMES.get(one, '#')});",
        rf"\\{{0,4}}+{literal or re.escape(one)}",  # last: & begins &amp; as well
    ]
    forms += [r"[+]"] if one == " " else []
    if not one.isascii():  # in UTF-16, as JSON has what lies far off
        forms.append(json.dumps(one)[1:-1].replace("\\", r"\\{1,4}+"))
    return f"(?i:{'|'.join(forms)})"
