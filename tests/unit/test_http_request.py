"""`connector.http.request` without a database: what it takes, what it sends, what it keeps, and when it comes again."""

from __future__ import annotations

import base64
import datetime as dt
import html
import json
import socket
import time
from typing import Any
from urllib.parse import quote

import pytest

from jobforge_sa.errors import Blocked, InvalidPayload, SecretUnavailable
from jobforge_sa.handlers import Connectors
from jobforge_sa.handlers.answer import preview
from jobforge_sa.handlers.ground import Ground
from jobforge_sa.handlers.http_request import MOST_PREVIEW, HttpRequest, HttpResponse, SecretHeader, perform
from jobforge_sa.secrets import Secret
from jobforge_sa.types import Discard, Retry
from jobforge_sa.worker import ending
from tests.security.egress_server import OK, Serving, client, closed_port, url

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
VALUE = "s3cr3t/of+mine=="
TOKEN = Secret("api", (VALUE, "the-one-before"), ("hook.test", "*.hook.test"))
IDEMPOTENT, OTHERS = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"), ("POST", "PATCH")


def ground(*secrets: Secret, unsure: bool = False) -> Ground:
    return Ground({}, {secret.name: secret for secret in secrets}, NOW, unsure)


def asked(server: Serving, **said: Any) -> HttpRequest:
    return HttpRequest(**{"url": url(server)} | said)


def answered(answer: bytes, *, on: Ground | None = None, **said: Any) -> HttpResponse | Retry | Discard:
    with Serving(answer) as server:
        return perform(asked(server, **said), on or ground(), client(server))


def status(code: int, *headers: str, body: str = "") -> bytes:
    lines = [f"HTTP/1.1 {code} X", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


# -- what it takes ---------------------------------------------------------------------


def test_the_payload_is_checked_when_it_is_enqueued() -> None:
    task = Connectors().http_request
    good: Any = {
        "url": "https://hook.test/a?b=c",
        "method": "POST",
        "headers": {"X-A": "1"},
        "body": {"n": [1, None, "ä"]},
    }
    assert task.load(task.dump(good)) == HttpRequest.model_validate(good)
    secret = {"headers": {"Authorization": {"secret": "api", "prefix": "Bearer "}}}
    assert task.load(task.dump(good | secret)).headers == {
        "Authorization": SecretHeader(secret="api", prefix="Bearer ")
    }


@pytest.mark.parametrize(
    ("said", "cure"),
    [({"url": "http://user:hunter2@hook.test/"}, "in a header, as a secret"), ({"url": "https://127.1/"}, "decimal"),
     ({"url": "https://hook.test/ä"}, "percent-encode"), ({"url": "hook.test"}, "//"), ({"method": "get"}, "GET"),
     ({"method": "CONNECT"}, "GET"), ({"headers": {"X": "a\nb"}}, "visible ASCII"),
     ({"headers": {"Host": "x"}}, "leave it out"),
     ({"headers": {"a": "1", "A": "2"}}, "once"), ({"headers": {"Idempotency-Key": "x"}}, "idempotency_key"),
     ({"idempotency_key": "a b"}, None), ({"idempotency_key": ""}, None), ({"timeout_ms": 0}, None),
     ({"preview_bytes": -1}, None),
     ({"preview_bytes": MOST_PREVIEW + 1}, None), ({"allow_hosts": ["127.0.0.1"]}, None), ({"egress": {}}, None),
     ({"headers": {"X": {"secret": "a b"}}}, None), ({"headers": {"X": {"secret": "a", "value": "hunter2"}}}, None),
     ({"headers": {"X": {"secret": "a", "prefix": "\r\n"}}}, None)],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused_with_the_cure_and_without_its_values(
    said: dict[str, Any], cure: str | None
) -> None:
    task = Connectors().http_request
    with pytest.raises(InvalidPayload, match=cure) as refused:
        task.dump({"url": "https://hook.test/"} | said)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["Authorization", "COOKIE", "X-Api-Key", "x-auth-token", "Proxy-Authorization"])
def test_a_credential_in_plain_text_is_refused(name: str) -> None:
    task = Connectors().http_request
    with pytest.raises(InvalidPayload) as refused:
        task.dump({"url": "https://hook.test/", "headers": {name: "Bearer hunter2"}})
    assert "hunter2" not in str(refused.value)
    assert "jobforge secrets set" in str(refused.value) or "not yours to set" in str(refused.value)


# -- what it sends ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "sent", "kind"),
    [(None, b"", None), ("text ä", "text ä".encode(), None), ("", b"", None), ({"a": [1, "ä"]},
     '{"a":[1,"ä"]}'.encode(), True),
     ([], b"[]", True), (0, b"0", True), (False, b"false", True)],
)  # fmt: skip
def test_a_text_is_sent_as_it_is_and_all_else_as_json(body: Any, sent: bytes, kind: bool | None) -> None:
    with Serving() as server:
        assert isinstance(perform(asked(server, method="POST", body=body), ground(), client(server)), HttpResponse)
        perform(asked(server, method="POST", body=body, headers={"content-type": "x/y"}), ground(), client(server))
    head, _, came = server.requests[0].partition(b"\r\n\r\n")
    assert came == sent
    assert (b"Content-Type: application/json" in head) == bool(kind)
    assert server.requests[1].lower().count(b"content-type") == 1


