"""How this project's numba kernels are compiled.

Belongs here: the decorators. Not here: kernels (`domain.duplicates.hash_kernels`,
`domain.similarity.cascade.kernels`). Importing this module loads numba, so only kernels import it.
"""

from collections.abc import Callable
from typing import Any

import numba
from numba.extending import intrinsic


def compiled(function: Callable[..., Any]) -> Any:
    """Compile on first use without the GIL, keep the code on disk where some folder can be written, else in memory.

    numba looks for a folder when the decorator runs (NUMBA_CACHE_DIR, beside the module, the user's cache folder) and
    raises where it may write none of them: an installed package of a container's read-only root, without a home.
    """
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:
        return numba.njit(nogil=True, error_model="numpy")(function)


def instruction(function: Callable[..., Any]) -> Any:
    """`intrinsic`, for a reader of types: the compiler passes the first argument."""
    return intrinsic(function)
