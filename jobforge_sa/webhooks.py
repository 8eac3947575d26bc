"""Webhooks as they are signed and verified: Standard Webhooks' headers, and X-JobForge-* beside them.

For the sender, and for who receives them: this module needs the standard library only.

>>> received = verify(request.headers, request.body, [secret], seen=window.seen)
>>> store(received.event_id, json.loads(request.body))
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import heapq
import hmac
import re
import secrets as random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobforge_sa.errors import ConfigurationError, SignatureWrong, TimestampWrong, WebhookRejected, WebhookReplayed

PREFIX = "whsec_"
TOLERANCE = dt.timedelta(minutes=5)
SECRET_BYTES = (24, 64)  # Standard Webhooks' own bounds
MAX_SECRETS = 8  # what a sender signs with and a receiver holds: more are a mistake, and each costs a hash of the body
MAX_HEADER = 2000  # characters of a signature header; eight signatures have 600

# No dot in it: "a.1" + "." + "2" and "a" + "." + "1.2" would be one signed text with two meanings.
_EVENT_ID = re.compile(r"[A-Za-z0-9_:-]{1,200}")
_EVENT_TYPE = re.compile(r"[!-~]{0,200}")
# int() would take other alphabets' digits, blanks and underscores, too, and zeros in front are another text
_SECONDS = re.compile(r"0|[1-9][0-9]{0,10}")

# id, timestamp, signature; the second family has the same signed text, in hexadecimal
_STANDARD = ("webhook-id", "webhook-timestamp", "webhook-signature")
_OURS = ("x-jobforge-event-id", "x-jobforge-timestamp", "x-jobforge-signature")


@dataclass(frozen=True, slots=True)
class Received:
    """A webhook whose signature holds.

    Attributes:
        event_id: The same for each delivery of one event: what the receiver recognises repetitions by.
        sent_at: When this delivery was signed; another one of the same event has another time.
    """

    event_id: str
    sent_at: dt.datetime


def new_secret() -> str:
    """A new random secret of 32 bytes: `whsec_` and base64."""
    return PREFIX + base64.b64encode(random.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The bytes that a secret's text stands for.

    Raises:
        ConfigurationError: it is no secret. The message does not hold it.
    """
    cure = "write whsec_ and 24 to 64 bytes in base64, as jobforge_sa.webhooks.new_secret() makes them"
    if not secret.startswith(PREFIX):
        raise ConfigurationError("a webhook's secret begins with whsec_", cure=cure)
    text = secret.removeprefix(PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError("what follows whsec_ is no base64", cure=cure) from None  # the cause quotes it
    if not SECRET_BYTES[0] <= len(key) <= SECRET_BYTES[1]:
        raise ConfigurationError(f"the webhook's secret has {len(key)} bytes", cure=cure)
    return key


def sign(
    secrets: Sequence[str], event_id: str, timestamp: int | dt.datetime, body: bytes, *,
    event_type: str = "", attempt: int = 1,
) -> dict[str, str]:  # fmt: skip
    """The headers of one delivery.

    Args:
        secrets: `whsec_...`; two while one is replaced: a receiver with either of them accepts it.
        event_id: 1 to 200 of A-Z a-z 0-9 _ : -, the same for each delivery of one event.
        timestamp: When it is sent: Unix seconds, or an aware datetime. Another one for each delivery.
        body: The bytes that are sent.
        event_type: For the header X-JobForge-Event. It is not signed; receivers read it in the body.
        attempt: For X-JobForge-Delivery-Attempt; not signed either.

    Raises:
        ConfigurationError: one of them cannot work.
    """
    seconds = _seconds_of(timestamp)
    keys = _keys(secrets)
    if not _EVENT_ID.fullmatch(event_id):
        raise ConfigurationError(f"{event_id[:50]!r} is no event's id", cure="use 1 to 200 of A-Z a-z 0-9 _ : -")
    if not _EVENT_TYPE.fullmatch(event_type):
        raise ConfigurationError(f"{event_type[:50]!r} is no event's type", cure="use 200 visible ASCII characters")
    macs = [_mac(key, event_id, seconds, body) for key in keys]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(map(_standard, macs)),
        "X-JobForge-Event": event_type,
        "X-JobForge-Event-ID": event_id,
        "X-JobForge-Timestamp": str(seconds),
        "X-JobForge-Delivery-Attempt": str(attempt),
        "X-JobForge-Signature": ", ".join(map(_ours, macs)),
    }


