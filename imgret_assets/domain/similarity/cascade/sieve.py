"""The comparison of two chunks: first bounds by an engine, later bounds and exact scores by the kernels.

Belongs here: the choice of the engine, the first bounds of a piece, how large a chunk may be. Not here: which chunks
are compared (`domain.similarity.pieces`), what is prepared once (`domain.similarity.cascade.preparation`), why bounds
lose no pair (`domain.similarity.cascade.bounds`), compiled loops (`domain.similarity.cascade.kernels`), products on a
GPU (`domain.similarity.cascade.gpu_bounds`).
"""

import logging
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from imgret_assets.domain.runtime import gpus
from imgret_assets.domain.similarity.cascade import gpu_bounds
from imgret_assets.domain.similarity.cascade.bounds import PANEL_ROWS, float32_bit_cutoffs, integer_cutoffs
from imgret_assets.domain.similarity.cascade.options import CascadeOptions
from imgret_assets.domain.similarity.cascade.parallel import in_parallel, slices, slices_for_threads
from imgret_assets.domain.similarity.cascade.plans import FIRST_BOUND_NS
from imgret_assets.domain.similarity.cascade.prepared_chunk import PreparedChunk, SearchBounds
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs
from imgret_assets.domain.similarity.pieces.answers import Answer
from imgret_assets.errors import SettingError

_log = logging.getLogger(__name__)

ENGINES = tuple(FIRST_BOUND_NS)
MAX_CHUNK_ROWS = 4096
# Bytes of an accepted pair at most: in a tile, in a growing array, as a sort key, in the result.
_PAIR_BYTES = 72
# Rows of a strip, the left side of a tile, at most, and their bytes: they stay in a core's second cache.
_STRIP_ROWS, _STRIP_BYTES = 256, 1 << 18
# Numbers of a tile that a library multiplies.
_LIBRARY_TILE_NUMBERS = 1 << 22

# Positions on both sides int32 and exact scores float64 of accepted pairs, unsorted.
_Found = tuple[np.ndarray, np.ndarray, np.ndarray]
T = TypeVar("T")


def fastest_engine(device: str) -> str:
    """Return the engine that multiplies first bounds fastest: a GPU if allowed, int16 on AVX2, else float32.

    bfloat16 is no choice on a CPU: with avx512_bf16 a library's product took twice the processor time of int16.

    Args:
        device: value of IMGRET_DEVICE.
    """
    from imgret_assets.domain.similarity.cascade import kernels

    if gpu_bounds.gpu_is_usable(device):
        return "cuda"
    return "int16" if "avx2" in kernels.cpu_features() else "float32"


def choose_engine(options: CascadeOptions) -> str:
    """Return the engine that the options name, or the fastest.

    Raises:
        SettingError: there is no such engine.
    """
    engine = options.engine or fastest_engine(options.device)
    if engine not in ENGINES:
        raise SettingError(f"Unknown engine {engine!r}", expected=", ".join(ENGINES))
    return engine


