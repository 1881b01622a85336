"""Counters and times of the API in the format of Prometheus.

Belongs here: what is measured of every request. Not here: limits (`api.limits`), counts of the library
(`domain.operations.overview`).
"""

import time
from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# Of clients: names that no route has are one, so that they can't make any number of series.
_NO_ROUTE = "none"
_METHODS = ("GET", "HEAD", "POST")


class Metrics:
    """The measurements of one application, in a registry of its own."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "imgret_api_requests", "Answered requests.", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "imgret_api_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.searches = Histogram(
            "imgret_api_search_seconds",
            "Time of one search, from the bytes of the image to the hits.",
            ("mode",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.refused = Counter("imgret_api_refused", "Requests refused by a limit.", ("limit",), registry=self.registry)
        self.in_flight = Gauge("imgret_api_in_flight", "Requests at work or waiting.", registry=self.registry)

    def text(self) -> bytes:
        """Return all measurements in the text format."""
        return generate_latest(self.registry)


class MeasuredRequests:
    """ASGI middleware that counts and times requests by route and status."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        """Measure `app`."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and measure it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting_status)
        finally:
            route = getattr(scope.get("route"), "path_format", _NO_ROUTE)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(method, route, status).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)
