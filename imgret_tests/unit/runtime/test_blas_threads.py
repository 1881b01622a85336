"""BLAS has one thread as long as any block says so, and its own number again afterwards."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from imgret_assets.domain.runtime.blas_threads import _libraries, one_blas_thread


@pytest.fixture(autouse=True)
def _three_threads() -> object:
    """More than one, also on a machine with one processor; another test may have loaded a further library."""
    _libraries.cache_clear()
    assert (np.ones((4, 4)) @ np.ones((4, 4))).all()
    with threadpool_limits(3, user_api="blas"):
        yield


def blas_threads() -> set[int]:
    """Numbers of the libraries with one pool for the process; an OpenMP one, as in FAISS, says that of any thread."""
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return {library["num_threads"] for library in libraries if library.get("threading_layer") != "openmp"}


def test_blas_has_one_thread_within_the_block() -> None:
    outside = blas_threads()
    assert outside == {3}
    with one_blas_thread():
        assert blas_threads() == {1}
    assert blas_threads() == outside


def test_the_number_comes_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="within"), one_blas_thread():
        raise ValueError("within")
    assert blas_threads() == {3}


def test_blocks_that_overlap_end_in_any_order() -> None:
    first, second = ExitStack(), ExitStack()
    first.enter_context(one_blas_thread())
    second.enter_context(one_blas_thread())
    first.close()
    assert blas_threads() == {1}
    second.close()
    assert blas_threads() == {3}


def test_many_threads_at_once() -> None:
    start = threading.Barrier(8, timeout=30)
    seen: list[set[int]] = []

    def work(_: int) -> None:
        start.wait()
        for _round in range(5):
            with one_blas_thread():
                seen.append(blas_threads())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(seen) == 40
    assert all(threads == {1} for threads in seen)
    assert blas_threads() == {3}
