"""What is secret in data that leaves the database, and is left out: by the names of keys, and by how values look.

A secret that looks like nothing in particular, under a name that says nothing, cannot be told from other data:
operators add the names that they know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

GONE = "***"  # nothing of the value stays: no length, no first letters, no hash to try guesses against

_NAME = r"password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|authorization|cookie"
_QUOTED = r"""'[^'\n]{1,2000}'|"[^"\n]{1,2000}"|(?!\*\*\*|bearer|basic)[^\s,;&)}\]'"]{1,2000}"""
_PEM = r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:(?!-----END).){0,9000}(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?"
# every quantifier is bounded, or cannot give back what it took, so that no text makes them slow
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        (rf"(?s:{_PEM})", GONE),
        (r"(://[^\s/:@]{0,200}):[^\s/@]{1,500}@", rf"\1:{GONE}@"),  # user:password@host
        (r"\b(bearer|basic)\s{1,5}[\w.~+/=-]{8,}", rf"\1 {GONE}"),
        (rf"""((?:{_NAME})[\w-]{{0,40}}['"]?\s{{0,5}}[:=]\s{{0,5}})(?:{_QUOTED})""", rf"\1{GONE}"),
        # a JWT; looked for at the beginning of a word only: "-eyJ" over and over was read to its end from each of them
        (r"(?<![\w-])((?:[\w-]{0,40}-)?)eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*", rf"\1{GONE}"),
        (r"\b[\w-]{1,40}\.\d{9,11}\.[0-9a-f]{64}\.", f"{GONE}."),  # a tenant token of ours
        (r"\b(?:sk|pk|rk|whsec|gh[pousr]|github_pat|glpat|xox[abprs])[_-][\w-]{16,}|\bAKIA[0-9A-Z]{16}\b", GONE),
    )
)
# first digits and lengths of the large networks: 13 digits that begin with a 1 are a time in milliseconds
_CARD = re.compile(r"(?<![\w.-])(?:4|5[1-5]|2[2-7]|3[0-8]|6[0245])\d?(?:[ -]?\d){11,17}(?![\w-]|\.\d)")

# Names of keys, word for word: `api_key`, `X-Api-Key` and `apiKey` are "api key", and `author` is not "auth".
_NAMES = (
    "password", "passwd", "passphrase", "passcode", "pwd", "secret", "secrets", "token", "tokens", "credential",
    "credentials", "authorization", "cookie", "cookies", "jwt", "otp", "cvv", "cvc", "apikey", "api key", "access key",
    "private key", "signing key", "encryption key", "account key", "shared key", "master key", "ssh key", "hmac key",
    "service key", "card number", "credit card",
)  # fmt: skip
_WHOLE = frozenset({"auth", "bearer", "pin", "key material"})  # too common as a part of other names
# what is written in one word ends so
_ENDS = ("password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "privatekey", "secretkey")
_COUNTED = "tokens"  # max_tokens: 500 is none
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")


class Redactor:
    """Takes secrets out of JSON values; what is left has the same shape.

    Args:
        names: More names of keys whose values are secret.

    Attributes:
        places: Where something was taken out, as JSON pointers.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.places: list[str] = []
        self._names = frozenset(f" {name} " for name in (*_NAMES, *(_words(name) for name in names)) if name)

    def clean(self, value: Any, place: str = "") -> Any:
        """The value without its secrets; of `place` in the whole."""
        match value:
            case str():
                return self._noted(value, text(value), place)
            case Mapping():
                return self._mapping(value, place)
            case Sequence():
                return [self.clean(item, f"{place}/{number}") for number, item in enumerate(value)]
            case int() if not isinstance(value, bool) and _card(str(value)):
                return self._noted(value, GONE, place)
        return value

    def _mapping(self, value: Mapping[str, Any], place: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in value.items():
            name = shown = text(key)  # a token may be a key, too
            while name != key and name in found:
                name = f"{shown} {len(found)}"
            inner = f"{place}/{name.replace('~', '~0').replace('/', '~1')}"
            self._noted(key, name, inner)
            secret = item not in (None, "", [], {}) and not isinstance(item, bool) and self.is_secret(key, item)
            found[name] = self._noted(item, GONE, inner) if secret else self.clean(item, inner)
        return found

    def is_secret(self, key: str, value: object = "") -> bool:
        """Whether what stands under the key is secret, by its name alone."""
        words = _words(key)
        if words in _WHOLE:
            return True
        if isinstance(value, int | float):
            words = " ".join(word for word in words.split() if word != _COUNTED)
        return any(word.endswith(_ENDS) for word in words.split()) or any(name in f" {words} " for name in self._names)

    def _noted(self, before: Any, after: Any, place: str) -> Any:
        if before != after:
            self.places.append(place)
        return after


def text(given: str) -> str:
    """A text without what looks like a secret in it."""
    for pattern, instead in _SHAPES:
        given = pattern.sub(instead, given)
    return _CARD.sub(lambda found: GONE if _luhn(found[0]) else found[0], given)


def _words(name: str) -> str:
    """The words of a name, in lower case, with a blank between them."""
    return " ".join(_WORD.findall(name)).lower()


def _card(digits: str) -> bool:
    return _CARD.fullmatch(digits) is not None and _luhn(digits)


def _luhn(written: str) -> bool:
    digits = [int(sign) for sign in reversed(written) if sign.isdigit()]
    return sum(digits[::2]) % 10 == -sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2]) % 10
