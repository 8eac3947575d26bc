"""How a run ended, as the item of `complete_jobs` that says so."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, replace

import pydantic
import pydantic_core

from jobforge_sa.tasks import faults
from jobforge_sa.types import Cancel, Discard, Done, Outcome, Release, Retry, Snooze, TimedOut
from jobforge_sa.worker import errortext
from jobforge_sa.worker.run import Run

MAX_RESULT_BYTES = 262_144
MAX_DELAY = dt.timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Ending:
    """An outcome in the contract's words."""

    outcome: str
    result: str | None = None  # JSON text
    error: dict[str, str] | None = None
    delay: float | None = None  # seconds
    final: bool = False
    committed: bool = False  # the handler's own transaction has told the database
    goes_on: bool = False  # and the handler goes on behind it

    def item(self, run: Run) -> str:
        """The JSON text of this run's item."""
        job = run.job
        # by hand: this runs once for each job, and json.dumps would cost four times as much; str(uuid) three times
        text = f'{{"job_id":"{job.id.hex}","lease_token":"{job.lease_token.hex}","outcome":"{self.outcome}"'
        text += f',"run_ms":{run.elapsed_ms}'
        if self.result is not None:
            text += f',"result":{self.result}'
        if self.error is not None:
            text += f',"error":{json.dumps(self.error, ensure_ascii=False)}'
        if self.delay is not None:
            text += f',"delay":{self.delay:.6f}'
        if self.final:
            text += ',"final":true'
        return text + "}"


REFUSED = "Refused"  # the type of the error of a run whose completion was refused
SUCCEEDED = Ending("succeeded")
RELEASED = Ending("released")
COMMITTED = Ending("succeeded", committed=True)
COMPLETED = Ending("succeeded", committed=True, goes_on=True)
_TOO_LONG = "the handler ran longer than its timeout"
TIMED_OUT = Ending("timed_out", error={"type": "TimedOut", "message": _TOO_LONG})
ABANDONED = Ending("timed_out", error={"type": "TimedOut", "message": f"{_TOO_LONG}; its thread was left behind"})

OVERSTAYED = Ending(
    "failed",
    error={
        "type": "IdleInTransaction",
        "message": "the handler's transaction was open for too long without a statement, and was ended: commit or roll "
        "back before waiting for the network or computing for long",
    },
)


def of_value(value: object) -> Ending:
    """What a handler's return value means."""
    if value is None:
        return SUCCEEDED
    if isinstance(value, Done):
        return of_value(value.result)
    if isinstance(value, Outcome):
        return of_error(value)
    try:
        plain = pydantic_core.to_jsonable_python(value)
        text = json.dumps(plain, allow_nan=False, ensure_ascii=False)
        if len(text.encode()) > MAX_RESULT_BYTES:
            raise ValueError(f"it has more than {MAX_RESULT_BYTES} bytes")
    except (ValueError, TypeError, RecursionError) as error:
        return Ending(
            "failed",
            error=_described("InvalidResult", f"the result is not JSON that can be stored: {error}"),
            final=True,
        )
    return Ending("succeeded", result=text)


def of_error(error: BaseException) -> Ending:
    """What an exception out of a handler means."""
    match error:
        case Done():
            return of_value(error.result)
        case Snooze(delay=dt.timedelta() as delay):
            return Ending("snoozed", delay=_seconds(delay))
        case Release():
            return RELEASED
        case TimedOut():
            return TIMED_OUT
        case Retry(after=dt.timedelta() as after):
            return Ending("failed", error=_described("Retry", errortext.message(error)), delay=_seconds(after))
        case Retry(after=None):
            return Ending("failed", error=_described("Retry", errortext.message(error)))
        case Snooze() | Retry():
            return Ending("failed", error=_described("TypeError", f"{type(error).__name__} takes a timedelta"))
        case Discard():
            return Ending("failed", error=_described("Discard", errortext.message(error)), final=True)
        case Cancel():
            return Ending("canceled", error=_described("Cancel", errortext.message(error)))
    return Ending("failed", error=_described(type(error).__name__, errortext.message(error), errortext.trace(error)))


def _seconds(delay: dt.timedelta) -> float:
    return max(0.0, min(delay, MAX_DELAY).total_seconds())


def of_payload(error: pydantic.ValidationError) -> Ending:
    """The payload is not what the task takes: final, for no retry changes it. Its values stay out of the record."""
    return Ending("failed", error=_described("InvalidPayload", faults(error)), final=True)


def committed(ending: Ending) -> Ending:
    """The same, when the database knows it."""
    return COMMITTED if ending is SUCCEEDED else replace(ending, committed=True)


def killed(ending: Ending) -> Ending:
    """The same, when the handler's process had to be killed for it."""
    said = ending.error or {"type": "Killed", "message": "the handler did not stop when it was told"}
    return replace(ending, error=said | {"message": f"{said['message']}; its process was killed"})


def died(how: str) -> Ending:
    """The handler's process died by itself."""
    return Ending("failed", error=_described("ProcessDied", how))


def refused(reason: str) -> Ending:
    """The database would not take a completion (a result that is too large): final, for the run has happened."""
    return Ending("failed", error=_described(REFUSED, f"the completion was refused: {reason}"), final=True)


def _described(kind: str, message: str, trace: str | None = None) -> dict[str, str]:
    error = {"type": errortext.clean(kind)[:200], "message": errortext.clean(message)}
    if trace:
        error["traceback"] = errortext.clean(trace)
    return error
