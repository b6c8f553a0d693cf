"""Metrics of the edge, for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

from tollhouse.gateway.route_table import Entry

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """A registry for each application, so that one process can hold several (tests do)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "tollhouse_http_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "tollhouse_http_request_seconds", "Time to answer.", ("method", "route"), buckets=BUCKETS, registry=self.registry
        )
        self._rate_limit_failures = Counter(
            "tollhouse_rate_limit_failures", "Requests let through uncounted: no storage.", registry=self.registry
        )

    def answered(self, entry: Entry | None, status: int, seconds: float) -> None:
        """A request was answered. By the route's template: paths hold ids, and there is no end to those."""
        if entry is None:
            self._requests.labels("other", "none", str(status)).inc()
            return
        children = entry.counters.get(status)
        if children is None:
            children = entry.counters[status] = (
                self._requests.labels(entry.method, entry.path, str(status)),
                self._seconds.labels(entry.method, entry.path),
            )
        children[0].inc()
        children[1].observe(seconds)

    def rate_limit_failed(self) -> None:
        """A request could not be counted."""
        self._rate_limit_failures.inc()

    def render(self, troubles: Sequence[str] = ()) -> bytes:
        """The page that Prometheus reads. Server processes under one supervisor write to a common folder, and any of them
        answers for all: who asks cannot choose which one."""
        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            return generate_latest(self.registry) + _troubles(troubles)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
        return generate_latest(everybody) + _troubles(troubles)


def _troubles(codes: Sequence[str]) -> bytes:
    """What the process that is asked stands on badly: 1 as long as it lasts."""
    head = "# HELP tollhouse_trouble What keeps this process from its work.\n# TYPE tollhouse_trouble gauge\n"
    return (head + "".join(f'tollhouse_trouble{{code="{code}"}} 1.0\n' for code in codes)).encode()