def test_a_secret_goes_out_in_its_header_and_the_key_in_its_own() -> None:
    with Serving() as server:
        bearer = SecretHeader(secret="api", prefix="Bearer ")
        request = asked(server, method="POST", headers={"Authorization": bearer}, idempotency_key="k-1")
        for _ in range(2):
            assert isinstance(perform(request, ground(TOKEN), client(server)), HttpResponse)
    for came in server.requests:
        assert f"\r\nAuthorization: Bearer {VALUE}\r\n".encode() in came
        assert b"\r\nIdempotency-Key: k-1\r\n" in came


@pytest.mark.parametrize(
    "hosts", [(), ("other.test",), ("evil-hook.test",), ("hook.test.other.test",), ("*.test.hook",)]
)
def test_a_secret_goes_to_its_hosts_only(hosts: tuple[str, ...]) -> None:
    with Serving() as server:
        request = asked(server, headers={"Authorization": {"secret": "api"}})
        with pytest.raises(Blocked, match=r"the secret api is not for hook\.test") as refused:
            perform(request, ground(Secret("api", (VALUE,), hosts)), client(server))
        assert "--host" in refused.value.cure
        with pytest.raises(SecretUnavailable, match="no secret api"):
            perform(request, ground(), client(server))
    assert server.requests == []


def test_a_secret_with_a_line_break_is_not_sent_and_not_shown() -> None:
    with Serving() as server:
        request = asked(server, headers={"X": {"secret": "api"}})
        with pytest.raises(Blocked) as refused:
            perform(request, ground(Secret("api", ("hunter2\r\nX: y",), ("hook.test",))), client(server))
    assert "hunter2" not in str(refused.value)


# -- what it keeps ---------------------------------------------------------------------


def test_the_result_says_what_came_and_hides_what_is_secret() -> None:
    body = json.dumps({"you": f"Bearer {VALUE}", "old": "the-one-before", "access_token": "abcdef12345", "n": 1})
    answer = status(201, "Set-Cookie: a=hunter2", "X-Mine: hunter2", "X-Echo: " + VALUE, "ETag: abc", body=body)
    request = {"headers": {"Authorization": {"secret": "api", "prefix": "Bearer "}}, "redact_headers": ["x-mine"]}
    kept = answered(answer, on=ground(TOKEN), **request)

    assert isinstance(kept, HttpResponse)
    assert (kept.status, kept.bytes, kept.truncated) == (201, len(body), False)
    assert kept.headers["etag"] == "abc"
    assert [kept.headers[name] for name in ("set-cookie", "x-mine", "x-echo")] == ["***", "***", "***"]
    assert '"n": 1' in kept.preview
    for secret in (VALUE, "the-one-before", "hunter2", "abcdef12345"):
        assert secret not in kept.model_dump_json()


@pytest.mark.parametrize(
    "said",
    [VALUE, json.dumps(VALUE), VALUE.replace("/", r"\/"), "s3cr3t%2Fof%2Bmine%3D%3D", "s3cr3t%2fof%2bmine%3d%3d",
     quote(VALUE), quote(quote(VALUE, safe="")), VALUE.replace("/", "&#x2F;"), VALUE.replace("=", r"\u003d"),
     json.dumps(json.dumps(VALUE.replace("/", r"\/"))), base64.b64encode(VALUE.encode()).decode()],
)  # fmt: skip
def test_a_secret_that_is_said_back_is_hidden_in_each_of_its_shapes(said: str) -> None:
    assert preview(f"you said {said}".encode(), 100, [VALUE]).startswith("you said ")
    assert said.strip('"') not in preview(f"you said {said}".encode(), 100, [VALUE])
    assert "s3cr" not in preview(f"{'x' * 95}{said} and more".encode(), 100, [VALUE])


