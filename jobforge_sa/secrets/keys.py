"""The keys that seal secrets: AES-256-GCM, so that who reads the database, or a dump of it, reads no secret."""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from collections.abc import Mapping
from typing import Any, Self

from jobforge_sa.errors import ConfigurationError, SecretUnavailable

KEYS_VARIABLE = "JOBFORGE_SECRET_KEYS"
KEY_BYTES = 32
NONCE_BYTES = 12
VERSION = "v1"

_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_CURE = "write ID:SECRET, several separated by commas, the newest first; jobforge secrets new-key makes one"


class SecretKeys:
    """Keys by their ids, the first of which seals; all of them open.

    To rotate: put a new one in front, give that to all who seal and open, set the secrets anew
    (`jobforge secrets set`), and take the old one away.

    Args:
        keys: 32 random bytes each, by ids of 1 to 40 of A-Z a-z 0-9 _ -.

    Raises:
        ConfigurationError: there is none, or one cannot work.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ConfigurationError("there is no key to seal secrets with", cure=_CURE)
        for key_id, key in keys.items():
            if not _ID.fullmatch(key_id):
                raise ConfigurationError(f"{key_id[:50]!r} is no id of a key", cure="use 1 to 40 of A-Z a-z 0-9 _ -")
            if len(key) != KEY_BYTES:
                raise ConfigurationError(f"the secret key {key_id} has {len(key)} bytes, not {KEY_BYTES}", cure=_CURE)
        self._keys = dict(keys)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Keys from what `new_key` wrote, one or several with commas between them.

        Raises:
            ConfigurationError: it cannot be read. The message does not hold it.
        """
        keys: dict[str, bytes] = {}
        for number, part in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
            key_id, colon, secret = part.partition(":")
            if not (colon and _ID.fullmatch(key_id)):  # what stands there may be the secret: it is not shown
                raise ConfigurationError(f"secret key {number} does not begin with its id and a colon", cure=_CURE)
            if key_id in keys:
                raise ConfigurationError(f"there are two secret keys {key_id}", cure="give each an id of its own")
            try:
                keys[key_id] = base64.b64decode(secret + "=" * (-len(secret) % 4), altchars=b"-_", validate=True)
            except (binascii.Error, ValueError):
                raise ConfigurationError(f"the secret key {key_id} cannot be read", cure=_CURE) from None
        return cls(keys)

    @classmethod
    def from_environment(cls, variable: str = KEYS_VARIABLE) -> Self:
        """The keys in an environment variable.

        Raises:
            ConfigurationError: it is not set, or cannot be read.
        """
        text = os.environ.get(variable)
        if not text:
            raise ConfigurationError(f"{variable} is not set", cure="jobforge secrets new-key prints what it takes")
        return cls.parse(text)

    @staticmethod
    def new_key(key_id: str) -> str:
        """A new random key as text: its id, a colon, the key in URL-safe base64.

        Raises:
            ConfigurationError: that is no id.
        """
        key = secrets.token_bytes(KEY_BYTES)
        SecretKeys({key_id: key})
        return f"{key_id}:{base64.urlsafe_b64encode(key).rstrip(b'=').decode()}"

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids; the first one's key seals."""
        return tuple(self._keys)

    def __repr__(self) -> str:
        return f"<SecretKeys {', '.join(self._keys)}>"

    def seal(self, value: str, *, tenant: str, name: str) -> str:
        """A secret as the database keeps it: of use only under this tenant and name, and with this key.

        Raises:
            ConfigurationError: it has half a surrogate pair in it. The message does not hold it.
            ImportError: the extra `connectors` is not installed.
        """
        key_id = self.ids[0]
        if any("\ud800" <= one <= "\udfff" for one in value):  # the codec's error would hold the value
            raise ConfigurationError("the secret has half a character in it", cure="pass text that is UTF-8")
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = _aes()(self._keys[key_id]).encrypt(nonce, value.encode(), _bound(tenant, name))
        return f"{VERSION}:{key_id}:{base64.urlsafe_b64encode(nonce + sealed).rstrip(b'=').decode()}"

    def open(self, text: str, *, tenant: str, name: str) -> str:
        """The secret that was sealed.

        Raises:
            SecretUnavailable: its key is not here, or it was not sealed for this tenant and name.
            ImportError: the extra `connectors` is not installed.
        """
        version, key_id, body = [*text.split(":"), "", ""][:3]
        if version != VERSION or key_id not in self._keys:
            raise SecretUnavailable(
                f"the secret {name} is sealed with a key that is not here: {key_id[:40]}",
                cure=f"add that key to {KEYS_VARIABLE}, or set the secret anew: jobforge secrets set",
            )
        aes = _aes()(self._keys[key_id])
        try:
            raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
            return str(aes.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound(tenant, name)).decode())
        except Exception:  # InvalidTag, what base64 says, a nonce that is too short: nothing of it is shown
            raise SecretUnavailable(
                f"the secret {name} does not open: it was changed, or sealed for another tenant or name",
                cure="set it anew: jobforge secrets set",
            ) from None


def _bound(tenant: str, name: str) -> bytes:
    """What a sealed secret is bound to: a row that is copied to another tenant or name opens no more."""
    return f"jobforge secret {len(tenant)}:{tenant}:{name}".encode()


def _aes() -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ImportError("cryptography is not installed; run: pip install 'jobforge_sa[connectors]'") from error
    return AESGCM
