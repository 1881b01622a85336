"""All pairs above a threshold, by the cascade.

Belongs here: the search for pairs. Not here: the bounds (`domain.similarity.cascade.bounds`), the k nearest neighbours
(`domain.similarity.cascade.nearest_search`).
"""

from collections.abc import Sequence

import numpy as np

from imgret_assets.domain.similarity.cascade.options import CascadeOptions
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.domain.similarity.cascade.sieve import Block, Sieve, pairs_of_rows
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs

# Coordinates of the last bound at most.
_MAX_WIDTH = 256


class PairSearch:
    """All pairs whose exact score is greater than a threshold, block by block.

    The blocks and their order follow from the number of rows, the chosen rows and `block_rows` (from the memory) alone,
    and the result of a block does not depend on plan, engine or threads, to the last bit of the scores. So a caller may
    keep the results of blocks in files and go on after the last one.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm; may be a memory map.
        threshold: a cosine in [-1, 1].
        rows: int, in any order: only pairs with at least one of these rows; all pairs where None.
        options: how the search is done.

    Attributes:
        blocks: the blocks to search, in order.

    Raises:
        TableError: a row is zero or not finite.
        SettingError: the engine or the plan can't be used.

    Example:
        >>> search = PairSearch(vectors, 0.8)
        >>> pairs = merge_pairs(search.pairs_of(block) for block in search.blocks)
    """

    def __init__(
        self,
        vectors: np.ndarray,
        threshold: float,
        *,
        rows: np.ndarray | Sequence[int] | None = None,
        options: CascadeOptions | None = None,
    ) -> None:
        chosen = None if rows is None else np.asarray(rows, dtype=np.int64)
        options = options or CascadeOptions()
        self._sieve = Sieve(vectors, chosen, lambda unit, left_count: threshold, _MAX_WIDTH, options)
        self._thresholds = np.full(len(vectors), float(threshold))
        self.blocks = self._sieve.blocks()

    @property
    def block_rows(self) -> int:
        """Number of rows of a block's side."""
        return self._sieve.block_rows

    @property
    def plan(self) -> Plan:
        """The bounds that are taken."""
        return self._sieve.prepared.plan

    @property
    def digests(self) -> np.ndarray:
        """Two hashes of every vector's numbers, uint64 (n, 2): equal where vectors are equal."""
        return self._sieve.prepared.digests

    @property
    def pair_count(self) -> int:
        """Number of pairs that all blocks compare."""
        return self._sieve.prepared.pair_count

    def pairs_of(self, block: Block) -> ScoredPairs:
        """Search a block and return its pairs."""
        return pairs_of_rows(self._sieve.search(block, self._thresholds), self._sieve.prepared.order)
