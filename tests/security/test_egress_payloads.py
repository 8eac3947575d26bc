"""Cases 122 and 124: what a payload may not say, and what a webhook's signature holds (docs/security-cases.md)."""

from __future__ import annotations

import datetime as dt
import hmac
from typing import Any

import pytest

from jobforge_sa.errors import InvalidPayload, SecretUnavailable, SignatureWrong, TimestampWrong, WebhookReplayed
from jobforge_sa.handlers import Connectors
from jobforge_sa.handlers.ground import Ground, Means
from jobforge_sa.handlers.http_request import HttpRequest, perform
from jobforge_sa.webhooks import ReplayWindow, new_secret, sign, verify
from tests.security.egress_server import Serving, client, url

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
REQUEST = {"url": "https://hook.test/"}
WEBHOOK = {"target_url": "https://hook.test/", "event_type": "order.paid", "secret_ref": "hooks"}


@pytest.mark.parametrize(
    "name",
    ["allow_hosts", "deny_hosts", "allow_networks", "schemes", "ports", "egress", "config", "resolve", "connect",
     "verify", "proxy", "follow_redirects", "secrets", "secret_value", "hosts", "max_bytes"],
)  # fmt: skip
def test_case_122_no_payload_says_where_it_may_go(name: str) -> None:
    connectors = Connectors()
    for task, good in ((connectors.http_request, REQUEST), (connectors.webhook, WEBHOOK)):
        assert task.dump(good)
        for value in (["127.0.0.0/8"], True, "x"):
            with pytest.raises(InvalidPayload, match=name):
                task.dump(good | {name: value})


@pytest.mark.parametrize("name", ["PATH", "HOME", "JOBFORGE_SECRET_KEYS", "env:PATH", "AWS_SECRET_ACCESS_KEY"])
def test_case_122_a_secrets_name_names_nothing_of_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name.removeprefix("env:"), "hunter2")
    request = HttpRequest.model_validate(REQUEST | {"headers": {"Authorization": {"secret": name}}})
    with pytest.raises(SecretUnavailable) as refused:
        perform(request, Ground({}, {}, NOW), Means().client(Ground({}, {}, NOW)))
    assert "hunter2" not in str(refused.value)


def test_case_122_headers_and_bodies_that_look_like_settings_are_sent_as_what_they_are() -> None:
    said: dict[str, Any] = {
        "headers": {"X-Allow-Networks": "127.0.0.0/8"},
        "body": {"allow_hosts": ["*"]},
        "method": "PUT",
    }
    with Serving() as server:
        request = HttpRequest.model_validate({"url": url(server), "method": "PUT"} | said)
        closed = client(server, allow_networks=())
        with pytest.raises(ValueError, match="not reached from here"):
            perform(request, Ground({}, {}, NOW), closed)
    assert server.requests == []


def test_case_124_a_signature_is_of_id_time_and_body_and_is_good_once_and_for_five_minutes() -> None:
    secret, window, body = new_secret(), ReplayWindow(), b'{"n": 1}'
    headers = sign([secret], "e-1", NOW, body)
    late, early = NOW + dt.timedelta(seconds=301), NOW - dt.timedelta(seconds=301)
    for changed, text in (
        ({}, body + b" "),
        ({"webhook-id": "e-2"}, body),
        ({"webhook-timestamp": "1772366401"}, body),
    ):
        with pytest.raises(SignatureWrong):
            verify(headers | changed, text, [secret], now=NOW)
    with pytest.raises(SignatureWrong):
        verify(headers, body, [new_secret()], now=NOW)
    for now in (late, early):
        with pytest.raises(TimestampWrong):
            verify(headers, body, [secret], now=now)
    assert verify(headers, body, [new_secret(), secret], now=NOW, seen=window.seen).event_id == "e-1"
    with pytest.raises(WebhookReplayed):
        verify(headers, body, [secret], now=NOW, seen=window.seen)


def test_case_124_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the given with each of ours, whichever fits: nothing ends early."""
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    secrets = [new_secret() for _ in range(3)]
    for right in secrets:
        compared.clear()
        verify(sign([new_secret(), right], "e-1", NOW, b""), b"", secrets, now=NOW)
        assert len(compared) == 6
