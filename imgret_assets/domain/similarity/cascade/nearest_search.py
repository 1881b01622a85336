"""The exact k nearest neighbours of every row, by the cascade.

Belongs here: each row's threshold, the lists, the first guess at them. Not here: the bounds
(`domain.similarity.cascade.bounds`), what stays valid of earlier lists (`domain.similarity.neighbour_lists`).

A pair matters only if its score reaches the k-th best score of one of its two rows, so it is discarded where a bound
stays below the lower of the two. The k-th best score that a row has at any time is a lower limit of its final one, so
it is a safe threshold from the start. A first guess makes the thresholds high: it compares rows that stand near each
other in a sequence in which similar rows are neighbours. Scores are exact, so equal scores are equal on every engine,
and an updated list equals one that is made from nothing.
"""

import hashlib
import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from imgret_assets.domain.cluster.ray_cluster import RayCluster
from imgret_assets.domain.runtime.blas_threads import one_blas_thread
from imgret_assets.domain.similarity.cascade.on_cluster import PiecesOnCluster, nearest_chunk_rows
from imgret_assets.domain.similarity.cascade.options import CascadeOptions
from imgret_assets.domain.similarity.cascade.parallel import slices
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.domain.similarity.cascade.preparation import PreparedVectors, Selection
from imgret_assets.domain.similarity.cascade.projections import coordinate_columns
from imgret_assets.domain.similarity.cascade.sieve import MAX_CHUNK_ROWS, Sieve, choose_engine, chunk_rows
from imgret_assets.domain.similarity.neighbour_lists import (
    EarlierLists,
    NeighbourLists,
    invalid_entries,
    no_lists,
    rows_to_search,
)
from imgret_assets.domain.similarity.pieces.answers import Answer
from imgret_assets.domain.similarity.pieces.computing import Compute
from imgret_assets.domain.similarity.pieces.work import Piece, piece_key, waves
from imgret_assets.errors import SettingError

# Coordinates of the last bound at most: more than for pairs, because a k-th best score is usually below a threshold.
_MAX_WIDTH = 512
CHUNK_ROWS = 2048
# The guess: rows before and after a row, rows of a sample, rows whose pivots are found together, rows of a piece.
_WINDOW, _SAMPLE, _PIVOT_ROWS, _GUESSED_ROWS = 256, 1024, 8192, 512
# Coordinates of the guess, and how many of them the kernel takes; of more a library's product is faster.
_GUESS_COLUMNS, _KERNEL_COLUMNS = 128, 256


