"""Times and durations, as people write and read them."""

from __future__ import annotations

import datetime as dt
import re

from jobforge_sa.errors import ConfigurationError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw])")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")


def duration(text: str) -> dt.timedelta:
    """What `7d` or `1h30m` means.

    Raises:
        ConfigurationError: it means nothing.
    """
    try:
        if _DURATION.fullmatch(text):
            return dt.timedelta(seconds=sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(text)))
    except OverflowError:
        pass
    raise ConfigurationError(f"{text!r} is no duration", cure="write 90s, 15m, 2h, 3d, 1w")


def moment(text: str, now: dt.datetime, *, ahead: bool = False) -> dt.datetime:
    """The time that `2h`, `1h30m` (ago, or ahead) or an ISO time means.

    Raises:
        ConfigurationError: it means none.
    """
    try:
        if _DURATION.fullmatch(text):
            return now + duration(text) if ahead else now - duration(text)
        time = dt.datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"{text!r} is neither a duration nor a time", cure="write 90s, 15m, 2h, 3d, 1w, or 2026-01-31T12:00Z"
        ) from error
    if time.tzinfo is None:
        raise ConfigurationError(
            f"the time {text!r} has no zone", cure=f"write {time.isoformat(timespec='minutes')}Z for UTC, or +02:00"
        )
    return time


def target(text: str | None) -> tuple[dt.datetime | None, dt.timedelta | None]:
    """A time, or how far it is ahead: that goes as an interval, for the clock that counts is the database's.

    Raises:
        ConfigurationError: it means neither.
    """
    if text is None:
        return None, None
    try:
        return None, duration(text)
    except ConfigurationError:
        return moment(text, dt.datetime.min.replace(tzinfo=dt.UTC)), None


def ago(time: dt.datetime, now: dt.datetime) -> str:
    """`3m ago`, `in 3m`, `now`."""
    seconds = round((now - time).total_seconds())
    if seconds == 0:
        return "now"
    return f"{_coarse(seconds)} ago" if seconds > 0 else f"in {_coarse(-seconds)}"


def span(duration: dt.timedelta) -> str:
    """`85ms`, `1.2s`, `42s`, `3m05s`, `2h10m`, `5d`."""
    seconds = max(duration.total_seconds(), 0.0)
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f}ms"
    if round(seconds, 1) < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 172_800:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d"


def iso(time: dt.datetime) -> str:
    """ISO 8601 in UTC, to the microsecond, always of the same length."""
    return time.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def second(time: dt.datetime) -> str:
    """`2026-01-31 12:00:00 UTC`, for reading."""
    return f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _coarse(seconds: int) -> str:
    for limit, unit in ((60, "s"), (3600, "m"), (172_800, "h")):
        if round(seconds / _UNITS[unit]) * _UNITS[unit] < limit:
            return f"{round(seconds / _UNITS[unit])}{unit}"
    return f"{round(seconds / 86_400)}d"
