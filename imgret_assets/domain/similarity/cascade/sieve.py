"""The search for pairs in blocks: first bounds by an engine, later bounds and exact scores by the kernels.

Belongs here: blocks, the choice of the engine, the first bounds of a block. Not here: what is prepared once
(`domain.similarity.cascade.preparation`), why bounds lose no pair (`domain.similarity.cascade.bounds`), compiled loops
(`domain.similarity.cascade.kernels`), products on a GPU (`domain.similarity.cascade.gpu_bounds`).
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from imgret_assets.domain.runtime import gpus
from imgret_assets.domain.similarity.cascade import gpu_bounds
from imgret_assets.domain.similarity.cascade.bounds import PANEL_ROWS, float32_bit_cutoffs, integer_cutoffs
from imgret_assets.domain.similarity.cascade.options import CascadeOptions
from imgret_assets.domain.similarity.cascade.parallel import slices, slices_for_threads
from imgret_assets.domain.similarity.cascade.plans import FIRST_BOUND_NS
from imgret_assets.domain.similarity.cascade.preparation import PreparedVectors, SampleThresholds, Span
from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, no_pairs
from imgret_assets.errors import SettingError

_log = logging.getLogger(__name__)

ENGINES = tuple(FIRST_BOUND_NS)
MAX_BLOCK_ROWS = 4096
# Bytes of an accepted pair at most: in a tile, in a growing array, as a sort key, in the result.
_PAIR_BYTES = 72
# Rows of a strip, the left side of a tile, at most, and their bytes: they stay in a core's second cache.
_STRIP_ROWS, _STRIP_BYTES = 256, 1 << 18
# Rows of a tile that a library multiplies.
_LIBRARY_TILE_ROWS = 1024

# Places p, q int32 and exact scores float64 of accepted pairs, unsorted.
PlacePairs = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Block:
    """One piece of work: the pairs p < q of the places in `left` and in `right`.

    Attributes:
        number: position of the block in the order of the search.
        left: (start, stop) of places.
        right: (start, stop) of places.
    """

    number: int
    left: Span
    right: Span

    @property
    def size(self) -> int:
        """Number of combinations of a left and a right place."""
        return (self.left[1] - self.left[0]) * (self.right[1] - self.right[0])


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


def _checked_engine(engine: str) -> str:
    if engine not in ENGINES:
        raise SettingError(f"Unknown engine {engine!r}", expected=", ".join(ENGINES))
    return engine


class Sieve:
    """The search of one set of vectors for the pairs of two ranges of places.

    Args:
        vectors, rows, sample_thresholds, max_width, options: as in `PreparedVectors`.

    Attributes:
        prepared: the vectors in the order of the search, and their bounds.
        block_rows: number of rows of a block's side.

    Raises:
        TableError: a row is zero or not finite.
        SettingError: the engine or the plan can't be used.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        rows: np.ndarray | None,
        sample_thresholds: SampleThresholds,
        max_width: int,
        options: CascadeOptions,
    ) -> None:
        engine = _checked_engine(options.engine or fastest_engine(options.device))
        self.prepared = PreparedVectors(vectors, rows, sample_thresholds, max_width, engine, options)
        memory_rows = math.isqrt(options.memory_bytes // (2 * _PAIR_BYTES)) // 16 * 16
        self.block_rows = min(MAX_BLOCK_ROWS, max(16, memory_rows))
        self._first_bounds = {"int16": self._by_int16, "float32": self._by_float32, "cuda": self._by_gpu}[engine]
        self._operands: dict[Span, Any] = {}
        self._gpu_tile_rows = MAX_BLOCK_ROWS
        self._libraries = ThreadpoolController()

    def blocks(self) -> list[Block]:
        """Return all pairs of places p < q with p < `chosen_count`, cut into squares, in a fixed order."""
        size, chosen_count, count = self.block_rows, self.prepared.chosen_count, self.prepared.count
        corners = [(left, right) for left in range(0, chosen_count, size) for right in range(left, count, size)]
        return [
            Block(number, (left, min(left + size, chosen_count)), (right, min(right + size, count)))
            for number, (left, right) in enumerate(corners)
        ]

    def search(self, block: Block, thresholds: np.ndarray) -> list[PlacePairs]:
        """Return the block's pairs of places whose score exceeds the lower of their thresholds, in parts.

        Args:
            block: one of `blocks()`.
            thresholds: float64 (n,), of each place.
        """
        # Blocks come row by row: the left side stays while the right side moves on.
        self._operands = {span: held for span, held in self._operands.items() if span in (block.left, block.right)}
        return [part for part in self._first_bounds(block, thresholds) if len(part[0])]

    def _operand(self, span: Span, make: Callable[[Span], Any]) -> Any:
        """Return what an engine multiplies of a range of places; made once for adjacent blocks."""
        if span not in self._operands:
            self._operands[span] = make(span)
        return self._operands[span]

    # int16: packed panels, multiplied and compared by our own kernel

    def _packed(self, span: Span) -> np.ndarray:
        """Return int32 (panels, steps, 16) of `preparation_kernels.pack_rows`."""
        from imgret_assets.domain.similarity.cascade import preparation_kernels

        integers, residual_norms = self.prepared.first_integers(span)
        steps = self.prepared.first_columns // 2
        out = np.empty((-(-len(integers) // PANEL_ROWS), steps, PANEL_ROWS), np.int32)
        column_pairs = integers.view(np.int32)

        def pack(part: slice) -> None:
            preparation_kernels.pack_rows(column_pairs[part], residual_norms[part], steps, out[_panels(part)])

        self.prepared.each(pack, slices(0, len(integers), 1024))
        return out

    def _by_int16(self, block: Block, thresholds: np.ndarray) -> list[PlacePairs]:
        from imgret_assets.domain.similarity.cascade import kernels

        prepared = self.prepared
        left, right = (self._operand(span, self._packed) for span in (block.left, block.right))
        left_cuts, right_cuts = (
            integer_cutoffs(prepared.first_cutoffs(thresholds[slice(*span)]), len(packed) * PANEL_ROWS)
            for span, packed in ((block.left, left), (block.right, right))
        )
        right_flat = right.ravel()
        fitting_rows = _STRIP_BYTES // (2 * prepared.first_columns) // PANEL_ROWS * PANEL_ROWS
        strip_rows = min(_STRIP_ROWS, max(PANEL_ROWS, fitting_rows))

        def search_strip(part: slice) -> PlacePairs:
            panels = _panels(part)
            return kernels.search_packed(
                left[panels].ravel(), left_cuts[panels.start * PANEL_ROWS : panels.stop * PANEL_ROWS],
                block.left[0] + part.start, part.stop - part.start,
                right_flat, right_cuts, block.right[0], block.right[1] - block.right[0],
                prepared.later_bounds, prepared.exact, thresholds,
            )  # fmt: skip

        return prepared.each(search_strip, slices(0, block.left[1] - block.left[0], strip_rows))

    # float32: tiles multiplied by BLAS

    def _float32_rows(self, span: Span) -> np.ndarray:
        """Return the integers of the first bound as float32 (places, columns)."""
        integers, residual_norms = self.prepared.first_integers(span)
        width = self.prepared.plan.widths[0]
        out = np.zeros((len(integers), self.prepared.first_columns), np.float32)
        out[:, :width] = integers[:, :width]
        if len(residual_norms):
            out[:, width] = residual_norms
        return out

    def _by_float32(self, block: Block, thresholds: np.ndarray) -> list[PlacePairs]:
        from imgret_assets.domain.similarity.cascade import kernels

        prepared = self.prepared
        left, right = (self._operand(span, self._float32_rows) for span in (block.left, block.right))
        left_cuts, right_cuts = (
            float32_bit_cutoffs(prepared.first_cutoffs(thresholds[slice(*span)])) for span in (block.left, block.right)
        )
        accepted = []
        for rows in slices(0, len(left), _LIBRARY_TILE_ROWS):
            with self._libraries.limit(limits=prepared.threads):
                tile = (left[rows] @ right.T).view(np.int32)

            def scan(part: slice, tile: np.ndarray = tile, tile_start: int = rows.start) -> PlacePairs:
                tile_rows = slice(tile_start + part.start, tile_start + part.stop)
                return kernels.search_tile(
                    tile[part], left_cuts[tile_rows], block.left[0] + tile_rows.start, right_cuts, block.right[0],
                    prepared.later_bounds, prepared.exact, thresholds,
                )  # fmt: skip

            accepted += prepared.each(scan, slices(0, len(tile), -(-len(tile) // (2 * prepared.threads))))
        return accepted

    # cuda: tiles multiplied by torch

    def _by_gpu(self, block: Block, thresholds: np.ndarray) -> list[PlacePairs]:
        """Search on the GPU; on the CPU from this block on where the GPU's memory is too small for a row."""
        try:
            return self._by_gpu_tiles(block, thresholds)
        except RuntimeError as error:
            if not gpus.is_out_of_memory(error):
                raise
        _log.warning("The GPU's memory is too small to compare vectors. The CPU compares them, which takes longer.")
        # The margins of a GPU are the wider ones: they hold for float32 products, too.
        self._first_bounds, self._operands = self._by_float32, {}
        return self._by_float32(block, thresholds)

    def _by_gpu_tiles(self, block: Block, thresholds: np.ndarray) -> list[PlacePairs]:
        from imgret_assets.domain.similarity.cascade import kernels

        prepared = self.prepared
        left, right = (
            self._operand(span, lambda some: gpu_bounds.operand(self._float32_rows(some)))
            for span in (block.left, block.right)
        )
        left_cutoffs, right_cutoffs = (
            prepared.first_cutoffs(thresholds[slice(*span)]) for span in (block.left, block.right)
        )
        accepted = []
        for rows, columns, tile_rows in gpu_bounds.passing_tiles(
            left, right, left_cutoffs, right_cutoffs, self._gpu_tile_rows
        ):
            self._gpu_tile_rows = tile_rows
            p, q = rows + block.left[0], columns + block.right[0]
            candidates = (p << 32 | q)[p < q]

            def finish(part: slice, candidates: np.ndarray = candidates) -> PlacePairs:
                return kernels.finish_candidates(candidates[part], prepared.later_bounds, prepared.exact, thresholds)

            accepted += prepared.each(finish, slices_for_threads(len(candidates), prepared.threads))
        return accepted


def _panels(part: slice) -> slice:
    """Return the panels of a slice of rows that starts at a panel's first row."""
    return slice(part.start // PANEL_ROWS, -(-part.stop // PANEL_ROWS))


def pairs_of_rows(parts: list[PlacePairs], order: np.ndarray) -> ScoredPairs:
    """Return pairs of places, in parts, as pairs of rows; `order` is the row of each place."""
    if not parts:
        return no_pairs()
    p, q, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ScoredPairs.sorted_from(order[p], order[q], scores)