class NearestSearch:
    """The k nearest neighbours of every row, in waves of pieces.

    Within a wave every row has one threshold, so the answer of a piece follows from its two chunks and the thresholds
    of their rows alone, and the pieces of a wave may be compared in any order. The lists are exact after the last wave.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm; may be a memory map.
        k: number of neighbours to keep for every row, at least 1.
        required: number of neighbours that every row must have in the end, at most k; None for k. The others are a
            reserve: a list that loses some entries still has the required ones.
        earlier: earlier lists. New rows, and rows with fewer than `required` entries left, are compared with all rows;
            the others only with those.
        shards: int (n,), the number of each row's shard; None if all are in one.
        options: how the search is done.

    Raises:
        TableError: a row is zero or not finite.
        SettingError: k is less than 1, or the engine or the plan can't be used.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        k: int,
        *,
        required: int | None = None,
        earlier: EarlierLists | None = None,
        shards: np.ndarray | None = None,
        options: CascadeOptions | None = None,
    ) -> None:
        if k < 1:
            raise SettingError(f"{k} nearest neighbours", expected="at least 1")
        count = len(vectors)
        self._count, self._width = count, max(0, min(k, count - 1))
        invalid = searched = None
        if earlier is not None:
            invalid = invalid_entries(earlier, count)
            searched = rows_to_search(
                earlier, invalid, self._width, min(k if required is None else required, self._width)
            )
        options = options or CascadeOptions()
        # Smaller chunks than for pairs: each wave raises the thresholds for those that follow.
        rows = options.chunk_rows or min(chunk_rows(options.memory_bytes), max(512, min(CHUNK_ROWS, count // 256 * 16)))
        if options.on_cluster and options.chunk_rows is None:
            rows = nearest_chunk_rows(count, rows)
        self._prepared = PreparedVectors(
            vectors, Selection(rows, searched, shards), self._sample_thresholds, _MAX_WIDTH, choose_engine(options),
            options,
        )  # fmt: skip
        self._sieve = Sieve(self._prepared.bounds, self._prepared.threads)
        self._chunks = [self._prepared.chunk(chunk) for chunk in self._prepared.chunks]
        # By place. The threshold of a place is just below its last score, so that equal scores are compared.
        self._members, self._scores = no_lists(count, self._width)
        # The last entry that may be inserted: the entry that follows the end of an earlier list is unknown.
        self._limits, self._limit_members = np.full(count, -np.inf), np.full(count, np.iinfo(np.int64).max)
        if earlier is not None and invalid is not None and self._width:
            self._keep_valid_entries(earlier, invalid)
        lowest = np.maximum(self._scores[:, -1], self._limits) if self._width else np.empty(0)
        self._thresholds = np.nextafter(lowest, -np.inf)
        self._waves = waves(self._prepared.chunks, self._prepared.chosen_chunks) if self._width else []
        if self._waves:
            with one_blas_thread():
                self._guess_lists()

    @property
    def plan(self) -> Plan:
        """The bounds that are taken."""
        return self._prepared.bounds.plan

    @property
    def pair_count(self) -> int:
        """Number of pairs that all pieces compare."""
        return self._prepared.pair_count

    @property
    def digests(self) -> np.ndarray:
        """Two hashes of every vector's numbers, uint64 (n, 2): equal where vectors are equal."""
        return self._prepared.digests

    @property
    def piece_count(self) -> int:
        """Number of pieces of all waves."""
        return sum(map(len, self._waves))

    def waves(self) -> Iterator[list[Piece]]:
        """Yield the pieces of each wave. The answers of all pieces of a wave are added before the next one is taken."""
        for wave in self._waves:
            self._wave_thresholds = self._thresholds.copy()
            digests = {
                chunk: hashlib.sha256(self._wave_thresholds[chunk.places].tobytes()).hexdigest()
                for chunk in {*chain.from_iterable(wave)}
            }
            yield [
                Piece(left, right, piece_key(left, right, "nearest", digests[left], digests[right]))
                for left, right in wave
            ]

    def answer(self, piece: Piece) -> Answer:
        """Compare the two chunks of a piece of the present wave: the pairs that may matter to a list."""
        left, right = self._chunks[piece.left.number], self._chunks[piece.right.number]
        thresholds = (self._wave_thresholds[side.places] for side in (piece.left, piece.right))
        return self._sieve.search(left, right, *thresholds)

    def add(self, piece: Piece, answer: Answer) -> None:
        """Add the answer of a piece of the present wave to the lists."""
        from imgret_assets.domain.similarity.cascade import kernels

        p, q = answer.left + piece.left.start, answer.right + piece.right.start
        kernels.insert_pairs(self._lists, self._prepared.order, p, q, answer.scores)

    def compute_on(self, cluster: RayCluster, folder: Path) -> Compute:
        """Return an engine that compares the pieces of any wave on a cluster.

        Args:
            cluster: the cluster.
            folder: for the vectors; all nodes see it.
        """

        def thresholds(piece: Piece) -> tuple[np.ndarray, np.ndarray]:
            return self._wave_thresholds[piece.left.places], self._wave_thresholds[piece.right.places]

        return PiecesOnCluster(cluster, self._prepared, thresholds, folder, None)

    def result(self) -> NeighbourLists:
        """Return the lists, by row."""
        place = np.argsort(self._prepared.order)
        return NeighbourLists(self._members[place], self._scores[place])

    @property
    def _lists(self) -> tuple[np.ndarray, ...]:
        """The lists as the kernels take them."""
        return self._scores, self._members, self._thresholds, self._limits, self._limit_members

    def _keep_valid_entries(self, earlier: EarlierLists, invalid: np.ndarray) -> None:
        """Fill in the valid entries of the rows that are not searched; the searched rows start from nothing."""
        order, searched_count = self._prepared.order, self._prepared.chosen_count
        kept_rows = order[searched_count:]
        invalid = invalid[kept_rows]
        # The valid entries move up and keep their order.
        entries = np.argsort(invalid, axis=1, kind="stable")[:, : self._width]
        valid = ~np.take_along_axis(invalid, entries, axis=1)
        width = entries.shape[1]
        members, scores = (
            np.take_along_axis(column[kept_rows], entries, axis=1) for column in (earlier.rows, earlier.scores)
        )
        self._members[searched_count:, :width] = np.where(valid, members, -1)
        self._scores[searched_count:, :width] = np.where(valid, scores, -np.inf)
        last = valid.sum(axis=1) - 1
        places = np.arange(searched_count, len(order))
        # `rows_to_search` leaves no list without entries here.
        self._limits[searched_count:] = self._scores[places, last]
        self._limit_members[searched_count:] = self._members[places, last]

    def _sample_thresholds(self, unit: np.ndarray, left_count: int) -> np.ndarray:
        """Return about the score that pairs of a sample must reach: the lower of both rows' k-th best."""
        cosines = unit[:left_count] @ unit.T
        cosines[np.arange(left_count), np.arange(left_count)] = -1
        # The k-th best of n rows corresponds to the (k m / n)-th best of m.
        rank = max(1, min(len(unit) - 1, math.ceil(self._width * len(unit) / max(1, self._count))))
        left_kth = -np.partition(-cosines, rank - 1, axis=1)[:, rank - 1]
        right_kth = np.resize(left_kth, len(unit))
        return np.minimum(left_kth[:, None], right_kth)

    def _guess_lists(self) -> None:
        """Give the searched rows their first lists: the best, by integer products, of the rows near them."""
        from imgret_assets.domain.similarity.cascade import kernels

        prepared = self._prepared
        # Places whose integers are compared, as `coded`; guesses are numbers of its rows.
        if prepared.chosen_count == prepared.count:
            places = np.arange(prepared.count)
            coded = self._coded(places)
            neighbourhoods = _Sequence(coded, max(2 * self._width, min(_WINDOW, prepared.count // 32)))
        else:
            sample_size = min(prepared.count, _SAMPLE)
            sample = np.arange(sample_size) * prepared.count // sample_size
            places = np.concatenate([np.arange(prepared.chosen_count), sample])
            coded = self._coded(places)
            neighbourhoods = _Sample(prepared.chosen_count, len(sample))
        # Few coordinates stay in the cache; of many, a library's product is several times as fast.
        guess = neighbourhoods.by_kernel if coded.shape[1] <= _KERNEL_COLUMNS else neighbourhoods.by_product

        def score(part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            rows, likely = guess(coded, part, self._width)
            is_pair = (likely >= 0) & (places[likely] != rows[:, None])
            p, q = rows[np.nonzero(is_pair)[0]], places[likely[is_pair]]
            scores = np.empty(len(p))
            kernels.score_pairs(prepared.exact, p, q, scores)
            return p, q, scores

        for p, q, scores in prepared.each(score, slices(0, prepared.chosen_count, _GUESSED_ROWS)):
            kernels.insert_pairs(self._lists, prepared.order, p, q, scores)

    def _coded(self, places: np.ndarray) -> np.ndarray:
        """Return the integers that the guess compares, int16 (len(places), a multiple of 16)."""
        prepared = self._prepared
        if not self.plan.plain:
            return np.ascontiguousarray(prepared.coordinates[places, :_GUESS_COLUMNS])
        # All coordinates if there is room: without a basis the first ones may say little.
        room = prepared.memory_bytes // (8 * max(1, len(places))) // 16 * 16
        columns = min(coordinate_columns(prepared.dim), max(16, room))
        out = np.empty((len(places), columns), np.int16)
        for part in slices(0, len(places), MAX_CHUNK_ROWS):
            out[part] = prepared.quantised(places[part])[:, :columns]
        return out


class _Sequence:
    """Neighbourhoods in a sequence of all rows in which similar rows stand near each other.

    The sequence is by the nearest of about sqrt(n) evenly spaced pivots.

    Args:
        coded: int16 (n, c), integers of all rows.
        window: number of rows before and after a row that are its neighbourhood.
    """

    def __init__(self, coded: np.ndarray, window: int) -> None:
        pivot_count = max(1, math.isqrt(len(coded)))
        pivots = coded[np.arange(pivot_count) * len(coded) // pivot_count].astype(np.float32)
        nearest_pivot = np.concatenate(
            [
                np.argmax(coded[part].astype(np.float32) @ pivots.T, axis=1)
                for part in slices(0, len(coded), _PIVOT_ROWS)
            ]
        )
        self._sequence = np.argsort(nearest_pivot, kind="stable")
        self._position = np.empty(len(coded), np.int64)
        self._position[self._sequence] = np.arange(len(coded))
        self._window = window

    def by_kernel(self, coded: np.ndarray, part: slice, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a slice of rows, and their likely neighbours int64 (len(rows), k), then -1."""
        rows = np.arange(part.start, part.stop)
        return rows, _likely_by_kernel(coded, rows, self._position[part], self._sequence, self._window, k)

    def by_product(self, coded: np.ndarray, part: slice, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a stretch of the sequence, and the likely neighbours of its rows int64 (len(rows), k), then -1."""
        rows = self._sequence[part]
        near = self._sequence[max(0, part.start - self._window // 2) : part.stop + self._window // 2]
        return rows, _likely_by_product(coded, rows, near, k)


class _Sample:
    """One neighbourhood for all searched rows: a sample of all rows.

    Args:
        searched_count: number of searched rows, the first of the coded rows.
        sample_size: number of rows of the sample, which follow them.
    """

    def __init__(self, searched_count: int, sample_size: int) -> None:
        self._sample = np.arange(searched_count, searched_count + sample_size)

    def by_kernel(self, coded: np.ndarray, part: slice, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a slice of rows, and their likely neighbours int64 (len(rows), k), then -1."""
        rows = np.arange(part.start, part.stop)
        positions = np.zeros(len(rows), np.int64)
        return rows, _likely_by_kernel(coded, rows, positions, self._sample, len(self._sample), k)

    def by_product(self, coded: np.ndarray, part: slice, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a slice of rows, and their likely neighbours int64 (len(rows), k), then -1."""
        rows = np.arange(part.start, part.stop)
        return rows, _likely_by_product(coded, rows, self._sample, k)


def _likely_by_kernel(
    coded: np.ndarray, rows: np.ndarray, positions: np.ndarray, sequence: np.ndarray, window: int, k: int
) -> np.ndarray:
    from imgret_assets.domain.similarity.cascade import kernels

    likely = np.empty((len(rows), k), np.int64)
    kernels.likely_neighbours(coded, rows, positions, sequence, window, likely)
    return likely


def _likely_by_product(coded: np.ndarray, rows: np.ndarray, near: np.ndarray, k: int) -> np.ndarray:
    """Return the best of `near` for each of `rows` by the products of their integers."""
    products = coded[rows].astype(np.float32) @ coded[near].astype(np.float32).T
    products[rows[:, None] == near] = -np.inf
    likely = np.full((len(rows), k), -1)
    width = min(k, len(near))
    likely[:, :width] = near[np.argpartition(products, len(near) - width, axis=1)[:, len(near) - width :]]
    return likely
