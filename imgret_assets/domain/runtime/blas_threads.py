"""The threads of BLAS, the library that multiplies matrices for NumPy.

Belongs here: keeping BLAS from starting threads of its own. Not here: the number of cores (`domain.runtime.cpu`), our
own threads.

BLAS has one pool of threads for the whole process, and a product waits, spinning, until it has the pool to itself.
Where several threads multiply at once, a product of a few hundred columns can take a hundred times as long.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import cast

from threadpoolctl import LibController, ThreadpoolController

_lock = threading.Lock()
_open_blocks = 0
_numbers_before: list[int] = []


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Set BLAS to one thread within the block, in all threads of this process.

    Blocks of several threads may overlap in any order: the number of threads comes back when the last one ends. Not
    `threadpoolctl.threadpool_limits`: its blocks each put back the number that they found, or change nothing while a
    block of another thread is open.
    """
    shared, own = _libraries()
    _open_block(shared)
    own_before = _numbers(own)
    _set_threads(own, [1] * len(own))
    try:
        yield
    finally:
        _set_threads(own, own_before)
        _close_block(shared)


def _open_block(libraries: list[LibController]) -> None:
    global _open_blocks, _numbers_before
    with _lock:
        if _open_blocks == 0:
            _numbers_before = _numbers(libraries)
            _set_threads(libraries, [1] * len(libraries))
        _open_blocks += 1


def _close_block(libraries: list[LibController]) -> None:
    global _open_blocks
    with _lock:
        _open_blocks -= 1
        if _open_blocks == 0:
            _set_threads(libraries, _numbers_before)


def _numbers(libraries: list[LibController]) -> list[int]:
    return [cast("int", library.get_num_threads()) for library in libraries]


def _set_threads(libraries: list[LibController], numbers: list[int]) -> None:
    for library, number in zip(libraries, numbers, strict=True):
        # threadpoolctl 3.8 lets only the first thread set a number, until that thread releases this right.
        release = getattr(library, "clear_controlling_thread", None)
        if release is not None:
            release(force=True)
        library.set_num_threads(number)
        if release is not None:
            release()


@cache
def _libraries() -> tuple[list[LibController], list[LibController]]:
    """Return the loaded BLAS libraries with one pool for the process, and those with a pool for each of our threads.

    Looked up once: that reads the list of all loaded libraries, which takes longer than a query's products.
    """
    import numpy as np  # noqa: F401 - a library is found once it is loaded

    found = ThreadpoolController().select(user_api="blas").lib_controllers
    own = [library for library in found if getattr(library, "threading_layer", None) == "openmp"]
    return [library for library in found if library not in own], own
