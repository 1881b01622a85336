"""Answers of finished blocks of a long search, in files that a killed run leaves for the next one.

Belongs here: keeping and finding them. Not here: what a block is (`domain.similarity.cascade.sieve`), when all are
done.
"""

import hashlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imgret_assets.domain.storage import atomic_files

# What a kill may cost: finished blocks are kept at least this often.
CHECKPOINT_S = 20.0
Answer = tuple[np.ndarray, np.ndarray, np.ndarray]


class KeptBlocks:
    """Answers of the first `done` blocks of one search, each a, b (int64 rows) and float64 cosines.

    Whoever opens it holds a lock on the folder.

    Args:
        work: folder of one search at a time; None keeps nothing.
        key: what the blocks' answers depend on; what is there of another key is removed.
    """

    def __init__(self, work: Path | None, key: str) -> None:
        self.folder = None if work is None else work / key
        self.done = 0
        self._waiting: list[Answer] = []
        self._since = time.monotonic()
        if work is not None and work.is_dir():
            # Blocks of other vectors or of another question are of no use any more.
            for other in work.iterdir():
                if other.is_dir() and other.name != key:
                    shutil.rmtree(other)

    def read(self) -> Iterator[tuple[Answer, int]]:
        """What is kept, from the first block on, each part with the number of blocks that are done with it."""
        if self.folder is None:
            return
        while found := sorted(self.folder.glob(f"{self.done:09d}-*.npz")):
            with np.load(found[-1]) as held:
                answer = (held["a"], held["b"], held["scores"])
            self.done = int(found[-1].stem.split("-")[1])
            yield answer, self.done

    def add(self, answer: Answer, done: int) -> None:
        """Keep a block's answer, with those before it, in a file now and then; `done` counts the blocks with it."""
        if self.folder is None:
            return
        self._waiting.append(answer)
        if time.monotonic() - self._since < CHECKPOINT_S:
            return
        a, b, scores = (np.concatenate(column) for column in zip(*self._waiting, strict=True))
        with (
            atomic_files.replacing(self.folder / f"{self.done:09d}-{done:09d}.npz") as temporary,
            temporary.open("wb") as opened,
        ):
            np.savez(opened, a=a, b=b, scores=scores)
        self.done, self._waiting, self._since = done, [], time.monotonic()

    def forget(self) -> None:
        """All blocks are done."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def search_key(digests: np.ndarray, rows: np.ndarray | None, *question: object) -> str:
    """What a kept block's answer depends on, as 16 hex digits.

    Args:
        digests: of the vectors (`cascade.Cascade.digests`).
        rows: the chosen rows; None for all.
        question: whatever else is asked, and the size of blocks; told apart by their `repr`.
    """
    digest = hashlib.sha256(repr((digests.shape, question)).encode())
    digest.update(np.ascontiguousarray(digests).data)
    digest.update(b"all" if rows is None else np.ascontiguousarray(rows, dtype=np.int64).data)
    return digest.hexdigest()[:16]
