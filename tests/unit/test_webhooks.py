"""Webhooks: who signs and who verifies agree, with each other and with the package that Standard Webhooks gives."""

from __future__ import annotations

import base64
import datetime as dt
import json
import threading
import time
from collections.abc import Mapping

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from jobforge_sa import webhooks
from jobforge_sa.errors import (
    ConfigurationError,
    SignatureWrong,
    TimestampWrong,
    WebhookRejected,
    WebhookReplayed,
)
from jobforge_sa.webhooks import PREFIX, ReplayWindow, new_secret, sign, verify

OLD = PREFIX + base64.b64encode(b"old-old-old-old-old-old-old!").decode()
NEW = PREFIX + base64.b64encode(b"new-new-new-new-new-new-new!").decode()
OTHER = PREFIX + base64.b64encode(b"someone-else's-own-secret!!!").decode()
EVENT = "0190d3a2-7b9c-7e42-9d44-2c6bd7a1f0aa"
BODY = json.dumps({"event_id": EVENT, "data": {"text": "näh … 🚲"}}, ensure_ascii=False).encode()
NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
AT = int(NOW.timestamp())
STANDARD = ("webhook-id", "webhook-timestamp", "webhook-signature")
OURS = ("X-JobForge-Event-ID", "X-JobForge-Timestamp", "X-JobForge-Signature")


def family(headers: Mapping[str, str], names: tuple[str, str, str]) -> dict[str, str]:
    return {name: headers[name] for name in names}


# -- signing ---------------------------------------------------------------------------


def test_the_headers_are_standard_webhooks_and_the_seeds() -> None:
    headers = sign([NEW, OLD], EVENT, NOW, BODY, event_type="order.paid", attempt=3)

    assert list(headers) == [
        *STANDARD, "X-JobForge-Event", "X-JobForge-Event-ID", "X-JobForge-Timestamp",
        "X-JobForge-Delivery-Attempt", "X-JobForge-Signature",
    ]  # fmt: skip
    assert headers["webhook-id"] == headers["X-JobForge-Event-ID"] == EVENT
    assert headers["webhook-timestamp"] == headers["X-JobForge-Timestamp"] == str(AT)
    assert (headers["X-JobForge-Event"], headers["X-JobForge-Delivery-Attempt"]) == ("order.paid", "3")
    standard = [base64.b64decode(one.removeprefix("v1,")) for one in headers["webhook-signature"].split(" ")]
    ours = [bytes.fromhex(one.removeprefix("sha256=")) for one in headers["X-JobForge-Signature"].split(", ")]
    assert standard == ours
    assert [len(mac) for mac in ours] == [32, 32]


def test_the_signature_is_the_one_that_standard_webhooks_publishes() -> None:
    """The example of its specification."""
    headers = sign(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_package_of_standard_webhooks_verifies_what_we_sign() -> None:
    headers = sign([NEW, OLD], EVENT, int(time.time()), BODY)
    assert Webhook(NEW).verify(BODY, headers) == Webhook(OLD).verify(BODY, headers) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(BODY, headers)


def test_we_verify_what_the_package_of_standard_webhooks_signs() -> None:
    signature = Webhook(NEW).sign(EVENT, NOW, BODY.decode())
    headers = {"webhook-id": EVENT, "webhook-timestamp": str(AT), "webhook-signature": signature}
    assert verify(headers, BODY, [OLD, NEW], now=NOW).event_id == EVENT
    assert sign([NEW], EVENT, NOW, BODY)["webhook-signature"] == signature


@pytest.mark.parametrize(
    ("event_id", "timestamp", "event_type"),
    [("", AT, ""), ("a.1", AT, ""), ("a b", AT, ""), ("a\n", AT, ""), ("x" * 201, AT, ""), ("ä", AT, ""),
     (EVENT, -1, ""), (EVENT, 10**11, ""), (EVENT, NOW.replace(tzinfo=None), ""), (EVENT, AT, "a\r\nb"),
     (EVENT, AT, "a b"), (EVENT, AT, "x" * 201)],
)  # fmt: skip
def test_what_cannot_be_signed_safely_is_refused(event_id: str, timestamp: int | dt.datetime, event_type: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        sign([NEW], event_id, timestamp, BODY, event_type=event_type)
    assert refused.value.cure


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "hunter2", base64.b64encode(b"x" * 32).decode(), "whsec_" + base64.b64encode(b"x" * 23).decode(),
     "whsec_" + base64.b64encode(b"x" * 65).decode(), "whsec_not*base64*at*all*not*base64*at*all",
     "whsec_ä" + "a" * 40],
)  # fmt: skip
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        sign([NEW, secret], EVENT, AT, BODY)
    rest = secret.removeprefix(PREFIX)
    assert not rest or rest not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_new_secret_is_random_and_works_with_and_without_its_padding() -> None:
    secret = new_secret()
    assert secret != new_secret()
    assert len(webhooks.key_of(secret)) == 32
    assert webhooks.key_of(secret.rstrip("=")) == webhooks.key_of(secret)


