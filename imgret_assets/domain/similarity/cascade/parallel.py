"""Threads of the cascade.

Belongs here: cutting work into pieces, doing them on several threads. Not here: the number of cores
(`domain.runtime.cpu`), keeping libraries from starting threads of their own (`domain.runtime.blas_threads`).
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(task: Callable[[T], R], items: Iterable[T], threads: int) -> list[R]:
    """Call `task` for every item on `threads` threads, and return the results in order."""
    items = list(items)
    if threads == 1 or len(items) < 2:
        return [task(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(task, items))


def slices(start: int, stop: int, size: int) -> list[slice]:
    """Cut a range into slices of `size`, the last one shorter."""
    return [slice(at, min(at + size, stop)) for at in range(start, stop, size)]


def slices_for_threads(count: int, threads: int) -> list[slice]:
    """Cut range(count) into a slice for every thread, of at least 256."""
    return slices(0, count, max(256, -(-count // threads)))
