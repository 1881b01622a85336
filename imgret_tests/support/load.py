"""Many clients at once for a while: how long each waited, what failed, how much memory it took.

Belongs here: running clients side by side and summing up. Not here: what a client asks for
(`attack/test_many_askers.py`), sessions of the page (`page_visitors.py`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import psutil

_MB = 2**20


@dataclass
class Load:
    """What clients met with.

    Attributes:
        name: what they asked for.
        clients: how many asked at once.
        pid: the process that answered.
        waited_s: seconds until each answer.
        failures: what went wrong, one text for each failed answer.
        wall_s: seconds from the first request to the last answer.
        start_bytes: memory of the process at the start.
        end_bytes: the same at the end.
    """

    name: str
    clients: int
    pid: int
    waited_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    wall_s: float = 0.0
    start_bytes: int = 0
    end_bytes: int = 0

    @property
    def p50_s(self) -> float:
        return float(np.median(self.waited_s))

    @property
    def p99_s(self) -> float:
        return float(np.quantile(self.waited_s, 0.99))

    @property
    def growth_bytes(self) -> int:
        return self.end_bytes - self.start_bytes

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.clients} clients, {len(self.waited_s):,} answers in {self.wall_s:.0f} s, "
            f"{len(self.waited_s) / self.wall_s:.1f} a second, p50 {self.p50_s:.2f} s, p99 {self.p99_s:.2f} s, "
            f"{len(self.failures)} errors, memory {self.start_bytes / _MB:.0f} to {self.end_bytes / _MB:.0f} MB"
        )

    def begin(self) -> float:
        """Note memory and time; return the time."""
        self.start_bytes = psutil.Process(self.pid).memory_info().rss
        return time.monotonic()

    def end(self, began: float) -> "Load":
        """Note memory and time, and print the sums."""
        self.wall_s = time.monotonic() - began
        self.end_bytes = psutil.Process(self.pid).memory_info().rss
        print(self)  # noqa: T201 - what a load test is run for
        return self

    def note(self, asked_at: float, failure: str | None) -> None:
        """Note one answer."""
        self.waited_s.append(time.monotonic() - asked_at)
        if failure is not None:
            self.failures.append(failure)


def ask_in_threads(load: Load, ask: Callable[[int, int], str | None], *, seconds: float) -> Load:
    """Let each client ask again and again in a thread of its own.

    Args:
        load: what is completed and returned.
        ask: asks the question of this client and number and returns what was wrong with the answer, if anything.
        seconds: how long.
    """
    began = load.begin()

    def client(number: int) -> None:
        question = 0
        while time.monotonic() < began + seconds:
            asked_at = time.monotonic()
            try:
                failure = ask(number, question)
            except Exception as error:  # whatever it is, it counts
                failure = repr(error)
            load.note(asked_at, failure)
            question += 1

    with ThreadPoolExecutor(load.clients) as pool:
        list(pool.map(client, range(load.clients)))
    return load.end(began)


def visit(load: Load, visitor: Callable[[Load, int, float], Awaitable[None]], *, seconds: float) -> Load:
    """Let visitors look at the page side by side; each is given its number and the time at which it leaves."""

    async def everybody() -> None:
        await asyncio.gather(*(guarded(number) for number in range(load.clients)))

    async def guarded(number: int) -> None:
        while time.monotonic() < began + seconds:
            asked_at = time.monotonic()
            try:
                await visitor(load, number, began + seconds)
            except Exception as error:  # whatever it is, it counts
                load.note(asked_at, repr(error))

    began = load.begin()
    asyncio.run(everybody())
    return load.end(began)
