"""What the comparison of two chunks takes: the bounds, which all chunks share, and each chunk prepared for them.

Belongs here: these two, which hold nothing of the rest of the search, so that a piece can be compared elsewhere. Not
here: how they are made (`domain.similarity.cascade.preparation`), the comparison (`domain.similarity.cascade.sieve`).
"""

from dataclasses import dataclass

import numpy as np

from imgret_assets.domain.similarity.cascade import bounds
from imgret_assets.domain.similarity.cascade.bounds import COLUMN_MULTIPLE, SCALE
from imgret_assets.domain.similarity.cascade.parallel import in_parallel, slices_for_threads
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.domain.similarity.cascade.projections import coordinate_columns

# Vectors float32, row of each position int64, norm of each row float64, coordinates int16, residual norms int16,
# thresholds float64: one side of a comparison as the kernels take it.
KernelSide = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class SearchBounds:
    """The bounds of a search, with their margins.

    Attributes:
        plan: how many coordinates each bound takes.
        basis: float32 (dim, w), w the last width of the plan; None where the plan is plain.
        errors: float64, e of the proof for each bound (`bounds.projection_errors`).
        dim: number of coordinates of a vector.
        engine: what multiplies the first bounds.
    """

    plan: Plan
    basis: np.ndarray | None
    errors: np.ndarray
    dim: int
    engine: str

    @property
    def widths(self) -> np.ndarray:
        """Number of coordinates of each bound, int64."""
        return np.array(self.plan.widths, dtype=np.int64)

    @property
    def margins(self) -> np.ndarray:
        """What is subtracted from a threshold before each bound is compared with it, float64."""
        return bounds.margins(self.errors, self.dim)

    @property
    def first_columns(self) -> int:
        """Number of int16 of a packed row of the first bound."""
        columns = self.plan.widths[0] + (not self.plan.plain)
        return -(-columns // COLUMN_MULTIPLE) * COLUMN_MULTIPLE

    @property
    def later_bounds(self) -> tuple[int, np.ndarray, float, np.ndarray]:
        """What the kernels need for the later bounds: number, widths, s^2, margins."""
        return len(self.plan.widths), self.widths, float(SCALE) ** 2, self.margins

    def first_cutoffs(self, thresholds: np.ndarray) -> np.ndarray:
        """Return what a first bound, in units of the integers, must reach for each threshold; float64."""
        margin = self.margins[0] + bounds.product_error(self.engine, self.first_columns, self.errors[0])
        return SCALE**2 * (thresholds - margin)


@dataclass(frozen=True, eq=False)
class PreparedChunk:
    """The rows of a chunk, prepared for the bounds of a search.

    Attributes:
        vectors: float32 (m, dim), C-contiguous, read-only: those of the chunk, or of all chunks.
        rows: int64 (n,), the row of `vectors` of each position in the chunk.
        norms: float64 (m,), exact norms of `vectors`.
        coordinates, residual_norms: int16, of each position; no rows of them where the plan is plain.
    """

    vectors: np.ndarray
    rows: np.ndarray
    norms: np.ndarray
    coordinates: np.ndarray
    residual_norms: np.ndarray

    def __len__(self) -> int:
        """Return the number of positions."""
        return len(self.rows)

    def side(self, thresholds: np.ndarray) -> KernelSide:
        """Return the chunk as the kernels take it, with a threshold float64 for each position."""
        return self.vectors, self.rows, self.norms, self.coordinates, self.residual_norms, thresholds

    def first_integers(self, plan: Plan, threads: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the int16 rows of the first bound and their residual norms (empty for a plain plan)."""
        if plan.plain:
            return quantised(self.vectors, self.rows, self.norms, threads), np.empty(0, np.int16)
        return self.coordinates, np.ascontiguousarray(self.residual_norms[:, 0])


def quantised(vectors: np.ndarray, rows: np.ndarray, norms: np.ndarray, threads: int) -> np.ndarray:
    """Return the unit rows of some rows as int16 (len(rows), dim rounded up to a multiple of 16)."""
    from imgret_assets.domain.similarity.cascade import preparation_kernels

    out = np.empty((len(rows), coordinate_columns(vectors.shape[1])), np.int16)

    def quantise(part: slice) -> None:
        preparation_kernels.quantise_rows(vectors, rows[part], norms, float(SCALE), out[part])

    in_parallel(quantise, slices_for_threads(len(rows), threads), threads)
    return out
