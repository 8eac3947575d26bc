"""Secrets are sealed for one tenant and one name, opened by any of the keys, and shown by nothing."""

from __future__ import annotations

import base64
import logging
import pickle

import pytest

from jobforge_sa.errors import ConfigurationError, JobForgeError, SecretUnavailable
from jobforge_sa.secrets import Secret, SecretKeys
from jobforge_sa.settings import unknown

OLD, NEW = SecretKeys.new_key("old"), SecretKeys.new_key("new")
KEYS = SecretKeys.parse(OLD)
PLACE = {"tenant": "acme", "name": "billing"}
LONG = base64.urlsafe_b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize("value", ["x", "Zoë ☂ \U0001f600", "a\nb\r\n", "whsec_" + "A" * 44, " ", "x" * 30_000])
def test_what_was_sealed_opens_as_it_was(value: str) -> None:
    sealed = KEYS.seal(value, **PLACE)
    assert sealed.startswith("v1:old:")
    assert sealed.isascii()
    assert KEYS.open(sealed, **PLACE) == value
    assert KEYS.seal(value, **PLACE) != sealed  # a nonce of its own each time


def test_keys_rotate_the_first_seals_and_all_open() -> None:
    both = SecretKeys.parse(f" {NEW} , {OLD},")
    assert both.ids == ("new", "old")
    assert both.open(KEYS.seal("x", **PLACE), **PLACE) == "x"
    sealed = both.seal("y", **PLACE)
    assert sealed.startswith("v1:new:")
    with pytest.raises(SecretUnavailable, match="a key that is not here: new"):
        KEYS.open(sealed, **PLACE)


@pytest.mark.parametrize("place", [{"tenant": "other"}, {"name": "other"}, {"tenant": "acme:billing", "name": ""}])
def test_a_row_that_is_copied_to_another_tenant_or_name_does_not_open(place: dict[str, str]) -> None:
    with pytest.raises(SecretUnavailable, match="does not open"):
        KEYS.open(KEYS.seal("s3cr3t", **PLACE), **PLACE | place)


def test_where_the_tenant_ends_is_no_matter_of_opinion() -> None:
    sealed = KEYS.seal("x", tenant="a:b", name="c")
    with pytest.raises(SecretUnavailable):
        KEYS.open(sealed, tenant="a", name="b:c")


def test_a_sealed_text_that_was_changed_does_not_open() -> None:
    sealed = KEYS.seal("s3cr3t", **PLACE)
    body = sealed.rpartition(":")[2]
    raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    for at in range(len(raw)):  # bytes, for the last letter of base64 has bits that mean nothing
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(SecretUnavailable):
            KEYS.open(f"v1:old:{base64.urlsafe_b64encode(changed).decode()}", **PLACE)
    for text in ("", "v1", "v1:old", "v1:old:", "v1:old:!", "v2:old:" + body, "v1:old:" + body[:10], sealed + "A"):
        with pytest.raises(SecretUnavailable):
            KEYS.open(text, **PLACE)


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "s3cr3t", "a b:" + LONG, "k:" + LONG[:20], "k:s3cr3t!", f"k:{LONG},k:{LONG}", ":" + LONG,
        "k:" + LONG + "AAAA",
    ],
)  # fmt: skip
def test_keys_that_cannot_be_read_are_refused_without_a_word_of_them(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SecretKeys.parse(text)
    assert "new-key" in caught.value.cure or "id" in caught.value.cure
    for hidden in ("s3cr3t", LONG[:20]):
        assert hidden not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_environment_names_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBFORGE_SECRET_KEYS", f"{NEW},{OLD}")
    assert SecretKeys.from_environment().ids == ("new", "old")
    assert list(unknown(["JOBFORGE_SECRET_KEYS"])) == []
    monkeypatch.delenv("JOBFORGE_SECRET_KEYS")
    with pytest.raises(ConfigurationError, match="JOBFORGE_SECRET_KEYS is not set"):
        SecretKeys.from_environment()


def test_neither_a_key_nor_a_secret_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret("billing", ("s3cr3t", "older"), ("api.example.com",))
    with caplog.at_level(logging.INFO):
        logging.getLogger("x").info("%s %r %s %r", secret, secret, KEYS, [KEYS])
    assert "s3cr3t" not in caplog.text
    assert "older" not in caplog.text
    assert OLD.partition(":")[2] not in caplog.text
    assert repr(KEYS) == "<SecretKeys old>"
    assert secret.value == "s3cr3t"


def test_what_does_not_open_says_nothing_of_it_not_even_in_its_cause() -> None:
    with pytest.raises(JobForgeError) as caught:
        KEYS.open("v1:old:" + base64.urlsafe_b64encode(b"s3cr3t" * 10).decode(), **PLACE)
    assert caught.value.__cause__ is None
    assert "s3cr3t" not in str(pickle.dumps(str(caught.value)))


def test_half_a_character_is_refused_and_the_error_holds_nothing_of_the_secret() -> None:
    with pytest.raises(ConfigurationError) as refused:
        KEYS.seal("hunter2\ud800", **PLACE)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__context__ is None