@pytest.mark.parametrize("secrets", [[], [NEW] * 9, NEW], ids=["none", "nine", "a bare text"])
def test_secrets_are_a_list_of_one_to_eight(secrets: list[str]) -> None:
    for call in (lambda: sign(secrets, EVENT, AT, BODY), lambda: verify({}, BODY, secrets)):
        with pytest.raises(ConfigurationError, match="1 to 8 secrets"):
            call()


# -- verifying -------------------------------------------------------------------------


@pytest.mark.parametrize("names", [STANDARD, OURS], ids=["standard", "ours"])
def test_either_family_of_headers_is_enough(names: tuple[str, str, str]) -> None:
    headers = family(sign([NEW], EVENT, NOW, BODY), names)
    for shown in (headers, {name.upper(): value for name, value in headers.items()}):
        received = verify(shown, BODY, [NEW], now=NOW)
        assert (received.event_id, received.sent_at) == (EVENT, NOW)


@pytest.mark.parametrize("names", [STANDARD, OURS], ids=["standard", "ours"])
def test_while_a_secret_is_replaced_each_of_the_two_sides_may_be_first(names: tuple[str, str, str]) -> None:
    def signed(*secrets: str) -> dict[str, str]:
        return family(sign(secrets, EVENT, NOW, BODY), names)

    for sender, receiver in (([OLD], [OLD]), ([NEW, OLD], [OLD]), ([NEW, OLD], [OLD, NEW]), ([NEW], [OLD, NEW])):
        assert verify(signed(*sender), BODY, receiver, now=NOW).event_id == EVENT
    for sender, receiver in (([NEW], [OLD]), ([OLD], [NEW]), ([NEW, OLD], [OTHER])):
        with pytest.raises(SignatureWrong):
            verify(signed(*sender), BODY, receiver, now=NOW)


@pytest.mark.parametrize("names", [STANDARD, OURS], ids=["standard", "ours"])
@pytest.mark.parametrize(
    ("part", "instead"),
    [(0, EVENT[:-1] + "b"), (1, str(AT + 1)), (1, "0" + str(AT)), (2, ""), (2, "v1,"), (2, "sha256="),
     (2, "v1,ä\udc80"), (2, "v2,REST"), (2, "REST")],
)  # fmt: skip
def test_a_header_that_was_changed_is_refused(names: tuple[str, str, str], part: int, instead: str) -> None:
    headers = family(sign([NEW], EVENT, NOW, BODY), names)
    rest = headers[names[2]].replace("sha256=", "").removeprefix("v1,")
    headers[names[part]] = instead.replace("REST", rest)
    with pytest.raises(WebhookRejected):
        verify(headers, BODY, [NEW], now=NOW)


