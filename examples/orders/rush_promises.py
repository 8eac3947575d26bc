"""Who came when in the rush: the runs that the database has on record, beside what was said and promised."""

import uuid
from collections.abc import Collection, Iterator, Sequence
from itertools import combinations

from sqlalchemy import select
from sqlalchemy.orm import Session

from examples.orders.ledger import Rush
from examples.orders.promise import Promise
from examples.orders.rush import AT_ONCE, BESIDE, BURST, CAPPED, FLOODS, RATE
from jobforge_sa.models import Attempt

ROUND = 2  # rounds of the flood: the one that was under way when a job was committed, and the next


def of_the_rush(session: Session, rush: Rush) -> Iterator[Promise]:
    yield _of_fairness(session, rush)
    photos = runs(session, rush.photos)
    yield Promise(
        f"the {CAPPED} may run {AT_ONCE} jobs at a time: of its {len(rush.photos)} so many ran, and never more",
        AT_ONCE,
        max((len(beside(run, photos)) for run in photos), default=0),
    )
    parcels = runs(session, rush.parcels)
    yield Promise(
        f"the courier takes {RATE} jobs a second, {BURST} at once: none of {len(rush.parcels)} began too early",
        (len(rush.parcels), "none"),
        (len(parcels), _too_many(parcels)),
    )
    yield _of_order(session, rush)


def runs(session: Session, jobs: Collection[uuid.UUID]) -> Sequence[Attempt]:
    """The runs of the jobs, as they began."""
    theirs = select(Attempt).where(Attempt.job_id.in_(jobs))
    return session.scalars(theirs.order_by(Attempt.claimed_at, Attempt.job_id)).all()


def beside(run: Attempt, some: Sequence[Attempt]) -> list[Attempt]:
    """Those of them that ran when this one began, itself too."""
    return [one for one in some if one.claimed_at <= run.claimed_at < one.finished_at]


def _of_fairness(session: Session, rush: Rush) -> Promise:
    flood, guests = runs(session, rush.flood), runs(session, rush.guests)
    rounds = [
        len({run.claimed_at for run in flood if rush.guests[guest.job_id] < run.claimed_at < guest.claimed_at})
        for guest in guests
    ]  # that the flood had in the meantime; what a claim takes in a round begins at one moment
    left = [sum(run.claimed_at > guest.claimed_at for run in flood) for guest in guests]
    return Promise(
        f"{len(rush.flood):,} jobs of the {FLOODS} waited: the {BESIDE}'s {len(rush.guests)} began within "
        f"a round each, before {min(left, default=0):,} of them",
        [True] * len(rush.guests),
        [some <= ROUND and more > 0 for some, more in zip(rounds, left, strict=True)],
    )


def _too_many(some: Sequence[Attempt]) -> str:
    """The first that began before the rate had let it; a claim asks for that a moment before its runs begin."""
    for (first, one), (last, two) in combinations(enumerate(some), 2):
        span = (two.claimed_at - one.claimed_at).total_seconds()
        if last - first + 1 > BURST + RATE * span + 1:
            return f"{last - first + 1} within {span:.3f} s"
    return "none"


def _of_order(session: Session, rush: Rush) -> Promise:
    lines = [runs(session, jobs) for jobs in rush.lines.values()]
    failed = sum(run.outcome == "failed" for line in lines for run in line)
    places = {job: place for jobs in rush.lines.values() for place, job in enumerate(jobs)}
    found = [[places[run.job_id] for run in line] for line in lines]
    return Promise(
        f"{len(places)} jobs in {len(lines)} lines ran one by one, in order; {failed} failed, and its line waited",
        ([sorted(line) for line in found], 1),
        (found, max(len(beside(run, line)) for line in lines for run in line)),
    )