def verify(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[str], *,
    tolerance: dt.timedelta = TOLERANCE, now: dt.datetime | None = None,
    seen: Callable[[str, int], bool] | None = None,
) -> Received:  # fmt: skip
    """Whether a request is a webhook of the sender's: its signature, its time, and whether it came before.

    The signatures are compared in constant time, each with each secret. A receiver answers 2xx once it has stored the
    event, and recognises a repeated delivery by `event_id`: a sender that got no answer sends again, freshly signed.

    Args:
        headers: Of the request, by name; capitals do not matter. Standard Webhooks', or X-JobForge-*.
        body: The bytes that came, before anything parses them.
        secrets: The receiver's; two while one is replaced.
        tolerance: How far the sender's clock and the way may be off, into both directions.
        now: The time, aware; default: the machine's.
        seen: Says of an event's id and Unix time whether this delivery came before, and notes it: `ReplayWindow.seen`,
            or a table that all receivers share. Asked last, of webhooks whose signature holds.

    Raises:
        SignatureWrong, TimestampWrong, WebhookReplayed: as they say.
        WebhookRejected: a header is missing or cannot be read.
        ConfigurationError: the secrets or the body cannot be what they should.
    """
    keys = _keys(secrets)
    if not isinstance(body, bytes | bytearray | memoryview):
        raise ConfigurationError(f"a body is bytes, not {type(body).__name__}", cure="pass the bytes as they came")
    event_id, seconds, signatures, written = _read(headers)
    if not _any_equal(signatures, [written(_mac(key, event_id, seconds, bytes(body))) for key in keys]):
        raise SignatureWrong("no secret of this receiver made the webhook's signature")
    _in_time(seconds, tolerance, now)
    if seen is not None and seen(event_id, seconds):
        raise WebhookReplayed(f"the webhook {event_id} of {seconds} came before")
    return Received(event_id, dt.datetime.fromtimestamp(seconds, dt.UTC))


class ReplayWindow:
    """Remembers deliveries, in the memory of one process: what `verify(seen=window.seen)` asks. Safe for threads.

    Several processes need a table that they share: a primary key over event_id and timestamp does it. Where it is full,
    the oldest go, and whatever is as old as those counts as seen from then on: it forgets nothing that it would let in.

    Args:
        size: How many deliveries at most; 100,000 take some 20 MB.
        span: How long each is kept. As long as `verify` accepts one: twice its tolerance, at least.
        clock: Seconds, for tests.
    """

    def __init__(
        self, size: int = 100_000, span: dt.timedelta = 2 * TOLERANCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if size < 1 or span <= dt.timedelta(0):
            raise ConfigurationError("a replay window has a size and a span", cure="leave them out")
        self._size, self._span, self._clock = size, span.total_seconds(), clock
        self._until: dict[tuple[str, int], float] = {}
        self._by_age: list[tuple[int, str]] = []  # a heap: the oldest timestamp first
        self._floor = -1  # what is not younger counts as seen
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._until)

    def seen(self, event_id: str, timestamp: int) -> bool:
        """Whether this delivery came before. It has, from now on."""
        with self._lock:
            self._expire()
            if timestamp <= self._floor or (event_id, timestamp) in self._until:
                return True
            self._until[event_id, timestamp] = self._clock() + self._span
            heapq.heappush(self._by_age, (timestamp, event_id))
            while len(self._until) > self._size:
                self._floor = max(self._floor, self._drop_oldest())
            return False

    def forget(self, event_id: str, timestamp: int) -> None:
        """Let this delivery come again: for a receiver that could not store it after all."""
        with self._lock:
            if self._until.pop((event_id, timestamp), None) is not None:
                self._by_age.remove((timestamp, event_id))
                heapq.heapify(self._by_age)

    def _expire(self) -> None:
        now = self._clock()
        while self._by_age:
            timestamp, event_id = self._by_age[0]
            if self._until[event_id, timestamp] > now:
                return
            self._drop_oldest()

    def _drop_oldest(self) -> int:
        timestamp, event_id = heapq.heappop(self._by_age)
        del self._until[event_id, timestamp]
        return timestamp


