"""The worker's decisions, pure: how much to claim, how long to sleep, when to run alone. No threads, clock or I/O."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CLAIM = 500  # rows in one claim: the gain beyond is small, and the answer's latency grows
MAX_PREFETCH = 1_000  # jobs of one queue that are claimed and not started
PREFETCH_SECONDS = 0.25  # claimed ahead: what the handlers finish in so long, hence nothing for slow handlers
BEHIND = 0.01  # seconds until the next look while the reports are behind
MAX_UNREPORTED = 1_500  # ended runs that the database does not know of yet: over it nothing is claimed
SUSPECT = 2  # workers lost in a row, from which on a job runs alone: as the table ready says
LOOK_SOON = 1.0  # seconds between two looks of one that makes way
LOOK_BUSY = 10.0  # of one that runs jobs; from half to one and a half of it, so that not all workers stop at once
MAKE_WAY = 60.0  # so long a worker claims nothing, to become empty for a suspect
FIRST = 0.0025  # seconds: the first nap after work, and each next one is twice as long
NAPS = 2  # so many looks in vain after one that found something, and at the next it asks to be woken
QUICK = FIRST * (2 ** (NAPS + 1) - 1)  # seconds: what comes sooner than so finds it awake
BUSY = 100.0  # jobs a second, from which on looks cost less than hints
MANY = 4  # claims in a row that found jobs so soon and so many, and nobody needs to wake it
ATTENTIVE = 10.0  # seconds: so long it looks soon behind each job, since a look that nobody had asked for brought one
GIVEN_UP = 300.0  # when its runs did not end in that time: the next try, for slots that wait are lost


@dataclass(slots=True)
class Pace:
    """How fast a queue's handlers finish jobs: a moving average, in jobs a second."""

    rate: float = 0.0

    def observe(self, finished: int, seconds: float) -> None:
        """Take note of jobs finished in so many seconds. Rises at once, falls by half each time."""
        now = finished / seconds
        self.rate = now if now > self.rate else (self.rate + now) / 2


@dataclass(slots=True)
class Lookout:
    """When a worker looks for suspects, which run alone in it. All times are the caller's, of a monotonic clock.

    An idle worker gets one where a claim finds nothing else; a busy one asks whether any waits, and then claims nothing
    until it is empty.
    """

    busy_at: float = 0.0  # the next look of a busy one
    until: float | None = None  # it makes way for a suspect, at most until then

    def postpone(self, now: float, chance: float, mean: float = LOOK_BUSY) -> None:
        """Go on as usual; a busy worker looks again in a while."""
        self.until = None
        self.busy_at = now + mean * (0.5 + chance)

    def saw(self, waits: bool, now: float, chance: float) -> None:
        """Take note of a busy worker's look: make way, go on doing so, or stop where there is none (any more)."""
        if not waits:
            self.postpone(now, chance)
        elif self.until is None:
            self.until, self.busy_at = now + MAKE_WAY, now + LOOK_SOON  # another worker may be quicker
        elif now >= self.until:
            self.postpone(now, chance, GIVEN_UP)
        else:
            self.busy_at = now + LOOK_SOON


def room(concurrency: int, rate: float, held: int) -> int:
    """How many more jobs a queue may hold: its slots, and a buffer worth a quarter of a second of its work."""
    prefetch = min(MAX_PREFETCH, int(rate * PREFETCH_SECONDS))
    return max(0, concurrency + prefetch - held)


@dataclass(slots=True)
class Rest:
    """How a claimer rests: it looks again soon while there is work about, and asks to be woken when there is none.

    While somebody is to be woken each enqueue's commit waits for a lock over the whole cluster; a look costs less than
    that from a hundred jobs a second on, be it that they come one by one or in crowds.
    """

    poll: float
    idle: int = 0  # claims in a row without a job
    asleep: bool = False  # whether it wants to be woken
    _quick: int = 0  # claims in a row that brought jobs, soon after the one before and as many as make it busy
    _found: float = 0.0
    _unasked: float = -ATTENTIVE  # when a claim brought jobs of which nobody had told

    def found(self, now: float, jobs: int = 1, *, unasked: bool = False) -> None:
        """A claim brought jobs. Unasked: and no hint had."""
        if unasked:
            self._unasked = now
        since = now - self._found
        self._quick = self._quick + 1 if since < QUICK and jobs >= BUSY * since else 0
        self._found, self.idle = now, 0
        if self._quick >= MANY:
            self.asleep = False

    def nothing(self) -> None:
        """A claim brought none."""
        self.idle += 1
        if self.idle > NAPS:
            self.asleep = True

    def nap(self, now: float, since: float | None) -> float:
        """How long to sleep now. Those who enqueue know that they have to wake it since then; None: they do not.

        Unheard: 2.5 ms, 5 ms ... `poll`, for a skipped hint costs just that. A transaction that had asked before, and
        is still open, sends none: so the first sleeps are no longer than what the worker has been asleep for. Nor,
        where it finds jobs unasked, than what has passed since it found one: the next of a limited rate sends no hint.
        """
        if since is None:
            return min(self.poll, FIRST * 2.0 ** min(self.idle, 20))
        last = max(since, self._found) if now - self._unasked < ATTENTIVE else since
        return min(self.poll, max(FIRST * 2.0**NAPS, now - last))
