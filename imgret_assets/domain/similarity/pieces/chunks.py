"""Chunks: the runs of rows that a search is cut into.

Belongs here: which rows form a chunk, and the key of a chunk. Not here: which of them are compared
(`domain.similarity.pieces.work`), and how (`domain.similarity.cascade`).
"""

import hashlib
from dataclasses import dataclass

import numpy as np

# How many times as long a run may be that is compared with few rows.
_LONGER = 4


@dataclass(frozen=True)
class Cut:
    """All rows of a search, cut into runs.

    Attributes:
        runs: int64 row numbers of each run. The chosen rows come first: no run holds chosen rows and others.
        chosen: number of runs of chosen rows.
    """

    runs: list[np.ndarray]
    chosen: int

    @property
    def order(self) -> np.ndarray:
        """The rows of all runs one after the other, int64."""
        return np.concatenate([np.empty(0, np.int64), *self.runs])

    @property
    def chosen_rows(self) -> int:
        """Number of chosen rows."""
        return sum(map(len, self.runs[: self.chosen]))


@dataclass(frozen=True)
class Chunk:
    """A run of rows, known by its content.

    Attributes:
        number: position of the chunk in its search.
        start: first place of the chunk in the order of its search.
        stop: the place after its last one.
        key: hash over the contents of its rows in their order, 32 hex digits: the same in every search.
    """

    number: int
    start: int
    stop: int
    key: str

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.stop - self.start

    @property
    def places(self) -> slice:
        """The places of its rows in the order of the search."""
        return slice(self.start, self.stop)


def cut_rows(count: int, chunk_rows: int, *, shards: np.ndarray | None = None, chosen: np.ndarray | None = None) -> Cut:
    """Cut the rows of a search into runs of at most `chunk_rows` rows.

    A run holds rows of one shard, or of several whole ones if those are small, in ascending order: so a change in one
    shard leaves the runs of the others as they are. Chosen rows are few, so their runs go across shards; the others are
    then compared with few rows at a time and form longer runs, so that a piece is worth its file.

    Args:
        count: number of rows.
        chunk_rows: rows of a run at most, where all rows are chosen.
        shards: int (count,), the number of each row's shard; None if all are in one.
        chosen: int, the rows that are compared with all; None if all of them are.

    Raises:
        IndexError: a chosen row is out of range.
    """
    everything = np.arange(count)
    if chosen is None:
        runs = _runs_of_shards(everything, shards, chunk_rows)
        return Cut(runs, len(runs))
    chosen = np.unique(chosen)
    # The compiled loops do not check their indices.
    if len(chosen) and (chosen[0] < 0 or chosen[-1] >= count):
        raise IndexError(f"rows {chosen[0]} to {chosen[-1]} of {count} vectors")
    runs = _equal_runs(chosen, chunk_rows)
    others = np.setdiff1d(everything, chosen, assume_unique=True)
    longest = max(map(len, runs), default=chunk_rows)
    # No more combinations than two full runs have.
    other_rows = min(_LONGER * chunk_rows, chunk_rows * chunk_rows // longest)
    return Cut(runs + _runs_of_shards(others, shards, other_rows), len(runs))


def _runs_of_shards(rows: np.ndarray, shards: np.ndarray | None, chunk_rows: int) -> list[np.ndarray]:
    if shards is None or not len(rows):
        return _equal_runs(rows, chunk_rows)
    counts = np.bincount(shards[rows])
    by_shard = rows[np.argsort(shards[rows], kind="stable")]
    together = 1
    # Twice as many shards each time, so that their borders stay where they are until all of them are too large.
    while together < len(counts) and _sums(counts, 2 * together).max() <= chunk_rows:
        together *= 2
    ends = np.cumsum(_sums(counts, together))
    return [run for part in np.split(by_shard, ends[:-1]) for run in _equal_runs(part, chunk_rows)]


def _sums(counts: np.ndarray, together: int) -> np.ndarray:
    return np.add.reduceat(counts, np.arange(0, len(counts), together))


def _equal_runs(rows: np.ndarray, chunk_rows: int) -> list[np.ndarray]:
    """Cut rows into as few runs as possible, of nearly equal lengths: a short one would cost as much as a long one."""
    return np.array_split(rows, -(-len(rows) // chunk_rows)) if len(rows) else []


def chunks_of(cut: Cut, digests: np.ndarray) -> list[Chunk]:
    """Return the chunks of a cut.

    Args:
        cut: the cut.
        digests: uint64 (n, 2), hashes of each row's content.
    """
    ends = np.cumsum([len(run) for run in cut.runs]).tolist()
    return [
        Chunk(number, end - len(run), end, content_key(digests[run]))
        for number, (run, end) in enumerate(zip(cut.runs, ends, strict=True))
    ]


def content_key(digests: np.ndarray) -> str:
    """Return the key of a chunk from the hashes of its rows in their order, uint64 (n, 2)."""
    return hashlib.sha256(np.ascontiguousarray(digests).data).hexdigest()[:32]
