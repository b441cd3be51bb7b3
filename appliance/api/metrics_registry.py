"""The registry of this appliance's metrics, and the ones that HTTP itself feeds. No label ever names a person or a transcript."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from appliance.api.access_log import Exchange

_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "appliance_http_requests", "Answered requests.", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "appliance_http_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._received = Counter("appliance_http_received_bytes", "Bodies of requests.", registry=self.registry)
        self._sent = Counter("appliance_http_sent_bytes", "Bodies of answers.", registry=self.registry)

    def observe(self, exchange: Exchange) -> None:
        self._requests.labels(exchange.method, exchange.route, str(exchange.status)).inc()
        self._seconds.labels(exchange.method, exchange.route).observe(exchange.seconds)
        self._received.inc(exchange.received_bytes)
        self._sent.inc(exchange.sent_bytes)