def chunk_rows(memory_bytes: int) -> int:
    """Return how many rows a chunk may have, so that a piece stays within the memory even if every pair passes."""
    fitting_rows = math.isqrt(memory_bytes // (2 * _PAIR_BYTES)) // PANEL_ROWS * PANEL_ROWS
    return min(MAX_CHUNK_ROWS, max(PANEL_ROWS, fitting_rows))


class Sieve:
    """The comparison of two chunks, one pair of chunks after the other.

    Args:
        bounds: the bounds that all chunks were prepared for.
        threads: number of threads to use.
    """

    def __init__(self, bounds: SearchBounds, threads: int) -> None:
        self._bounds = bounds
        self._threads = threads
        self._first_bounds = {"int16": self._by_int16, "float32": self._by_float32, "cuda": self._by_gpu}[bounds.engine]
        self._operands: dict[PreparedChunk, Any] = {}
        self._gpu_tile_rows = MAX_CHUNK_ROWS
        self._libraries = ThreadpoolController()

    def search(
        self, left: PreparedChunk, right: PreparedChunk, left_thresholds: np.ndarray, right_thresholds: np.ndarray
    ) -> Answer:
        """Return the pairs of two chunks whose score exceeds the lower of their thresholds.

        Args:
            left: a chunk.
            right: another chunk, or the same object: then each pair of its rows counts once.
            left_thresholds: float64, of each position on the left.
            right_thresholds: float64, of each position on the right.
        """
        # Pieces come row by row: the left side stays while the right side moves on.
        self._operands = {chunk: held for chunk, held in self._operands.items() if chunk in (left, right)}
        sides = _Side(left, left_thresholds), _Side(right, right_thresholds)
        parts = [part for part in self._first_bounds(*sides) if len(part[0])]
        if not parts:
            return Answer(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0))
        positions, other_positions, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Answer(positions, other_positions, scores)

    def _each(self, task: Callable[[slice], T], items: list[slice]) -> list[T]:
        return in_parallel(task, items, self._threads)

    def _operand(self, chunk: PreparedChunk, make: Callable[[PreparedChunk], Any]) -> Any:
        """Return what an engine multiplies of a chunk; made once for adjacent pieces."""
        if chunk not in self._operands:
            self._operands[chunk] = make(chunk)
        return self._operands[chunk]

    # int16: packed panels, multiplied and compared by our own kernel

    def _packed(self, chunk: PreparedChunk) -> np.ndarray:
        """Return int32 (panels, steps, 16) of `preparation_kernels.pack_rows`."""
        from imgret_assets.domain.similarity.cascade import preparation_kernels

        integers, residual_norms = chunk.first_integers(self._bounds.plan, self._threads)
        steps = self._bounds.first_columns // 2
        out = np.empty((-(-len(integers) // PANEL_ROWS), steps, PANEL_ROWS), np.int32)
        column_pairs = integers.view(np.int32)

        def pack(part: slice) -> None:
            preparation_kernels.pack_rows(column_pairs[part], residual_norms[part], steps, out[_panels(part)])

        self._each(pack, slices(0, len(integers), 1024))
        return out

    def _by_int16(self, left: "_Side", right: "_Side") -> list[_Found]:
        from imgret_assets.domain.similarity.cascade import kernels

        bounds = self._bounds
        left_packed, right_packed = (self._operand(side.chunk, self._packed) for side in (left, right))
        left_cuts, right_cuts = (
            integer_cutoffs(bounds.first_cutoffs(side.thresholds), len(packed) * PANEL_ROWS)
            for side, packed in ((left, left_packed), (right, right_packed))
        )
        right_flat = right_packed.ravel()
        fitting_rows = _STRIP_BYTES // (2 * bounds.first_columns) // PANEL_ROWS * PANEL_ROWS
        strip_rows = min(_STRIP_ROWS, max(PANEL_ROWS, fitting_rows))
        of_kernels = left.is_same_as(right), bounds.later_bounds, left.of_kernels, right.of_kernels

        def search_strip(part: slice) -> _Found:
            panels = _panels(part)
            return kernels.search_packed(
                left_packed[panels].ravel(), left_cuts[panels.start * PANEL_ROWS : panels.stop * PANEL_ROWS],
                part.start, part.stop - part.start, right_flat, right_cuts, len(right.chunk), *of_kernels,
            )  # fmt: skip

        return self._each(search_strip, slices(0, len(left.chunk), strip_rows))

    # float32: tiles multiplied by BLAS

    def _float32_rows(self, chunk: PreparedChunk) -> np.ndarray:
        """Return the integers of the first bound as float32 (rows, columns)."""
        integers, residual_norms = chunk.first_integers(self._bounds.plan, self._threads)
        width = self._bounds.plan.widths[0]
        out = np.zeros((len(integers), self._bounds.first_columns), np.float32)
        out[:, :width] = integers[:, :width]
        if len(residual_norms):
            out[:, width] = residual_norms
        return out

    def _by_float32(self, left: "_Side", right: "_Side") -> list[_Found]:
        from imgret_assets.domain.similarity.cascade import kernels

        bounds = self._bounds
        left_rows, right_rows = (self._operand(side.chunk, self._float32_rows) for side in (left, right))
        left_cuts, right_cuts = (float32_bit_cutoffs(bounds.first_cutoffs(side.thresholds)) for side in (left, right))
        of_kernels = left.is_same_as(right), bounds.later_bounds, left.of_kernels, right.of_kernels
        found = []
        for rows in slices(0, len(left_rows), max(1, _LIBRARY_TILE_NUMBERS // len(right_rows))):
            with self._libraries.limit(limits=self._threads):
                tile = (left_rows[rows] @ right_rows.T).view(np.int32)

            def scan(part: slice, tile: np.ndarray = tile, start: int = rows.start) -> _Found:
                tile_rows = slice(start + part.start, start + part.stop)
                return kernels.search_tile(tile[part], left_cuts[tile_rows], tile_rows.start, right_cuts, *of_kernels)

            found += self._each(scan, slices(0, len(tile), -(-len(tile) // (2 * self._threads))))
        return found

    # cuda: tiles multiplied by torch

    def _by_gpu(self, left: "_Side", right: "_Side") -> list[_Found]:
        """Search on the GPU; on the CPU from this piece on where the GPU's memory is too small for a row."""
        try:
            return self._by_gpu_tiles(left, right)
        except RuntimeError as error:
            if not gpus.is_out_of_memory(error):
                raise
        _log.warning("The GPU's memory is too small to compare vectors. The CPU compares them, which takes longer.")
        # The margins of a GPU are the wider ones: they hold for float32 products, too.
        self._first_bounds, self._operands = self._by_float32, {}
        return self._by_float32(left, right)

    def _by_gpu_tiles(self, left: "_Side", right: "_Side") -> list[_Found]:
        from imgret_assets.domain.similarity.cascade import kernels

        bounds = self._bounds
        operands = [
            self._operand(side.chunk, lambda chunk: gpu_bounds.operand(self._float32_rows(chunk)))
            for side in (left, right)
        ]
        cutoffs = [bounds.first_cutoffs(side.thresholds) for side in (left, right)]
        of_kernels = bounds.later_bounds, left.of_kernels, right.of_kernels
        is_diagonal = left.is_same_as(right)
        found = []
        for p, q, tile_rows in gpu_bounds.passing_tiles(
            operands[0], operands[1], cutoffs[0], cutoffs[1], self._gpu_tile_rows
        ):
            self._gpu_tile_rows = tile_rows
            candidates = (p << 32 | q)[p < q] if is_diagonal else p << 32 | q

            def finish(part: slice, candidates: np.ndarray = candidates) -> _Found:
                return kernels.finish_candidates(candidates[part], *of_kernels)

            found += self._each(finish, slices_for_threads(len(candidates), self._threads))
        return found


class _Side:
    """One side of a comparison: a chunk, and a threshold for each of its positions."""

    def __init__(self, chunk: PreparedChunk, thresholds: np.ndarray) -> None:
        self.chunk = chunk
        self.thresholds = thresholds
        self.of_kernels = chunk.side(thresholds)

    def is_same_as(self, other: "_Side") -> bool:
        return self.chunk is other.chunk


def _panels(part: slice) -> slice:
    """Return the panels of a slice of rows that starts at a panel's first row."""
    return slice(part.start // PANEL_ROWS, -(-part.stop // PANEL_ROWS))


def pairs_of_rows(left_rows: np.ndarray, right_rows: np.ndarray, answer: Answer) -> ScoredPairs:
    """Return the pairs of an answer as pairs of rows, from the row of each position on either side."""
    return ScoredPairs.sorted_from(left_rows[answer.left], right_rows[answer.right], answer.scores)
