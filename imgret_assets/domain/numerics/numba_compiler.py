"""The decorators that compile this project's numba kernels.

Belongs here: how kernels are compiled. Not here: the kernels (`domain.duplicates.hash_kernels`,
`domain.similarity.cascade.kernels`). Importing this module loads numba, so only modules of kernels import it.
"""

from collections.abc import Callable
from typing import Any

import numba
from numba.core import config
from numba.extending import intrinsic

from imgret_assets.locations import default_cache, is_checkout

# Beside the modules of an installed package there would be files that no uninstallation removes.
if not is_checkout() and not config.CACHE_DIR:  # pyright: ignore[reportAttributeAccessIssue]
    config.CACHE_DIR = str(default_cache() / "numba")  # pyright: ignore[reportAttributeAccessIssue]


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call, without the GIL; cache the machine code on disk where that is possible.

    numba looks for a cache folder when the decorator runs (NUMBA_CACHE_DIR, the user's cache folder of imgret unless
    this is a checkout, the module's own folder, the user's cache folder) and raises where it may write none of them: an
    installed package in a container whose root file system is read-only, run by a user without a home. There the
    machine code is kept in memory alone.
    """
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:
        return numba.njit(nogil=True, error_model="numpy")(function)


def instruction(function: Callable[..., Any]) -> Any:
    """Make a function of types into an instruction, by numba's `intrinsic`, with a type that a checker understands.

    The compiler passes the first argument, the typing context.
    """
    return intrinsic(function)
