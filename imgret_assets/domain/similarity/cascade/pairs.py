"""All pairs above a threshold, by the cascade.

Belongs here: the entrance of the pair search. Not here: the bounds (`domain.similarity.cascade.bounds`).
"""

from collections.abc import Iterable, Sequence

import numpy as np

from imgret_assets.domain.similarity.cascade.bounds import Plan
from imgret_assets.domain.similarity.cascade.sieve import Block, Found, Options, Sieve, as_found

_MOST = 256  # Coordinates of the last bound at the most.


class Cascade:
    """All pairs whose float64 cosine is greater than a threshold, block by block.

    The blocks and their order follow from the number of rows, the chosen ones and `block_rows` (from the memory) alone,
    so a caller may keep each block's answer in a file and go on after the last one: an answer doesn't depend on the
    plan, the engine or the number of threads, to the last bit of the scores.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm; may be a memory map.
        threshold: a cosine in [-1, 1].
        rows: only pairs with at least one of these rows (int, any order); None for all pairs.
        options: memory, threads, engine, plan.

    Raises:
        TableError: a row is zero or not finite; it is named.
        SettingError: the engine or the plan can't be used.

    Example:
        >>> cascade = Cascade(vectors, 0.8)
        >>> parts = [cascade.pairs_of(block) for block in cascade.blocks]
    """

    def __init__(
        self,
        vectors: np.ndarray,
        threshold: float,
        *,
        rows: np.ndarray | Sequence[int] | None = None,
        options: Options | None = None,
    ) -> None:
        chosen = None if rows is None else np.asarray(rows, dtype=np.int64)
        self._sieve = Sieve(vectors, chosen, lambda unit, left: threshold, _MOST, options or Options())
        self._floors = np.full(self._sieve.count, float(threshold))
        self.blocks = self._sieve.blocks()

    @property
    def block_rows(self) -> int:
        """Rows of a block's side."""
        return self._sieve.block_rows

    @property
    def plan(self) -> Plan:
        """What was planned, to be logged."""
        return self._sieve.plan

    @property
    def digests(self) -> np.ndarray:
        """Two hashes of every vector's numbers, uint64 (n, 2): equal where vectors are."""
        return self._sieve.digests

    @property
    def compared(self) -> int:
        """Number of pairs that the blocks decide together."""
        return self._sieve.pairs

    def pairs_of(self, block: Block) -> Found:
        """The pairs of one block, rows as in `vectors`."""
        return as_found(self._sieve.search(block, self._floors), self._sieve.order)


def merged(parts: Iterable[Found]) -> Found:
    """The answers of several blocks as one, sorted."""
    held = list(parts)
    a, b, scores = (np.concatenate(column) for column in zip(*held, strict=True)) if held else as_found([], np.empty(0))
    by_rows = np.lexsort((b, a))
    return Found(a[by_rows], b[by_rows], scores[by_rows])
