"""What is kept of an error gives no secret away, whatever it says, and costs no time, however long it is."""

from __future__ import annotations

import time

import pydantic
import pytest
import sqlalchemy as sa

from jobforge_sa.tenant import TenantKey
from jobforge_sa.worker import ending as endings
from jobforge_sa.worker.errortext import clean

SECRET = "hunter2-and-more"
KEY = TenantKey.generate("k1")


@pytest.mark.parametrize(
    "text",
    [
        f"cannot reach postgresql://app:{SECRET}@db.internal:5432/shop",
        f"password={SECRET}",
        f"PASSWORD: '{SECRET}'",
        f'{{"db_password": "{SECRET}", "host": "db"}}',
        f"{{'api_key': '{SECRET}'}}",
        f"X-Api-Key: {SECRET}",
        f"client-secret = {SECRET}",
        f"https://api.test/?access_token={SECRET}&page=2",
        f"Authorization: Bearer {SECRET}",
        f"authorization: basic {SECRET}",
        f"header Bearer {SECRET} was refused",
        f"Set-Cookie: {SECRET}; Path=/",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}\nand no end",
        f"sk_live_{SECRET}0123456789",
        f"ghp_{SECRET.replace('-', '')}0123456789",
        f"eyJhbGciOiJIUzI1NiJ9.{SECRET}.abc",
        f"DETAIL:  Failing row contains (1, {SECRET}, \n more).",
        f"DETAIL:  Key (email)=({SECRET}) already exists.",
        f"1 validation error\n  Input should be int [type=int, input_value='{SECRET}', input_type=str]",
    ],
)
def test_case_099_a_secret_in_an_error_is_not_kept(text: str) -> None:
    kept = clean(f"it failed: {text}\nthe end" if not text.startswith("DETAIL") else f"it failed\n{text}\nthe end")
    assert SECRET not in kept
    assert "***" in kept
    assert kept.startswith("it failed")


def test_case_099_a_tenants_token_is_not_kept() -> None:
    kept = clean(f"set_config('jobforge.tenant_token', '{KEY.token('acme')}')")
    assert KEY.token("acme").split(".")[2] not in kept


@pytest.mark.parametrize(
    "text",
    [
        "the token expired",
        "no password given",
        "https://shop.test/orders/5?page=2",
        "KeyError: 'secretary'",
        'relation "tokens" does not exist',
        'File "app.py", line 3, in send\n    raise Refused(code)',
        "DETAIL:  There are 3 other sessions using the database.",
        "10:30:00: no answer",
    ],
)
def test_what_is_no_secret_is_kept(text: str) -> None:
    assert clean(text) == text


def test_case_099_the_parameters_of_a_statement_are_not_kept() -> None:
    class Own(Exception): ...

    def fail() -> None:
        try:
            raise sa.exc.IntegrityError("insert into users values (%(p)s)", {"p": SECRET}, ValueError("duplicate key"))
        except sa.exc.IntegrityError as error:
            raise Own("could not store the user") from error

    with pytest.raises(Own) as caught:
        fail()
    error = endings.of_error(ExceptionGroup("several", [caught.value])).error
    assert error is not None
    assert "insert into users" in error["traceback"]
    assert SECRET not in str(error)


def test_case_099_the_values_that_pydantic_refused_are_not_kept() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        pydantic.TypeAdapter(dict[str, int]).validate_python({"pin": SECRET})
    error = endings.of_error(caught.value).error
    assert error is not None
    assert "pin: Input should be a valid integer" in error["message"]
    assert SECRET not in str(error)


@pytest.mark.parametrize(
    "text",
    ["a" * 10_000_000, "password" * 100_000, "a-" * 200_000, "://a:" * 100_000, "-----BEGIN PRIVATE KEY-----" * 50_000,
     "DETAIL:  Key (" * 50_000, "\nDETAIL:  Failing row contains (" * 50_000, "input_value=" * 50_000,
     "token=" * 50_000, "'" * 500_000, "eyJaaaaa." * 50_000],
    ids=lambda text: text[:20].strip(),
)  # fmt: skip
def test_no_text_makes_it_slow(text: str) -> None:
    """A thousand times what it takes: it is about patterns that explode, not about speed."""
    began = time.process_time()
    clean(text)
    assert time.process_time() - began < 2
