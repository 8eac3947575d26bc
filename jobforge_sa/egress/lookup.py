"""A name's addresses, looked up once, and no longer than the request may take.

`getaddrinfo` cannot be interrupted, and knows no deadline: it runs in a thread of its own, which is left behind where
it does not answer. So many of them may hang at a time, in all of a process, and so many of one party's; further
requests wait for one to end. Without the second bound a tenant with names that hang, and short timeouts, stopped all.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

from jobforge_sa.egress.address import Address, read, refusal
from jobforge_sa.egress.deadline import Deadline
from jobforge_sa.egress.policy import Egress
from jobforge_sa.egress.target import Target
from jobforge_sa.errors import Blocked, Unreachable

Resolve: TypeAlias = Callable[[str, int], Sequence[str]]

log = logging.getLogger("jobforge_sa.egress")

MOST_HANGING = 64
MOST_OF_ONE = 16  # of these
MOST_ADDRESSES = 64  # of one name; the largest providers give 8 or so


class Room:
    """Places for lookups that are under way.

    Args:
        places: In all.
        of_one: Of one party.
    """

    def __init__(self, places: int = MOST_HANGING, of_one: int = MOST_OF_ONE) -> None:
        self._places, self._of_one = places, of_one
        self._taken = Counter[str]()
        self._changed = threading.Condition()

    def take(self, party: str, seconds: float) -> bool:
        """Take a place; whether there was one in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(party), seconds):
                return False
            self._taken[party] += 1
            return True

    def leave(self, party: str) -> None:
        """Give it back."""
        with self._changed:
            self._taken[party] -= 1
            if not self._taken[party]:
                del self._taken[party]
            self._changed.notify_all()

    def _is_free(self, party: str) -> bool:
        return self._taken.total() < self._places and self._taken[party] < self._of_one


_room = Room()


def system(host: str, port: int) -> list[str]:
    """The system's own lookup.

    Raises:
        OSError: the name leads nowhere, or nobody could say.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(where[0]) for *_, where in found))


def judged(
    target: Target, policy: Egress, resolve: Resolve, deadline: Deadline, party: str = ""
) -> list[Address]:  # fmt: skip
    """The target's addresses; one lookup, and each of them is allowed: of a mixed answer nothing is used.

    Args:
        target: What is looked up.
        policy: What is allowed.
        resolve: A name's addresses.
        deadline: When nobody waits any more.
        party: For whom: a tenant. Its lookups share its part of the room.

    Raises:
        Blocked: one is not, or there is none.
        Unreachable: the name leads nowhere.
        RequestTimedOut: nobody said where it leads in time.
    """
    found = [target.address] if target.address else [read(text) for text in _look(target, resolve, deadline, party)]
    if not 1 <= len(found) <= MOST_ADDRESSES:
        raise Blocked(f"the name {target.host} has {len(found)} addresses", cure=f"1 to {MOST_ADDRESSES} are accepted")
    for address in found:
        check(address, target, policy)
    return found


def check(address: Address, target: Target, policy: Egress) -> None:
    """Judge one address.

    Raises:
        Blocked: it is not allowed. A tenant reads that, so what a name of your inside leads to stands in the log alone.
    """
    if why := refusal(address, policy.allowed, policy.denied):
        log.info("%s leads to %s, which is not reached: %s", target.host, address, why)
        what = target.host if target.address else f"{target.host} leads to an address that"
        raise Blocked(
            f"{what} is not reached from here: {why}",
            cure="name a public host; the operator opens a network: Egress(allow_networks=..., allow_hosts=...)",
        )


def _look(target: Target, resolve: Resolve, deadline: Deadline, party: str) -> Sequence[str]:
    """Call the resolver in a thread that may be left behind."""
    room = _room
    if not room.take(party, deadline.left()):
        raise deadline.over()
    answers: list[Sequence[str] | Exception] = []
    done = threading.Event()

    def run() -> None:
        try:
            answers.append(list(resolve(target.host, target.port)))
        except Exception as error:  # also UnicodeError, of a name that its codec cannot take
            answers.append(error)
        finally:
            room.leave(party)
            done.set()

    try:
        threading.Thread(target=run, name="jobforge-lookup", daemon=True).start()
    except RuntimeError as error:  # the system has no thread left
        room.leave(party)
        raise Unreachable(f"the name {target.host} cannot be looked up: {error}", sent=False) from error
    if not done.wait(deadline.left()):
        raise deadline.over()
    if isinstance(answer := answers[0], Exception):
        raise Unreachable(f"the name {target.host} leads nowhere: {answer}", sent=False) from answer
    return answer
