"""All pairs above a threshold, by the cascade.

Belongs here: the search for pairs. Not here: the bounds (`domain.similarity.cascade.bounds`), the k nearest neighbours
(`domain.similarity.cascade.nearest_search`), going on from finished pieces (`domain.similarity.pieces`).
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from imgret_assets.domain.cluster.ray_cluster import RayCluster
from imgret_assets.domain.similarity.cascade.on_cluster import PiecesOnCluster, pair_chunk_rows
from imgret_assets.domain.similarity.cascade.options import CascadeOptions
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.domain.similarity.cascade.preparation import PreparedVectors, Selection
from imgret_assets.domain.similarity.cascade.prepared_chunk import PreparedChunk
from imgret_assets.domain.similarity.cascade.sieve import Sieve, choose_engine, chunk_rows, pairs_of_rows
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs
from imgret_assets.domain.similarity.pieces.answers import Answer
from imgret_assets.domain.similarity.pieces.caps import Cap
from imgret_assets.domain.similarity.pieces.chunks import Chunk
from imgret_assets.domain.similarity.pieces.computing import Compute
from imgret_assets.domain.similarity.pieces.work import Piece, compared_chunks, piece_key

# Coordinates of the last bound at most.
_MAX_WIDTH = 256


class PairSearch:
    """All pairs whose exact score is greater than a threshold, piece by piece.

    The answer of a piece follows from its two chunks, the threshold and the cap alone, to the last bit of the scores.
    It does not depend on plan, engine, threads or the other chunks.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm; may be a memory map.
        threshold: a cosine in [-1, 1].
        rows: int, in any order: only pairs with at least one of these rows; all pairs where None.
        shards: int (n,), the number of each row's shard; None if all are in one.
        options: how the search is done.
        max_neighbours: leave out pairs that are not among the best so many of either row; None keeps all. Pairs remain
            that are among the best of a piece only.
        sizes: int64 (n,), for how many pairs' sides each row counts in what is left out; one for each where None.

    Attributes:
        pieces: the pieces, in an order in which this process compares them fast.

    Raises:
        TableError: a row is zero or not finite.
        SettingError: the engine or the plan can't be used.

    Example:
        >>> search = PairSearch(vectors, 0.8)
        >>> pairs = merge_pairs(search.pairs(piece, search.answer(piece)) for piece in search.pieces)
    """

    def __init__(
        self,
        vectors: np.ndarray,
        threshold: float,
        *,
        rows: np.ndarray | Sequence[int] | None = None,
        shards: np.ndarray | None = None,
        options: CascadeOptions | None = None,
        max_neighbours: int | None = None,
        sizes: np.ndarray | None = None,
    ) -> None:
        chosen = None if rows is None else np.asarray(rows, dtype=np.int64)
        options = options or CascadeOptions()
        rows_of_chunk = options.chunk_rows or chunk_rows(options.memory_bytes)
        if options.on_cluster and options.chunk_rows is None:
            rows_of_chunk = pair_chunk_rows(len(vectors), rows_of_chunk)
        selection = Selection(rows_of_chunk, chosen, shards)
        self._prepared = PreparedVectors(
            vectors, selection, lambda unit, left_count: threshold, _MAX_WIDTH, choose_engine(options), options
        )
        self._sieve = Sieve(self._prepared.bounds, self._prepared.threads)
        self._threshold = float(threshold)
        self._max_neighbours, self._sizes = max_neighbours, sizes
        self.pieces = [
            Piece(left, right, piece_key(left, right, "pairs", self._threshold, *self._cap_key(left, right)))
            for left, right in compared_chunks(self._prepared.chunks, self._prepared.chosen_chunks)
        ]

    @cached_property
    def _chunks(self) -> list[PreparedChunk]:
        return [self._prepared.chunk(chunk) for chunk in self._prepared.chunks]

    @property
    def plan(self) -> Plan:
        """The bounds that are taken."""
        return self._prepared.bounds.plan

    @property
    def dim(self) -> int:
        """Number of coordinates of a vector."""
        return self._prepared.dim

    @property
    def digests(self) -> np.ndarray:
        """Two hashes of every vector's numbers, uint64 (n, 2): equal where vectors are equal."""
        return self._prepared.digests

    @property
    def pair_count(self) -> int:
        """Number of pairs that all pieces compare."""
        return self._prepared.pair_count

    def answer(self, piece: Piece) -> Answer:
        """Compare the two chunks of a piece."""
        left, right = self._chunks[piece.left.number], self._chunks[piece.right.number]
        answer = self._sieve.search(left, right, *(np.full(len(side), self._threshold) for side in (left, right)))
        cap = self._cap(piece.left, piece.right)
        return answer if cap is None else cap.apply(answer, is_diagonal=piece.is_diagonal)

    def _cap(self, left: Chunk, right: Chunk) -> Cap | None:
        if self._max_neighbours is None or self._sizes is None:
            return None if self._max_neighbours is None else Cap(self._max_neighbours)
        sizes = [self._sizes[self._prepared.order[chunk.places]] for chunk in (left, right)]
        if all((each == 1).all() for each in sizes):
            return Cap(self._max_neighbours)
        return Cap(self._max_neighbours, *sizes)

    def _cap_key(self, left: Chunk, right: Chunk) -> list[str]:
        cap = self._cap(left, right)
        return [] if cap is None else ["best", cap.key]

    def pairs(self, piece: Piece, answer: Answer) -> ScoredPairs:
        """Return the pairs of an answer as pairs of rows of this search."""
        order = self._prepared.order
        return pairs_of_rows(order[piece.left.places], order[piece.right.places], answer)

    def compute_on(self, cluster: RayCluster, folder: Path, *, max_pairs: int | None = None) -> Compute:
        """Return an engine that compares the pieces on a cluster.

        Args:
            cluster: the cluster.
            folder: for the vectors; all nodes see it.
            max_pairs: a piece with more pairs is an error; None for no limit.
        """
        return PiecesOnCluster(
            cluster,
            self._prepared,
            lambda piece: (self._threshold, self._threshold),
            folder,
            max_pairs,
            lambda piece: self._cap(piece.left, piece.right),
        )
