"""The state of the database as Prometheus reads it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine, event

from jobforge_sa.ops.monitoring import standing
from jobforge_sa.ops.monitoring.shared import PATIENCE, Shared
from jobforge_sa.ops.monitoring.standing import State
from jobforge_sa.worker.link import cut

MOST_QUEUES = 500  # each is a handful of series; who names queues after users gets the first of them

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "up": ("Whether the database could be read.", ()),
    "read_seconds": ("How long the last look at the database took.", ()),
    "schema_info": ("The schema's revision, and how tenants are named.", ("revision", "tenancy")),
    "queue_jobs": (f"Jobs of a queue, counted up to {standing.COUNTED:,} in each state.", ("queue", "state")),
    "queue_oldest_seconds": ("For how long the first of the queued jobs has been due.", ("queue",)),
    "queue_workers": ("Live workers of a queue.", ("queue",)),
    "queues_left_out": (f"Queues beyond the first {MOST_QUEUES}.", ()),
    "workers": ("Workers that live, and those of the last hour that were lost.", ("state",)),
    "paused": ("Tenants, queues and tasks that are paused.", ("scope",)),
    "full_tenants": ("Tenants whose quota is used up.", ()),
    "dead_jobs_last_hour": ("Jobs that died in the last hour, counted up to 10,000.", ()),
    "expired_leases": ("Leases that are over for more than a minute, and were not taken back.", ()),
    "oldest_snapshot_seconds": ("For how long the oldest transaction has kept vacuum from its work.", ()),
    "dead_rows": ("Deleted rows of a hot table that wait for vacuum.", ("table",)),
}


class Exporter(Collector):
    """Looks when it is asked, once for all who ask within five seconds. A database that is away is `jobforge_up 0`.

    Args:
        engine: Of one connection.
        patience: Seconds that who asks waits at most.
    """

    def __init__(self, engine: Engine, patience: float = PATIENCE) -> None:
        self._lock = threading.Lock()
        self._connection: Any = None
        event.listen(engine, "connect", self._connected)
        self._state = Shared(lambda: standing.read(engine), self._cut, patience)

    def describe(self) -> Iterator[Metric]:
        """The families without samples; so that a second one in a registry is refused."""
        yield from _families().values()

    def collect(self) -> Iterator[Metric]:
        """The families with what was found."""
        yield from families(self._state.get())

    def _connected(self, connection: Any, _record: object) -> None:
        with self._lock:
            self._connection = connection

    def _cut(self) -> None:
        """The server does not answer: the next look takes another connection."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            cut(connection)


class Once(Collector):
    """One state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Its families."""
        yield from families(self._state)


def families(state: State | None) -> Iterator[Metric]:
    """A state in the words of Prometheus; none is a database that cannot be read."""
    made = _families()
    made["up"].add_metric([], 0 if state is None else 1)
    if state is None:
        yield made["up"]
        return
    _add_queues(made, state)
    made["schema_info"].add_metric([state.revision, state.tenancy], 1)
    for table, rows in state.dead_rows:
        made["dead_rows"].add_metric([table], rows)
    for name, labels in (
        ("workers", {"live": state.live_workers, "lost": state.lost_workers}),
        ("paused", state.paused),
    ):
        for label, value in labels.items():
            made[name].add_metric([label], value)
    for name, single in (
        ("read_seconds", state.seconds), ("dead_jobs_last_hour", state.dead_last_hour),
        ("expired_leases", state.expired_leases), ("oldest_snapshot_seconds", state.oldest_snapshot),
        ("full_tenants", state.full_tenants), ("queues_left_out", max(len(state.queues) - MOST_QUEUES, 0)),
    ):  # fmt: skip
        made[name].add_metric([], single)
    yield from made.values()


def _add_queues(made: dict[str, GaugeMetricFamily], state: State) -> None:
    for one, oldest in zip(state.queues[:MOST_QUEUES], state.oldest, strict=False):
        counts = {"queued": one.queued, "suspect": one.suspects, "scheduled": one.scheduled, "running": one.running}
        for name, count in counts.items():
            made["queue_jobs"].add_metric([one.name, name], count)
        made["queue_oldest_seconds"].add_metric([one.name], oldest)
        made["queue_workers"].add_metric([one.name], one.workers)


def _families() -> dict[str, GaugeMetricFamily]:
    return {name: GaugeMetricFamily(f"jobforge_{name}", said, labels=labels) for name, (said, labels) in GAUGES.items()}
