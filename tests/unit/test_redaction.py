"""What leaves the database leaves its secrets there: by whole words of names, and by how values look."""

from __future__ import annotations

import time
from typing import Any

import pytest

from jobforge_sa.redaction import GONE, Redactor, text
from jobforge_sa.tenant import TenantKey

SECRET = "hunter2-and-more"
CARD = "4111 1111 1111 1111"


@pytest.mark.parametrize(
    "name",
    ["password", "PASSWORD", "db_password", "passwordConfirm", "client-secret", "accessToken", "token", "X-Api-Key",
     "apiKey", "APIKey", "apikey", "Authorization", "Set-Cookie", "privateKey", "jwt", "auth", "card_number",
     "aws.secret.access.key", "dbpassword", "accesstoken", "CLIENTSECRET", "secretkey", "refresh_tokens"],
)  # fmt: skip
def test_a_name_that_says_secret_hides_what_stands_under_it(name: str) -> None:
    redactor = Redactor()
    for value in ("x", 1 if name != "refresh_tokens" else "1", ["x"], {"any": "x"}):
        assert redactor.clean({name: value}) == {name: GONE}
    assert redactor.places == [f"/{name}"] * 4
    assert redactor.clean({name: None, "b": [{name: True}]}) == {name: None, "b": [{name: True}]}


@pytest.mark.parametrize(
    "name",
    ["idempotency_key", "unique_key", "key", "author", "authors", "secretary", "tokenizer", "passenger", "keyboard",
     "monkey", "compass", "cookiecutter", "order_id", "spin", "pinned", "account_id"],
)  # fmt: skip
def test_a_name_that_only_contains_such_a_word_hides_nothing(name: str) -> None:
    redactor = Redactor()
    assert redactor.clean({name: "plain"}) == {name: "plain"}
    assert redactor.clean({"max_tokens": 500}) == {"max_tokens": 500}
    assert redactor.places == []


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {SECRET}", f"postgresql://app:{SECRET}@db/shop", f"eyJhbGciOiJIUzI1NiJ9.{SECRET}.abc",
        f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n-----END EC PRIVATE KEY-----", f"curl -H 'X-Api-Key: {SECRET}'",
        f"sk_live_{SECRET}0123456789", f"pay with {CARD} now", "4111-1111-1111-1111", 4111111111111111,
        "378282246310005",
        pytest.param(TenantKey.generate("k").token(SECRET).rpartition(".")[0] + ".", id="a tenant's token"),
        "host=db password=" + SECRET,
    ],
)  # fmt: skip
def test_a_value_that_looks_like_a_secret_is_hidden_wherever_it_stands(value: Any) -> None:
    redactor = Redactor()
    cleaned = redactor.clean({"note": [value]})
    assert redactor.places == ["/note/0"]
    for part in (SECRET, "1111 1111", "1111-1111", "11111111", "378282246310005"):
        assert part not in str(cleaned)
    assert redactor.clean(cleaned) == cleaned


def test_a_secret_that_is_a_key_goes_too_and_two_of_them_stay_two() -> None:
    redactor = Redactor()
    found = redactor.clean({"4111111111111111": 1, "5500000000000004": 2, "a/b~c": {"token": "x"}})
    assert list(found.values()) == [1, 2, {"token": GONE}]
    assert "4111" not in str(found)
    assert redactor.places[-1] == "/a~1b~0c/token"


@pytest.mark.parametrize(
    "plain",
    ["4111 1111 1111 1112", "1795531165870", 1795531165870, "019ae1b2-4111-7111-9111-111111111111", "order 4111111111",
     "4111111111111111.5", "the token expired", 3.5, True, "basic income"],
)  # fmt: skip
def test_what_is_none_stays(plain: Any) -> None:
    assert Redactor().clean([plain]) == [plain]


def test_operators_add_names_word_for_word() -> None:
    redactor = Redactor(["iban", "patientName"])
    assert redactor.clean({"iban": "x", "urban": "y", "patient_name": "z", "name": "n"}) == {
        "iban": GONE, "urban": "y", "patient_name": GONE, "name": "n",
    }  # fmt: skip


def test_no_text_makes_it_slow() -> None:
    hostile = ["password" * 30_000, "4 " * 120_000, "-----BEGIN PRIVATE KEY-----" * 9_000, "a-" * 120_000]
    hostile += ["-eyJ" * 60_000, "eyJaaaaa." * 30_000, "a-eyJaaaaa" * 24_000]
    for given in hostile:
        began = time.monotonic()
        text(given)
        assert time.monotonic() - began < 5
