"""Tells the database how runs ended: as many in one statement as have come together, again until it has answered."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping

import psycopg
from sqlalchemy import Engine

from jobforge_sa.db import calls, failures
from jobforge_sa.worker import ending as endings
from jobforge_sa.worker.ending import Ending
from jobforge_sa.worker.link import LinkDown
from jobforge_sa.worker.run import Run, Runs
from jobforge_sa.worker.service import Service
from jobforge_sa.worker.voice import log

BATCH = 500
LAST = 6.0  # seconds after which a stop waits for no more locks
ASIDE = 5.0  # seconds until a lease that somebody held is tried again
LOCKED = "55P03"  # lock_not_available
# SQLSTATEs that begin so are nobody's completion: a right or a function is missing for a while, as during a migration
EVERYBODYS = ("0A", "25", "26", "42")
# nor are these; but "cache lookup failed" is over in a moment, and a broken page hits one job only
LATER = (LOCKED, "XX")

Answer = tuple[str, str | None]  # and the reason
DONE: Answer = ("done", None)


class Reporter(Service):
    """Batches completions. Repeating one is safe: the database says that it was done already."""

    name = "reporter"

    def __init__(self, engine: Engine, runs: Runs, settled: Callable[[], None]) -> None:
        super().__init__(engine)
        self._runs = runs
        self._settled = settled  # hears that the database knows of more ends
        self._queue: queue.SimpleQueue[tuple[Run, Ending] | None] = queue.SimpleQueue()
        self._batch: list[tuple[Run, Ending]] = []
        # a handler that outlived its timeout may hold its lease in a transaction that it keeps open: the ends of all
        # others must not wait behind it
        self._aside: list[tuple[Run, Ending]] = []
        self._again = 0.0  # monotonic
        self._behind = 0  # of a batch that is told one by one, those whose turn is still to come
        self._telling = threading.Lock()

    def report(self, run: Run, ending: Ending) -> None:
        """Take a run's end."""
        with self._telling:  # the handler's thread, who gives it up, and a stop may come at the same time
            told, run.told = run.told, True
        if told:
            self._runs.leave(run)
            return
        run.stop()
        if ending.goes_on:
            self._runs.stay(run)
        if ending.committed:
            self._forget([(run, ending.outcome)])
        else:
            self._queue.put((run, ending))

    @property
    def backlog(self) -> int:
        """Ended runs that the database does not know of yet."""
        return self._queue.qsize() + len(self._batch) + len(self._aside) + self._behind

    def wake(self) -> None:
        """Let the thread look at once."""
        self._queue.put(None)

    def step(self) -> None:
        """Send what has come together; wait for the first if there is nothing."""
        if self._aside and time.monotonic() >= self._again:
            self._batch, self._aside = self._batch + self._aside, []
        self._collect(wait=not self._batch)
        if self._batch:
            self._send()

    def finish(self) -> None:
        """Send what is left; once more, if the connection had gone stale."""
        for last in (False, True):
            try:
                while True:
                    self._collect(wait=False)
                    if not self._batch:
                        break
                    self._send()
                break
            except (LinkDown, psycopg.Error) as error:
                if last:
                    self._give_up(self._left(), error)
        if self._aside:
            self._give_up(self._aside, "somebody holds their leases, or the database failed")

    def _left(self) -> list[tuple[Run, Ending]]:
        """What is not told, the queue's as well."""
        left = list(self._batch)
        while True:
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return left
            if entry is not None:
                left.append(entry)

    def _give_up(self, left: list[tuple[Run, Ending]], why: object) -> None:
        log.warning("reporter: %s runs ended and could not be reported (%s); they will run again", len(left), why)

    def _collect(self, *, wait: bool) -> None:
        try:
            while len(self._batch) < BATCH:
                entry = self._queue.get(block=wait, timeout=ASIDE if self._aside else None)
                if entry is not None:
                    self._batch.append(entry)
                wait = False
        except queue.Empty:
            pass

    def _send(self) -> None:
        try:
            answers = self._tell(self._batch)
        except (LinkDown, psycopg.Error) as error:
            state = failures.sqlstate(error.__cause__ or error) or ""
            if (isinstance(error, LinkDown) and state != LOCKED) or state.startswith(EVERYBODYS):
                raise
            self._tell_apart(error, later=state.startswith(LATER))
            return
        batch, self._batch = self._batch, []
        self._hear(batch, answers)

    def _tell(self, batch: list[tuple[Run, Ending]]) -> dict[int, Answer]:
        """Gives the answers but those that are just "done", each by its place."""
        document = "[" + ",".join([ending.item(run) for run, ending in batch]) + "]"
        done, others = self.link.run(
            lambda c: c.execute(calls.COMPLETE_JOBS, {"results": document}).fetchone() or (0, [])
        )
        if done + len(others) != len(batch):
            raise RuntimeError(f"{done + len(others)} answers for {len(batch)} ends of runs")
        return {item - 1: (answer, reason) for item, answer, reason in others}

    def _tell_apart(self, error: Exception, *, later: bool) -> None:
        """The database raised for the whole: one by one, so that whoever is to blame harms nobody else."""
        if len(self._batch) == 1:
            run, ending = self._batch.pop()
            if later:
                why = str(error).partition("\n")[0]
                log.info("job %s: the end of run %s is told later: %s", run.job.id, run.job.run, why,
                         extra=run.job.log_fields())  # fmt: skip
                self._aside.append((run, ending))
                self._again = time.monotonic() + ASIDE
                return
            self._hear([(run, ending)], {0: ("refused", str(error).partition("\n")[0])})
            return
        whole, self._batch = self._batch, []
        for position, entry in enumerate(whole):
            if self.stopping_for > LAST:
                self._batch, self._aside, self._behind = [], self._aside + whole[position:], 0
                return
            self._batch, self._behind = [entry], len(whole) - position - 1
            try:
                self._send()
            except (LinkDown, psycopg.Error):
                self._batch, self._behind = whole[position:], 0
                raise

    def _hear(self, batch: list[tuple[Run, Ending]], answers: Mapping[int, Answer]) -> None:
        """Take note of what the database says to each of them; where it says nothing it is done."""
        ended = []
        for place, (run, ending) in enumerate(batch):
            answer, reason = answers.get(place, DONE) if answers else DONE
            if answer == "refused" and self._is_told_again(run, ending, reason):
                continue
            ended.append((run, ending.outcome if answer in ("done", "already_done") else "lost"))
        self._forget(ended)

    def _forget(self, ended: list[tuple[Run, str]]) -> None:
        """The database knows these ends: of each an outcome, or "lost"."""
        self._runs.incidents.ended(ended)
        self._runs.remove([run for run, _ in ended])  # counted first: who waits for the last one reads the numbers then
        self._settled()

    def _is_told_again(self, run: Run, ending: Ending, reason: str | None) -> bool:
        """Whether an end that was refused is told in other words: once, for there shall be no endless loop."""
        if (ending.error or {}).get("type") != endings.REFUSED:
            said = "job %s: the database refused its completion: %s"
            log.warning(said, run.job.id, reason, extra=run.job.log_fields())
            self._queue.put((run, endings.refused(reason or "")))
            return True
        said = "job %s: the end of run %s does not count: %s"
        log.warning(said, run.job.id, run.job.run, reason, extra=run.job.log_fields())
        return False
