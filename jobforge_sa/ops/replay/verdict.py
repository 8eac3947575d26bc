"""What a dry run came to, held against what is on record of the job's last run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobforge_sa.ops.replay.bundle import Bundle, RecordedAttempt
from jobforge_sa.ops.replay.rehearsal import Played
from jobforge_sa.redaction import Redactor

SHOWN = 10  # places of a result that differ
_MISSING = "nothing"


def differences(bundle: Bundle, last: RecordedAttempt, played: Played) -> Iterator[str]:
    """A line for each thing that came out otherwise; none: the same."""
    ending = played.ending
    if last.outcome != ending.outcome:
        yield f"outcome: {last.outcome} -> {ending.outcome}"
    recorded, got = _type(last.error), _type(ending.error)
    if recorded != got:
        yield f"error: {recorded or 'none'} -> {_described(ending.error)}"
    if last.outcome == ending.outcome == "succeeded":
        redactor = Redactor(bundle.redacted.names)
        result = redactor.clean(json.loads(ending.result or "null"), "/job/result")
        yield from _first(list(_unlike(bundle.job.result, result, "result")))
    if last.outcome == ending.outcome:
        yield from _enqueued(bundle, played)
    for what in dict.fromkeys(played.tried):
        yield f"refused: {what}"


def notes(recorded: Mapping[str, str], now: Mapping[str, str], schemas: tuple[str | None, str | None]) -> Iterator[str]:
    """What has changed since the bundle was made, and may be why; no difference by itself."""
    for name in sorted(recorded.keys() | now.keys()):
        before, after = recorded.get(name), now.get(name)
        if before is not None and after is not None and before != after:
            yield f"{name} was {before}, is {after}"
    if None not in schemas and schemas[0] != schemas[1]:
        yield "the type of the payload has changed"


def _enqueued(bundle: Bundle, played: Played) -> Iterator[str]:
    """Jobs by type. One with a key is there already, from the recorded run: it may be missing."""
    if played.enqueued is None:
        yield "enqueued: not known, for the handler has ended the transaction beneath its session"
        return
    recorded, got = Counter(one.type for one in bundle.enqueued), Counter(played.enqueued)
    keyed = Counter(one.type for one in bundle.enqueued if one.keyed)
    for kind in sorted(recorded.keys() | got.keys()):
        if not recorded[kind] - keyed[kind] <= got[kind] <= recorded[kind]:
            yield f"enqueued: {recorded[kind]} {kind} -> {got[kind]}"


def _type(error: object) -> str | None:
    return str(error["type"]) if isinstance(error, Mapping) and error.get("type") else None


def _described(error: Mapping[str, str] | None) -> str:
    if error is None:
        return "none"
    return f"{error.get('type')}: {error.get('message', '')}"


def _first(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:SHOWN]
    if len(lines) > SHOWN:
        yield f"result: {len(lines) - SHOWN} more places"


def _unlike(before: Any, after: Any, place: str) -> Iterator[str]:
    """Where two JSON values differ. Neither is deeper than what could be decoded and encoded."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _unlike(before.get(key, ...), after.get(key, ...), f"{place}/{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _unlike(one, other, f"{place}/{number}")
    elif before != after or isinstance(before, bool) != isinstance(after, bool):
        yield f"{place}: {_short(before)} -> {_short(after)}"


def _short(value: Any) -> str:
    text = _MISSING if value is ... else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"
