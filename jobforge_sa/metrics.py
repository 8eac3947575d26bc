"""The numbers of workers as Prometheus reads them, when it asks; from an endpoint of the application's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from jobforge_sa.worker.counters import BOUNDS, ENDS, Spread
from jobforge_sa.worker.vitals import Numbers
from jobforge_sa.worker.worker import Worker

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError("prometheus-client is not installed; run: pip install 'jobforge_sa[prometheus]'") from error

K = TypeVar("K")

_BOUNDS = [*map(str, BOUNDS), "+Inf"]


def worker_metrics(*workers: Worker) -> Collector:
    """A collector for any registry, of all workers of a process together: register it once.

    Labels are queues, types and outcomes, which the application's code names; never a tenant or a job.

    Example:
        >>> registry.register(worker_metrics(worker))
        >>> app.mount("/metrics", make_asgi_app(registry))
    """
    return _Workers(workers)


class _Workers(Collector):
    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers

    def describe(self) -> Iterator[Metric]:
        yield from _families([])

    def collect(self) -> Iterator[Metric]:
        yield from _families([numbers for worker in self._workers if (numbers := worker.numbers()) is not None])


def _families(all_of: Sequence[Numbers]) -> Iterator[Metric]:
    yield from _counters(all_of)
    yield from _histograms(all_of)
    yield from _gauges(all_of)


def _counters(all_of: Sequence[Numbers]) -> Iterator[Metric]:
    stats: Counter[str] = Counter()
    ends: Counter[tuple[str, str, str]] = Counter()
    for one in all_of:
        stats.update(one.stats)
        ends.update({kind: spread.all for kind, spread in one.measured.runs.items()})
    claimed = CounterMetricFamily("jobforge_worker_claimed", "Jobs claimed.")
    incidents = CounterMetricFamily("jobforge_worker_incidents", "What should not happen.", labels=["incident"])
    runs = CounterMetricFamily("jobforge_worker_runs", "Runs that have ended.", labels=["queue", "type", "outcome"])
    for name, count in stats.items():
        if name == "claimed":
            claimed.add_metric([], count)
        elif name not in ENDS or name == "lost":
            incidents.add_metric([name], count)
    for kind, count in ends.items():
        runs.add_metric(kind, count)
    yield from (claimed, incidents, runs)


def _histograms(all_of: Sequence[Numbers]) -> Iterator[Metric]:
    runs = HistogramMetricFamily(
        "jobforge_worker_run_seconds", "How long handlers took.", labels=["queue", "type", "outcome"]
    )
    waits = HistogramMetricFamily(
        "jobforge_worker_wait_seconds", "From due to claimed, of first runs, by the database's clock.", labels=["queue"]
    )
    for kind, spread in _summed([one.measured.runs for one in all_of]).items():
        runs.add_metric(kind, _buckets(spread), spread.seconds)
    for queue, spread in _summed([one.measured.waits for one in all_of]).items():
        waits.add_metric([queue], _buckets(spread), spread.seconds)
    yield from (runs, waits)


def _gauges(all_of: Sequence[Numbers]) -> Iterator[Metric]:
    running: Counter[str] = Counter()
    slots: Counter[str] = Counter()
    for one in all_of:
        running.update(one.running)
        slots.update(one.slots)
    for name, said, counts in (
        ("running", "Handlers that run.", running), ("slots", "Handlers that may run at once.", slots)
    ):  # fmt: skip
        gauge = GaugeMetricFamily(f"jobforge_worker_{name}", said, labels=["queue"])
        for queue, count in counts.items():
            gauge.add_metric([queue], count)
        yield gauge
    for name, said, value in (
        ("unreported", "Ended runs that the database does not know of yet.", sum(one.unreported for one in all_of)),
        ("heartbeat_age_seconds", "Since the last heartbeat that went well.",
         max((one.heartbeat_age for one in all_of), default=0.0)),
        ("lease_seconds", "How long a worker lives without one.", min((one.lease for one in all_of), default=0.0)),
        ("live", "Whether all threads live and none is stuck.", all(one.live for one in all_of)),
        ("ready", "Whether all workers work.", bool(all_of) and all(one.ready for one in all_of)),
    ):  # fmt: skip
        yield GaugeMetricFamily(f"jobforge_worker_{name}", said, value=float(value))


def _summed(parts: Sequence[Mapping[K, Spread]]) -> dict[K, Spread]:
    total: dict[K, Spread] = {}
    for part in parts:
        for key, spread in part.items():
            into = total.setdefault(key, Spread())
            into.counts = [mine + its for mine, its in zip(into.counts, spread.counts, strict=True)]
            into.seconds += spread.seconds
            into.all += spread.all
    return total


def _buckets(spread: Spread) -> list[tuple[str, float]]:
    return [*zip(_BOUNDS, map(float, accumulate(spread.counts)), strict=True)]
