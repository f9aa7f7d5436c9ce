"""Metrics in the text format of Prometheus, built when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from core.telemetry.metrics import AnyMetric, Histogram, LabelledMetric, Metrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Exposition(Collector):
    """A collector of one process's metrics, and of the process itself (memory, files, CPU)."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def collect(self) -> Iterator[Family]:
        """The families of this moment."""
        for metric in self._metrics.all():
            yield _family(metric)

    def render(self) -> bytes:
        """The body of the answer to a scrape; its type is CONTENT_TYPE."""
        return generate_latest(self._registry)


def _family(metric: AnyMetric) -> Family:
    if isinstance(metric, Histogram):
        return _histogram(metric)
    labels = metric.labels if isinstance(metric, LabelledMetric) else ()
    family: CounterMetricFamily | GaugeMetricFamily
    if metric.kind == "counter":
        family = CounterMetricFamily(metric.name, metric.help, labels=labels)
    else:
        family = GaugeMetricFamily(metric.name, metric.help, labels=labels)
    if isinstance(metric, LabelledMetric):
        for values, cell in metric.cells.items():
            family.add_metric(values, cell.value)
    else:
        family.add_metric((), metric.value)
    return family


def _histogram(metric: Histogram) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=(metric.label,))
    for value, cell in metric.cells.items():
        bounds = [*(str(bound) for bound in cell.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(cell.counts), strict=True))
        family.add_metric((value,), buckets, cell.total)
    return family