@pytest.mark.parametrize(
    "body", [BODY + b" ", BODY[:-1], b"", BODY.replace(b"n", b"N"), json.dumps(json.loads(BODY)).encode()]
)
def test_a_body_that_was_changed_is_refused(body: bytes) -> None:
    with pytest.raises(SignatureWrong) as refused:
        verify(sign([NEW], EVENT, NOW, BODY), body, [NEW], now=NOW)
    assert "bytes that came" in refused.value.cure


def test_parts_cannot_be_moved_between_id_time_and_body() -> None:
    """With a dot in the id "a.1", "2" and "a", "1.2" would be signed alike."""
    text = f"a.{AT}.{AT}.".encode() + BODY
    mac = webhooks._mac(webhooks.key_of(NEW), "a", AT, text.removeprefix(f"a.{AT}.".encode()))
    moved = {"webhook-id": f"a.{AT}", "webhook-timestamp": str(AT), "webhook-signature": webhooks._standard(mac)}
    Webhook(NEW).sign(f"a.{AT}", NOW, BODY.decode())  # which others accept
    with pytest.raises(WebhookRejected, match="no event's id"):
        verify(moved, BODY, [NEW], now=NOW)


def test_headers_of_two_families_are_not_mixed() -> None:
    headers = sign([NEW], EVENT, NOW, BODY)
    mixed = {
        "webhook-id": "another",
        "webhook-timestamp": str(AT),
        "X-JobForge-Signature": headers["X-JobForge-Signature"],
    }
    with pytest.raises(WebhookRejected, match="missing"):
        verify(mixed, BODY, [NEW], now=NOW)


@pytest.mark.parametrize("missing", STANDARD)
def test_a_header_that_is_missing_is_named(missing: str) -> None:
    headers = family(sign([NEW], EVENT, NOW, BODY), STANDARD)
    del headers[missing]
    with pytest.raises(WebhookRejected, match="is missing"):
        verify(headers, BODY, [NEW], now=NOW)


def test_a_header_that_came_twice_with_two_values_is_refused() -> None:
    headers = sign([NEW], EVENT, NOW, BODY)
    with pytest.raises(WebhookRejected, match="webhook-id came twice"):
        verify({**headers, "Webhook-Id": "another"}, BODY, [NEW], now=NOW)
    assert verify({**headers, "Webhook-Id": EVENT}, BODY, [NEW], now=NOW).event_id == EVENT


def test_a_flood_of_signatures_costs_nothing() -> None:
    headers = family(sign([NEW], EVENT, NOW, BODY), STANDARD)
    headers["webhook-signature"] = "v1,AAAA " * 100_000 + headers["webhook-signature"]
    started = time.perf_counter()
    with pytest.raises(WebhookRejected, match="2000 characters"):
        verify(headers, BODY, [NEW], now=NOW)
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("time_sent", ["", " ", "-5", "1e9", "1_0", "٠١", "99999999999999", "nan", f" {AT}", f"{AT}.0"])
def test_a_time_is_a_plain_number(time_sent: str) -> None:
    headers = {**sign([NEW], EVENT, NOW, BODY), "webhook-timestamp": time_sent}
    with pytest.raises(WebhookRejected):
        verify(headers, BODY, [NEW], now=NOW)


def test_a_text_is_no_body() -> None:
    with pytest.raises(ConfigurationError, match="bytes"):
        verify(sign([NEW], EVENT, NOW, BODY), BODY.decode(), [NEW], now=NOW)  # type: ignore[arg-type]


# -- clocks ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("off", "good"),
    [(0, True), (300, True), (-300, True), (301, False), (-301, False), (86400, False), (-86400, False)],
)
def test_a_clock_may_be_five_minutes_off_into_both_directions(off: int, good: bool) -> None:
    headers = sign([NEW], EVENT, AT + off, BODY)
    if good:
        assert verify(headers, BODY, [NEW], now=NOW).sent_at.timestamp() == AT + off
        return
    with pytest.raises(TimestampWrong, match="of the future" if off > 0 else "s old"):
        verify(headers, BODY, [NEW], now=NOW)
    assert verify(headers, BODY, [NEW], now=NOW, tolerance=dt.timedelta(days=2)).event_id == EVENT