@pytest.mark.parametrize("ahead", ["", "a", "ab", "Bearer "])
def test_a_secret_within_what_is_said_back_in_base64_is_hidden(ahead: str) -> None:
    for secret in (VALUE, "?>?>?>~~~tail", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            said = encode(f"{ahead}{secret} and more".encode()).decode()
            kept = preview(f"you said {said}".encode(), 100, [secret]).removeprefix("you said ")
            known = kept.split("***")[0], kept.split("***")[1]
            assert len(known[0]) <= len(ahead) * 8 / 6
            assert len(known[1]) <= len(base64.b64encode(b" and more")) + 2


def test_what_is_escaped_in_html_is_hidden_and_as_far_as_it_came() -> None:
    secret = "s3cr<t&'of\"mine"
    whole = html.escape(secret)
    assert preview(f"you said {whole}!".encode(), 100, [secret]) == "you said ***!"
    for length in range(6, len(whole)):
        assert preview(f"you said {whole[:length]}".encode(), 100, [secret]) == "you said ***"


@pytest.mark.parametrize("text", ["\\" * 300_000, "%25" * 100_000, "&amp;" * 60_000, "s3cr" * 70_000, "a" * 300_000])
def test_no_answer_makes_the_search_for_secrets_slow(text: str) -> None:
    began = time.monotonic()
    for secret in (VALUE, "\\" * 30, "&&&&&&&&", "%%%%%%%%", "a" * 30):
        preview(text.encode(), MOST_PREVIEW, [secret])
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("length", [4, 9, len(VALUE) - 1])
def test_a_secret_that_a_body_was_cut_in_is_hidden_as_far_as_it_came(length: int) -> None:
    assert preview(f"you said {VALUE[:length]}".encode(), 100, [VALUE]) == "you said ***"


def test_only_the_headers_that_are_wanted_are_kept() -> None:
    answer = status(200, *(f"X-{number}: {'y' * 1000}" for number in range(60)))
    kept = answered(answer, response_headers=["X-7", "x-8", "nothing"])
    assert isinstance(kept, HttpResponse)
    assert list(kept.headers) == ["x-7", "x-8"]
    everything = answered(answer)
    assert isinstance(everything, HttpResponse)
    assert len(everything.headers) == 50
    assert max(map(len, everything.headers.values())) <= 500


@pytest.mark.parametrize(
    "body",
    [b"\x00\xff\x1b[31m" * 30_000, b"\xed\xb2\x80" * 40_000, b'"' * 120_000],
    ids=["controls", "half pairs", "quotes"],
)
def test_whatever_comes_can_be_stored(body: bytes) -> None:
    headers = "".join(f"X-{number}: {'ÿ' * 600}\r\n" for number in range(60)).encode("latin-1")
    answer = b"HTTP/1.1 200 OK\r\n" + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body
    kept = answered(answer, preview_bytes=MOST_PREVIEW)
    assert isinstance(kept, HttpResponse)
    assert kept.bytes == len(body)
    assert len(kept.preview) == MOST_PREVIEW
    end = ending.of_value(kept)
    assert end.outcome == "succeeded", end.error
    assert "\\u0000" not in str(end.result)
    assert "\x1b" not in kept.preview


def test_a_preview_of_nothing_is_nothing() -> None:
    kept = answered(OK, preview_bytes=0)
    assert isinstance(kept, HttpResponse)
    assert (kept.preview, kept.bytes) == ("", 2)


# -- when it comes again ---------------------------------------------------------------


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504, 599])
def test_trouble_on_the_other_side_is_tried_again_where_that_is_safe(code: int) -> None:
    for method in IDEMPOTENT:
        assert isinstance(answered(status(code), method=method), Retry)
    for method in OTHERS:
        assert isinstance(answered(status(code), method=method, idempotency_key="k"), Retry)
        once = answered(status(code), method=method)
        assert isinstance(once, Discard)
        assert f"answered {code}" in str(once)
        assert "idempotency_key" in str(once)


