"""Kernels compile where no folder can be written, too."""

import numba
import numpy as np
import pytest

from imgret_assets.domain.numerics.numba_compiler import compiled


def twice(values: np.ndarray) -> np.ndarray:
    return values * 2


def test_a_compiled_function_gives_what_the_function_gives() -> None:
    np.testing.assert_array_equal(compiled(twice)(np.arange(5.0)), np.arange(5.0) * 2)


def test_without_a_cache_folder_a_function_is_compiled_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    real = numba.njit

    def without_cache(**options: object) -> object:
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'twice': no locator available")
        return real(**options)  # type: ignore[call-overload]

    monkeypatch.setattr(numba, "njit", without_cache)
    np.testing.assert_array_equal(compiled(twice)(np.arange(5.0)), np.arange(5.0) * 2)
