"""Several files at the same time to or from a store.

Belongs here: the threads, and ending them at the first failure. Not here: a single file (`bucket`).
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

# Small files take a round trip each; the memory for large ones is at most this number times one part.
THREADS = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return the results of some items in their order; after a failure no further one is begun.

    Raises whatever `work` raises first, in the order of the items.
    """
    with ThreadPoolExecutor(THREADS, thread_name_prefix="store") as threads:
        futures = [threads.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
