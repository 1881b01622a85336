"""The results of finished blocks of a long search, in files that the next run uses if this one is killed.

Belongs here: writing and finding these files. Not here: the blocks (`domain.similarity.cascade`), the searches that go
on (`domain.similarity.pair_search`, `domain.similarity.neighbours_table`), what else makes the run after a killed one
right (listed in `domain.storage`).
"""

import hashlib
import logging
import shutil
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, merge_pairs
from imgret_assets.domain.storage import atomic_files

# Finished blocks are written at least this often: the work that a kill may cost.
CHECKPOINT_S = 20.0


_log = logging.getLogger(__name__)

# What numpy and zipfile raise for a damaged file; its values have a CRC-32, which zipfile verifies.
DAMAGED_ARRAYS = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class FinishedBlocks:
    """The results of the first blocks of one search, in files. The caller holds a lock on the folder.

    Args:
        work_folder: folder for one search at a time; None keeps nothing.
        key: `search_key` of the search; the results of any other search in the folder are removed.

    Attributes:
        count: number of blocks whose results are in files.
    """

    def __init__(self, work_folder: Path | None, key: str) -> None:
        self.count = 0
        self._folder = None if work_folder is None else work_folder / key
        self._waiting: list[ScoredPairs] = []
        self._written_at = time.monotonic()
        if work_folder is not None and work_folder.is_dir():
            for folder in work_folder.iterdir():
                if folder.is_dir() and folder.name != key:
                    shutil.rmtree(folder)

    def read(self) -> Iterator[tuple[ScoredPairs, int]]:
        """Yield the results in files, from the first block on, each with the number of blocks up to its end."""
        if self._folder is None:
            return
        while files := sorted(self._folder.glob(f"{self.count:09d}-*.npz")):
            try:
                with np.load(files[-1]) as arrays:
                    # Earlier versions wrote several blocks one after the other.
                    pairs = ScoredPairs.sorted_from(arrays["a"], arrays["b"], arrays["scores"])
            except DAMAGED_ARRAYS as error:
                _log.warning("%s is damaged (%s). Its blocks are searched again.", files[-1], error)
                files[-1].unlink(missing_ok=True)
                continue
            self.count = int(files[-1].stem.split("-")[1])
            yield pairs, self.count

    def add(self, pairs: ScoredPairs, count: int) -> None:
        """Add the result of a block; write it, with those that wait, every `CHECKPOINT_S` seconds.

        Args:
            pairs: the result.
            count: number of blocks up to the end of this one.
        """
        if self._folder is None:
            return
        self._waiting.append(pairs)
        if time.monotonic() - self._written_at < CHECKPOINT_S:
            return
        pairs = merge_pairs(self._waiting)
        file = self._folder / f"{self.count:09d}-{count:09d}.npz"
        with atomic_files.replacing(file) as temporary, temporary.open("wb") as opened:
            np.savez(opened, a=pairs.a, b=pairs.b, scores=pairs.scores)
        self.count, self._waiting, self._written_at = count, [], time.monotonic()

    def remove(self) -> None:
        """Remove the files after the last block."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def search_key(digests: np.ndarray, rows: np.ndarray | None, *parameters: object) -> str:
    """Return a hash over everything that the results of blocks depend on, 16 hex digits.

    Args:
        digests: hashes of the vectors, uint64 (n, 2).
        rows: the rows that are searched; None for all.
        parameters: the other parameters of the search and the size of its blocks, distinguished by their `repr`.
    """
    digest = hashlib.sha256(repr((digests.shape, parameters)).encode())
    digest.update(np.ascontiguousarray(digests).data)
    digest.update(b"all" if rows is None else np.ascontiguousarray(rows, dtype=np.int64).data)
    return digest.hexdigest()[:16]
