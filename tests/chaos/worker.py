"""One worker process, as an application would start it: its own login for the queue, another for the handlers.

python -m tests.chaos.worker WORKER_URL APP_URL
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import sys

import sqlalchemy as sa

from jobforge_sa import JobForge, Worker
from jobforge_sa.errors import ServerUnavailable
from tests.chaos import errands, lifeline

SLOTS = 6


def main() -> int:
    lifeline.hold()
    worker_url, app_url, *options = sys.argv[1:]
    forge = JobForge()
    forge.include(errands.forge)
    if "--no-poison" not in options:
        forge.include(errands.poisons)
    os.environ[errands.APP_URL] = app_url
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)  # tells of every connection that we cut
    worker = Worker(
        sa.create_engine(worker_url),
        forge,
        concurrency=SLOTS,
        lease=errands.LEASE,
        poll=dt.timedelta(seconds=0.5),
        grace=dt.timedelta(seconds=10),
        session_engine=sa.create_engine(app_url, pool_size=SLOTS, pool_pre_ping=True),
    )
    try:
        return worker.run()
    except ServerUnavailable as error:
        print(error, file=sys.stderr)
        return lifeline.UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main())
