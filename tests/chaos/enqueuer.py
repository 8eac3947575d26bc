"""One tenant's application: enqueues in transactions of all kinds, and writes each intention down before.

python -m tests.chaos.enqueuer URL TENANT LEDGER_FOLDER SEED NAME RATE
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from jobforge_sa import Jobs, bind_tenant
from jobforge_sa.errors import ServerUnavailable
from tests.chaos import lifeline
from tests.chaos.errands import MIX, Errand, forge
from tests.chaos.ledger import COMMITTED, ROLLED_BACK, UNKNOWN, Ledger

ORDER = sa.text("insert into orders (mark, tenant_id) values (:mark, :tenant) on conflict do nothing")
# in how many of a hundred transactions
WAYS = {"commit": 40, "bulk": 10, "keyed": 20, "roll_back": 12, "savepoint": 12, "linger": 5, "die": 1}
Marked = tuple[str, str]  # mark and kind


class Enqueuer:
    """Goes on until told to stop, whatever the database does."""

    def __init__(self, url: str, tenant: str, ledger: Ledger, seed: str, name: str, rate: float) -> None:
        self._engine = sa.create_engine(url, pool_pre_ping=True)
        self._tenant, self._ledger, self._name = tenant, ledger, name
        self._chance = random.Random(seed)
        self._rate = rate
        self._count = 0
        self._stop = threading.Event()

    def run(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        while not self._stop.is_set():
            (way,) = self._chance.choices(list(WAYS), list(WAYS.values()))
            getattr(self, f"_{way}")()
            self._stop.wait(self._chance.expovariate(self._rate))

    # -- ways to enqueue ---------------------------------------------------------------

    def _commit(self) -> None:
        errands = self._errands(self._chance.randint(1, 3))
        with self._told(errands) as session:
            self._place(session, errands)

    def _bulk(self) -> None:
        errands = self._errands(self._chance.randint(2, 30))
        with self._told(errands) as session:
            session.execute(ORDER, [{"mark": mark, "tenant": self._tenant} for mark, _ in errands])
            jobs = [forge.tasks[kind].new(Errand(mark=mark), priority=len(mark) % 3) for mark, kind in errands]
            Jobs(session).enqueue_many(jobs)

    def _keyed(self) -> None:
        """With a key the answer of COMMIT may get lost: enqueued again until it is known, it is one job."""
        errands = self._errands(1)
        while not self._stop.is_set():
            with self._told(errands) as session:
                self._place(session, errands, keyed=True)
            if self._last == COMMITTED:
                return
            self._stop.wait(0.2)

    def _roll_back(self) -> None:
        errands = self._errands(self._chance.randint(1, 3))
        with self._told(errands) as session:
            self._place(session, errands)
            raise _Regretted

    def _savepoint(self) -> None:
        """Some are taken back, those around them stay."""
        kept, dropped = self._errands(2), self._errands(2)
        self._ledger.tell(ROLLED_BACK, [mark for mark, _ in dropped])
        with self._told(kept) as session:
            self._place(session, kept[:1])
            inner = session.begin_nested()
            self._place(session, dropped)
            inner.rollback()
            self._place(session, kept[1:])

    def _linger(self) -> None:
        """A transaction that stays open for a while, for somebody to break."""
        errands = self._errands(2)
        with self._told(errands) as session:
            self._place(session, errands)
            time.sleep(self._chance.uniform(0.2, 1.5))

    def _die(self) -> None:
        """The process ends before COMMIT."""
        errands = self._errands(2)
        with self._told(errands) as session:
            self._place(session, errands)
            self._ledger.tell(ROLLED_BACK, [mark for mark, _ in errands])
            os._exit(lifeline.ON_PURPOSE)

    # -- how ---------------------------------------------------------------------------

    @contextmanager
    def _told(self, errands: list[Marked]) -> Iterator[Session]:
        """A transaction whose end is told to the ledger: known, as long as COMMIT was not sent or was answered."""
        sent = False
        self._last = UNKNOWN
        try:
            with Session(self._engine) as session:
                bind_tenant(session, self._tenant)
                yield session
                session.flush()
                sent = True
                session.commit()
            self._last = COMMITTED
        except _Regretted:
            self._last = ROLLED_BACK
        except (DBAPIError, ServerUnavailable) as error:
            if not isinstance(error, OperationalError | ServerUnavailable):
                self._ledger.surprise(f"{self._name}: {error!r}")
            self._last = UNKNOWN if sent else ROLLED_BACK
        except Exception as error:
            self._ledger.surprise(f"{self._name}: {error!r}")
            self._last = UNKNOWN if sent else ROLLED_BACK
        self._ledger.tell(self._last, [mark for mark, _ in errands])

    def _errands(self, count: int) -> list[Marked]:
        kinds = self._chance.choices(list(MIX), list(MIX.values()), k=count)
        errands = [(f"{self._name}.{self._count + n}", kind) for n, kind in enumerate(kinds)]
        self._count += count
        self._ledger.mean(self._tenant, errands)
        return errands

    def _place(self, session: Session, errands: list[Marked], *, keyed: bool = False) -> None:
        """An order and its job, together or not at all."""
        jobs = Jobs(session)
        for mark, kind in errands:
            session.execute(ORDER, {"mark": mark, "tenant": self._tenant})
            task, errand, key = forge.tasks[kind], Errand(mark=mark), mark if keyed else None
            if self._chance.random() < 0.2:
                jobs.enqueue(task, errand, idempotency_key=key, delay=lifeline.seconds(self._chance.uniform(0, 2)))
            else:
                jobs.enqueue(task, errand, idempotency_key=key)


class _Regretted(Exception):
    """The application changes its mind."""


def main() -> None:
    lifeline.hold()
    url, tenant, folder, seed, name, rate = sys.argv[1:]
    Enqueuer(url, tenant, Ledger(Path(folder), name), seed, name, float(rate)).run()


if __name__ == "__main__":
    main()