def _keys(secrets: Sequence[str]) -> list[bytes]:
    if isinstance(secrets, str) or not 1 <= len(secrets) <= MAX_SECRETS:
        raise ConfigurationError(f"a webhook has 1 to {MAX_SECRETS} secrets, in a list", cure="pass [secret]")
    return [key_of(secret) for secret in secrets]


def _seconds_of(timestamp: int | dt.datetime) -> int:
    if isinstance(timestamp, dt.datetime):
        if timestamp.tzinfo is None:
            raise ConfigurationError("the timestamp has no time zone", cure="pass an aware datetime, or Unix seconds")
        timestamp = int(timestamp.timestamp())
    if not 0 <= timestamp < 10**11:
        raise ConfigurationError(f"{timestamp} is no time in Unix seconds", cure="pass int(time.time())")
    return timestamp


def _mac(key: bytes, event_id: str, seconds: int, body: bytes) -> bytes:
    mac = hmac.new(key, f"{event_id}.{seconds}.".encode(), hashlib.sha256)
    mac.update(body)
    return mac.digest()


def _standard(mac: bytes) -> str:
    return "v1," + base64.b64encode(mac).decode()


def _ours(mac: bytes) -> str:
    return "sha256=" + mac.hex()


def _read(headers: Mapping[str, str]) -> tuple[str, int, list[str], Callable[[bytes], str]]:
    """Id, time and signatures, all of one family of headers, and how that family writes a signature."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if found.setdefault(lower, value) != value and lower in (*_STANDARD, *_OURS):
            raise WebhookRejected(f"the header {lower} came twice")
    family, separator, written = (_STANDARD, " ", _standard) if _STANDARD[2] in found else (_OURS, ",", _ours)
    if missing := [name for name in family if not found.get(name)]:
        raise WebhookRejected(f"the header {missing[0]} is missing")
    event_id, seconds, signature = (found[name] for name in family)
    if not _EVENT_ID.fullmatch(event_id):
        raise WebhookRejected(f"the header {family[0]} holds no event's id")
    if not _SECONDS.fullmatch(seconds):
        raise WebhookRejected(f"the header {family[1]} holds no Unix time")
    if len(signature) > MAX_HEADER:
        raise WebhookRejected(f"the header {family[2]} has more than {MAX_HEADER} characters")
    return event_id, int(seconds), [one.strip() for one in signature.split(separator)], written


def _any_equal(given: Iterable[str], right: Sequence[str]) -> bool:
    """Whether one is equal, told in the same time whichever it is."""
    expected = [one.encode() for one in right]
    found = False
    for one in given:
        for other in expected:
            found |= hmac.compare_digest(one.encode(errors="replace"), other)
    return found


def _in_time(seconds: int, tolerance: dt.timedelta, now: dt.datetime | None) -> None:
    current = time.time() if now is None else _aware(now).timestamp()
    off = seconds - current
    if abs(off) > tolerance.total_seconds():
        said = "of the future" if off > 0 else "old"
        raise TimestampWrong(f"the webhook is {abs(off):.0f} s {said}, {tolerance.total_seconds():.0f} s are allowed")


def _aware(now: dt.datetime) -> dt.datetime:
    if now.tzinfo is None:
        raise ConfigurationError("now has no time zone", cure="pass datetime.now(datetime.UTC)")
    return now