@pytest.mark.parametrize("code", [300, 301, 302, 307, 400, 401, 403, 404, 408, 409, 410, 422])
def test_what_would_not_change_is_final_and_says_what_came(code: int) -> None:
    for method in (*IDEMPOTENT, *OTHERS):
        over = answered(status(code, body="no such thing; token=hunter2hunter2"), method=method, idempotency_key="k")
        assert isinstance(over, Discard)
        assert f"answered {code}" in str(over)
        assert "hunter2" not in str(over)
        assert ("no such thing" in str(over)) or method == "HEAD"
        assert ("not followed" in str(over)) == (code < 400)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [(["Retry-After: 120"], 120), (["Retry-After: 0"], 1), (["Retry-After: 999999999"], 86_400), ([], None),
     (["Retry-After: soon"], None), (["Retry-After: -5"], None), (["Retry-After: 1.5"], None),
     (["Retry-After: 12345678901"], 86_400),
     (["Date: Sun, 01 Mar 2015 12:00:00 GMT", "Retry-After: Sun, 01 Mar 2015 11:00:00 +99999999999999"], None),
     (["Date: Sun, 01 Mar 2015 12:00:00 GMT", "Retry-After: Sun, 01 Mar 99999999999999999999 11:00:00 GMT"], None),
     (["Date: Sun, 01 Mar 2015 12:00:00 GMT", "Retry-After: Sun, 01 Mar 2015 12:01:30 GMT"], 90),
     (["Date: Sun, 01 Mar 2015 12:00:00 GMT", "Retry-After: Sun, 01 Mar 2015 11:00:00 GMT"], 1),
     (["Date: Sun, 01 Mar 2015 12:00:00 GMT", "Retry-After: Sun, 01 Mar 9999 11:00:00 GMT"], 86_400),
     (["Retry-After: Sun, 01 Mar 2015 11:00:00 GMT"], None),
     (["Date: x", "Retry-After: Sun, 01 Mar 2015 11:00:00 GMT"], None),
     (["Date: Sun, 99 Mar 2015 12:00:00 GMT", "Retry-After: Sun, 01 Mar 99999 11:00:00 GMT"], None)],
)  # fmt: skip
def test_it_comes_again_when_it_is_asked_to(headers: list[str], seconds: int | None) -> None:
    again = answered(status(503, *headers))
    assert isinstance(again, Retry)
    assert again.after == (None if seconds is None else dt.timedelta(seconds=seconds))


def test_a_request_that_did_not_leave_is_tried_again_whatever_it_is() -> None:
    with closed_port() as port:
        for method in (*IDEMPOTENT, *OTHERS):
            request = HttpRequest.model_validate({"url": url(port, path="/hunter2"), "method": method})
            again = perform(request, ground(), client(port))
            assert isinstance(again, Retry)
            assert "nobody answers" in str(again)
            assert "hunter2" not in str(again)


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
def test_a_request_that_left_without_an_answer_is_tried_again_where_that_is_safe(answer: bytes) -> None:
    assert isinstance(answered(answer, method="PUT"), Retry)
    assert isinstance(answered(answer, method="POST", idempotency_key="k"), Retry)
    over = answered(answer, method="POST")
    assert isinstance(over, Discard)
    assert "is not sent twice" in str(over)
    assert "jobforge replay" in str(over)


@pytest.mark.parametrize("broken", ["send", "judge"])
def test_whatever_fails_behind_a_request_it_is_not_sent_twice(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError(VALUE)

    place = "jobforge_sa.egress.client._read" if broken == "send" else "jobforge_sa.handlers.answer.preview"
    monkeypatch.setattr(place, fails)
    over = answered(OK, method="POST")
    assert isinstance(over, Discard)
    assert "RuntimeError" in str(over)
    assert VALUE not in str(over)
    with pytest.raises(RuntimeError):
        answered(OK, method="POST", idempotency_key="k")


def test_a_number_that_cannot_be_written_down_is_final() -> None:
    with Serving() as server:
        request = HttpRequest.model_validate_json(f'{{"url": "{url(server)}", "method": "PUT", "body": [1e400]}}')
        assert isinstance(perform(request, ground(), client(server)), Discard)
        assert server.requests == []


def test_behind_a_run_that_nobody_heard_of_a_post_is_not_sent() -> None:
    with Serving() as server:
        over = perform(asked(server, method="POST"), ground(unsure=True), client(server))
        assert isinstance(over, Discard)
        assert "lost or stopped" in str(over)
        assert server.requests == []
        for safe in ({"method": "POST", "idempotency_key": "k"}, {"method": "DELETE"}):
            assert isinstance(perform(asked(server, **safe), ground(unsure=True), client(server)), HttpResponse)
    assert len(server.requests) == 2


def test_it_ends_before_its_run_does() -> None:
    def silent(_: socket.socket) -> None:
        server.quit.wait(20)

    with Serving(silent) as server:
        started = time.monotonic()
        again = perform(asked(server), ground(), client(server), dt.timedelta(seconds=0.2))
        assert isinstance(again, Retry)
        assert "within 0.2 s" in str(again)
        assert isinstance(perform(asked(server, timeout_ms=200), ground(), client(server)), Retry)
        assert time.monotonic() - started < 4
        assert isinstance(perform(asked(server), ground(), client(server), dt.timedelta(0)), Retry)
    assert len(server.requests) == 2