def test_the_default_clock_is_the_machines() -> None:
    assert verify(sign([NEW], EVENT, int(time.time()), BODY), BODY, [NEW]).event_id == EVENT
    with pytest.raises(TimestampWrong):
        verify(sign([NEW], EVENT, int(time.time()) - 400, BODY), BODY, [NEW])
    with pytest.raises(ConfigurationError, match="time zone"):
        verify(sign([NEW], EVENT, NOW, BODY), BODY, [NEW], now=NOW.replace(tzinfo=None))


def test_who_forges_does_not_learn_of_the_clock() -> None:
    with pytest.raises(SignatureWrong):
        verify(sign([OTHER], EVENT, AT - 86400, BODY), BODY, [NEW], now=NOW)


# -- replays ---------------------------------------------------------------------------


def test_what_came_before_is_refused_and_a_fresh_delivery_of_the_event_is_not() -> None:
    window = ReplayWindow()
    headers = sign([NEW], EVENT, NOW, BODY)
    assert verify(headers, BODY, [NEW], now=NOW, seen=window.seen).event_id == EVENT
    for again in (headers, family(headers, OURS), {**headers, "X-JobForge-Delivery-Attempt": "2"}):
        with pytest.raises(WebhookReplayed):
            verify(again, BODY, [NEW], now=NOW, seen=window.seen)
    later = NOW + dt.timedelta(seconds=1)
    assert (
        verify(sign([NEW], EVENT, later, BODY, attempt=2), BODY, [NEW], now=later, seen=window.seen).event_id == EVENT
    )


def test_only_what_is_signed_is_remembered() -> None:
    window = ReplayWindow()
    for headers in (sign([OTHER], EVENT, NOW, BODY), sign([NEW], EVENT, AT - 301, BODY)):
        with pytest.raises(WebhookRejected):
            verify(headers, BODY, [NEW], now=NOW, seen=window.seen)
    assert len(window) == 0


def test_a_receiver_that_could_not_store_it_lets_it_come_again() -> None:
    window = ReplayWindow()
    assert [window.seen("a", AT), window.seen("a", AT)] == [False, True]
    window.forget("a", AT)
    window.forget("never came", AT)
    assert [window.seen("a", AT), window.seen("a", AT)] == [False, True]


def test_the_window_forgets_what_verify_would_not_accept_any_more() -> None:
    clock = [0.0]
    window = ReplayWindow(span=dt.timedelta(minutes=10), clock=lambda: clock[0])
    assert not window.seen("a", AT)
    clock[0] = 599.0
    assert window.seen("a", AT)
    clock[0] = 600.0
    assert not window.seen("b", AT + 600)
    assert len(window) == 1


def test_a_full_window_stays_small_and_lets_nothing_in_again() -> None:
    window = ReplayWindow(size=10)
    assert not any(window.seen(f"e{number}", AT + number) for number in range(1000))
    assert len(window) == 10
    assert all(window.seen(f"e{number}", AT + number) for number in range(1000))
    assert not window.seen("new", AT + 1000)


def test_of_many_threads_with_the_same_delivery_one_gets_through() -> None:
    window, answers = ReplayWindow(), list[bool]()
    together = threading.Barrier(16)

    def deliver() -> None:
        together.wait()
        answers.append(window.seen("a", AT))

    threads = [threading.Thread(target=deliver) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False, *[True] * 15]


@pytest.mark.parametrize(("size", "span"), [(0, 600), (-1, 600), (1, 0), (1, -5)])
def test_a_window_without_a_size_or_a_span_is_refused(size: int, span: int) -> None:
    with pytest.raises(ConfigurationError):
        ReplayWindow(size, dt.timedelta(seconds=span))
