"""Room for all vectors of a space: in memory, or in a file on the disk where they don't fit.

Belongs here: the choice and the file. Not here: reading the vectors (`domain.embeddings.table_reader`).
"""

import math
import os
import tempfile
from pathlib import Path

import numpy as np

from imgret_assets.domain.runtime.memory import usable_memory_bytes
from imgret_assets.domain.storage import atomic_files

# The other half is for what is computed from them.
_SHARE_OF_MEMORY = 2


def empty_vectors(folder: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return an array for vectors, float32, with any content; a memory map where it would take half of the memory.

    The file of a memory map has no name: it is gone with the array, also after a kill.

    Args:
        folder: for that file; made if missing.
        shape: number of vectors, and of their coordinates.

    Raises:
        DiskFullError: the disk has no room for the file.
        HomeError: the folder can't be written.
    """
    size = 4 * math.prod(shape)
    if size <= usable_memory_bytes() // _SHARE_OF_MEMORY:
        return np.empty(shape, np.float32)
    with atomic_files.named_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            # Now, because writing to a memory map without room for it ends the process.
            _reserve(file.fileno(), size)
            return np.memmap(file, np.float32, "r+", shape=shape)


def _reserve(handle: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
        return
    zeros = bytes(1 << 20)
    for start in range(0, size, len(zeros)):
        os.write(handle, zeros[: size - start])
