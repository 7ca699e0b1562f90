"""Reads the counters of all processes of this host, and writes metrics for Prometheus."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from emailrelay.metrics.declared import COUNTERS
from emailrelay.metrics.gauges import Gauge
from emailrelay.runtime_dir import COUNTERS as DIRECTORY


def families(runtime_dir: Path) -> Iterator[Metric]:
    """Return the counters and histograms, each as the sum over all processes, past ones included.

    A counter without labels that no process has counted yet is 0.
    """
    directory = runtime_dir / DIRECTORY
    seen = set[str]()
    if directory.is_dir():
        # Neither links nor FIFOs: another user may have made the directory.
        paths = directory.glob("*.db")
        files = [str(path) for path in paths if path.is_file() and not path.is_symlink()]
        merged = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        for family in cast("Iterable[Metric]", merged):
            seen.add(family.name)
            yield family
    for rule in COUNTERS:
        if not rule.labels and rule.name not in seen:
            seen.add(rule.name)
            yield CounterMetricFamily(rule.name, rule.help, value=0.0)


def exposed(runtime_dir: Path, gauges: Iterable[Gauge], accept: str) -> tuple[bytes, str]:
    """Return all metrics as text, and its type: the one of ``accept`` that Prometheus prefers."""
    registry = CollectorRegistry()
    registry.register(_All(runtime_dir, gauges))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _All(Collector):
    def __init__(self, runtime_dir: Path, gauges: Iterable[Gauge]) -> None:
        self._runtime_dir, self._gauges = runtime_dir, gauges

    def collect(self) -> Iterator[Metric]:
        """See ``Collector``."""
        yield from families(self._runtime_dir)
        for gauge in self._gauges:
            family = GaugeMetricFamily(gauge.rule.name, gauge.rule.help, labels=gauge.rule.labels)
            for labels, value in gauge.values:
                family.add_metric(labels, value)
            yield family
