"""Numbers and times as people read them in a report."""

from __future__ import annotations

import datetime as dt
import re

NONE = "–"
# not strftime's: those are of the process's locale
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
# what acts on the reader instead of being read: controls, marks that turn the direction of what follows
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def plain(text: str) -> str:
    """Text of a tenant's, with nothing in it that does not show."""
    return _UNSEEN.sub("\ufffd", text)


def _joined(text: str) -> str:
    """With blanks at which no line is broken."""
    return text.replace(" ", "\u00a0")


def count(number: float | None) -> str:
    """`12,345`."""
    return NONE if number is None else f"{number:,.0f}"


def percent(share: float | None) -> str:
    """`99.3 %` of a number from 0 to 1; never 100 % of what is less."""
    if share is None:
        return NONE
    if share in (0, 1):
        return _joined(f"{share * 100:.0f} %")
    return _joined(f"{min(max(share * 100, 0.1), 99.9):.1f} %")


def seconds(value: float | None) -> str:
    """`85 ms`, `1.2 s`, `42 s`, `3 min 05 s`, `2 h 10 min`, `5.2 days`."""
    return NONE if value is None else _joined(_span(value))


def _span(value: float) -> str:
    if value < 0.9995:
        return f"{value * 1000:.0f} ms" if value else "0 s"
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(whole // 60, "min", whole % 60, "s")
    if whole < 172_800:
        return _two(whole // 3600, "h", whole % 3600 // 60, "min")
    return f"{whole / 86_400:,.1f} days"


def _two(large: int, unit: str, small: int, of: str) -> str:
    return f"{large} {unit} {small:02} {of}" if small else f"{large} {unit}"


def size(number: float | None) -> str:
    """`512 B`, `1.2 kB`, `34 MB`."""
    if number is None:
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return _joined(f"{number:.1f} {unit}" if unit != "B" and number < 9.95 else f"{number:.0f} {unit}")
        number /= 1000
    return _joined(f"{number:,.1f} TB")


def tick(power: float) -> str:
    """A power of ten as a time on a scale: `10 ms`, `1 s`, `100 s`."""
    return _joined(f"{power * 1000:g} ms" if power < 1 else f"{power:,.0f} s")


def day(time: dt.date) -> str:
    """`5 Nov`."""
    return _joined(f"{time.day} {_MONTHS[time.month - 1]}")


def whole_day(time: dt.date) -> str:
    """`Thu 5 Nov 2026`."""
    return _joined(f"{_DAYS[time.weekday()]} {day(time)} {time.year}")


def moment(time: dt.datetime | None) -> str:
    """`5 Nov 2026, 14:05 UTC`; of midnight the day alone."""
    if time is None:
        return NONE
    utc = time.astimezone(dt.UTC)
    clock = "" if utc.time() == dt.time() else f", {_joined(f'{utc:%H:%M} UTC')}"
    return f"{_joined(f'{day(utc)} {utc.year}')}{clock}"
