"""What a request may take: bytes and time of its body, a place among those at work, threads and time for its answer.

Belongs here: refusing what takes more. Not here: who may ask (`api.access`), the size of an image in pixels
(`domain.images.decode`), the settings (`settings.ApiSettings`).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TypeVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgret_assets.api.metrics import Metrics
from imgret_assets.api.problems import RETRY_AFTER_S, Problem, ProblemError
from imgret_assets.domain.runtime.cpu import usable_threads

LIMITED_PREFIX = "/v1/"
_MIN_THREADS = 4

Result = TypeVar("Result")


def search_threads(setting: int | None) -> int:
    """Return how many searches run at the same time: as set, else twice the cores.

    A search computes on one core for a part of its time, and waits for the database for the other.
    """
    return setting or max(_MIN_THREADS, 2 * usable_threads())


class Admission:
    """ASGI middleware that lets a limited number of requests in, and refuses further ones before reading them."""

    def __init__(self, app: ASGIApp, *, places: int, metrics: Metrics) -> None:
        """Let `places` requests to `LIMITED_PREFIX` into `app` at the same time."""
        self._app = app
        self._places = places
        self._metrics = metrics
        self._taken = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or not scope["path"].startswith(LIMITED_PREFIX):
            await self._app(scope, receive, send)
            return
        if self._taken >= self._places:
            self._metrics.refused.labels("busy").inc()
            await _busy(self._places).response()(scope, receive, send)
            return
        self._taken += 1
        self._metrics.in_flight.set(self._taken)
        try:
            await self._app(scope, receive, send)
        finally:
            self._taken -= 1
            self._metrics.in_flight.set(self._taken)


class BodyLimit:
    """ASGI middleware that reads no body further than a number of bytes, nor longer than a time."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float, metrics: Metrics) -> None:
        """Guard `app`."""
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with a limited body; refuse one that announces too much before any of it is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            self._metrics.refused.labels("bytes").inc()
            await self._too_large().response()(scope, receive, send)
            return
        await self._app(scope, self._limited(receive), send)

    def _limited(self, receive: Receive) -> Receive:
        read_bytes = 0
        is_complete = False
        deadline = asyncio.get_running_loop().time() + self._timeout_s

        async def limited_receive() -> Message:
            nonlocal read_bytes, is_complete
            # After the body this waits for the end of the connection, for as long as the answer takes.
            if is_complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                self._metrics.refused.labels("body time").inc()
                raise ProblemError(self._too_slow()) from None
            read_bytes += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if read_bytes > self._max_bytes:
                self._metrics.refused.labels("bytes").inc()
                raise ProblemError(self._too_large())
            return message

        return limited_receive

    def _too_large(self) -> Problem:
        return Problem(
            "too-large",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "The request is too large",
            f"The body has more than {self._max_bytes:,} bytes",
            remedy="send fewer or smaller images; IMGRET_API_MAX_BYTES is the limit",
            closes=True,
        )

    def _too_slow(self) -> Problem:
        return Problem(
            "too-slow",
            HTTPStatus.REQUEST_TIMEOUT,
            "The request did not end",
            f"The body was not complete within {self._timeout_s:g} s",
            remedy="send it faster; IMGRET_API_TIMEOUT_S is the limit",
            closes=True,
        )


class Workers:
    """A bounded number of threads for what computes or waits; the event loop goes on meanwhile."""

    def __init__(self, name: str, threads: int, *, timeout_s: float, metrics: Metrics) -> None:
        """Make the threads when they are first needed.

        Args:
            name: of the threads.
            threads: how many.
            timeout_s: how long a request waits for its result, in seconds.
            metrics: counts what took longer.
        """
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"imgret-{name}")
        self._timeout_s = timeout_s
        self._metrics = metrics

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns in one of the threads; those who wait have their turns in order.

        Raises:
            ProblemError: it took too long. What has not begun is dropped; what runs keeps its thread until it ends.
        """
        future = self._pool.submit(work)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if future.done() and not future.cancelled():
                # Not this timeout, but an error of the work itself.
                raise
            future.cancel()
            self._metrics.refused.labels("time").inc()
            raise ProblemError(self._timed_out()) from None

    def close(self) -> None:
        """Drop what has not begun; threads end with what they run."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _timed_out(self) -> Problem:
        return Problem(
            "timeout",
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The answer took too long",
            f"There was no answer within {self._timeout_s:g} s",
            remedy="try again later, or ask with fewer images; IMGRET_API_TIMEOUT_S is the limit",
            retry_after_s=RETRY_AFTER_S,
        )


def _busy(places: int) -> Problem:
    return Problem(
        "busy",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Too many requests at once",
        f"{places:,} requests are at work or waiting",
        remedy="try again after the time in Retry-After; IMGRET_API_WAITING is the limit",
        retry_after_s=RETRY_AFTER_S,
        closes=True,
    )
