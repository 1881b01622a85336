"""A set of vectors prepared for the cascade: norms, hashes, order, plan, projections and margins.

Belongs here: everything that is computed once for a search. Not here: going through the pairs
(`domain.similarity.cascade.sieve`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from imgret_assets.domain.numerics.vectors import unusable_norms
from imgret_assets.domain.runtime.blas_threads import one_blas_thread
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.domain.similarity.cascade import basis as bases
from imgret_assets.domain.similarity.cascade import bounds, plans
from imgret_assets.domain.similarity.cascade import projections as kept_projections
from imgret_assets.domain.similarity.cascade.options import CascadeOptions
from imgret_assets.domain.similarity.cascade.parallel import in_parallel, slices, slices_for_threads
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.domain.similarity.cascade.prepared_chunk import PreparedChunk, SearchBounds, quantised
from imgret_assets.domain.similarity.cascade.projections import Projections
from imgret_assets.domain.similarity.pieces.chunks import Chunk, chunks_of, cut_rows
from imgret_assets.errors import TableError

# Rows that are measured, and projected, together.
_MEASURED_ROWS, _PROJECTED_ROWS = 128, 1024
# A larger error of the projections would need residual norms that int16 cannot hold; no basis comes near it.
_MAX_ERROR = 0.01
# The file of projections is written again when more than one in so many is new.
_NEW_SHARE_TO_WRITE = 50

SampleThresholds = Callable[[np.ndarray, int], np.ndarray | float]
T = TypeVar("T")


@dataclass(frozen=True)
class Selection:
    """Which rows are compared, and how they are cut into chunks.

    Attributes:
        chunk_rows: rows of a chunk at most.
        rows: int64, the chosen rows, compared with all; None for all.
        shards: int (n,), the number of each row's shard; None if all are in one.
    """

    chunk_rows: int
    rows: np.ndarray | None = None
    shards: np.ndarray | None = None


class PreparedVectors:
    """The vectors of a search in the order of the search, and the bounds of its plan.

    A row has a *place* in the order, in which chunk follows on chunk. The chosen rows come first, so that "chosen rows
    with all rows" is the pairs of places p < q with p < `chosen_count`.

    Args:
        vectors: float32 (n, dim), finite, no zero rows, any norm; may be a memory map.
        selection: which rows are compared, and how they are cut into chunks.
        sample_thresholds: returns the scores that pairs of a sample must exceed, from the sample's float32 unit rows
            and the number of rows, from the first, that are compared with all of them.
        max_width: number of coordinates of the last bound, at most.
        engine: what multiplies the first bounds.
        options: memory, threads, plan and file of projections.

    Attributes:
        vectors: float32 (n, dim), C-contiguous, read-only.
        count, dim: their shape.
        threads: number of threads to use.
        memory_bytes: bound on what is held in addition to the vectors.
        engine: what multiplies the first bounds.
        norms: float64 (n,), exact norms by row.
        digests: uint64 (n, 2), hashes by row.
        order: int64 (n,), the row of each place.
        chunks: the chunks, in the order of the search.
        chosen_chunks: number of chunks of chosen rows.
        chosen_count: number of chosen rows.
        bounds: the bounds of the search.

    Raises:
        TableError: a row is zero or not finite.
        SettingError: the plan can't be used.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        selection: Selection,
        sample_thresholds: SampleThresholds,
        max_width: int,
        engine: str,
        options: CascadeOptions,
    ) -> None:
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise TypeError(f"vectors of {vectors.dtype} {vectors.shape}, expected float32 (n, dim)")
        self.vectors = np.ascontiguousarray(np.asarray(vectors)).view()
        # Read-only as a memory map is: the kernels are compiled for one kind of array only.
        self.vectors.flags.writeable = False
        self.count, self.dim = self.vectors.shape
        self.threads = options.threads or usable_threads()
        self.memory_bytes = options.memory_bytes
        self.engine = engine
        self.norms, self.digests = self._measure_rows()
        cut = cut_rows(self.count, selection.chunk_rows, shards=selection.shards, chosen=selection.rows)
        self.order, self.chosen_count, self.chosen_chunks = cut.order, cut.chosen_rows, cut.chosen
        self.chunks = chunks_of(cut, self.digests)
        self._prepare_bounds(sample_thresholds, max_width, options)

    @property
    def pair_count(self) -> int:
        """Number of pairs to compare."""
        return self.chosen_count * self.count - self.chosen_count * (self.chosen_count + 1) // 2

    @property
    def exact(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the kernels need for an exact score: vectors, row of each place, norm of each row."""
        return self.vectors, self.order, self.norms

    def chunk(self, chunk: Chunk) -> PreparedChunk:
        """Return one of `chunks` with its part of what was prepared, without a copy."""
        part = chunk.places
        coordinates, residual_norms = self.coordinates[part], self.residual_norms[part]
        return PreparedChunk(self.vectors, self.order[part], self.norms, coordinates, residual_norms)

    def quantised(self, places: np.ndarray) -> np.ndarray:
        """Return the unit rows of some places as int16 (len(places), dim rounded up to a multiple of 16)."""
        return quantised(self.vectors, self.order[places], self.norms, self.threads)

    def each(self, task: Callable[[slice], T], items: list[slice]) -> list[T]:
        """Call `task` for every item on all threads, and return the results in order."""
        return in_parallel(task, items, self.threads)

    def _measure_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return norms and hashes of all rows, and refuse rows without a direction."""
        norms, digests = measured_rows(self.vectors, self.threads)
        bad = np.flatnonzero(unusable_norms(norms))
        if len(bad):
            named = ", ".join(map(str, bad[:5])) + (f" and {len(bad) - 5:,} more" if len(bad) > 5 else "")
            raise TableError(
                f"Row{'s' if len(bad) > 1 else ''} {named} of the vectors: zero or not finite",
                expected="finite numbers, at least one of them not 0, in every row",
                remedy="embed these images again or leave them out",
            )
        return norms, digests

    def _prepare_bounds(self, sample_thresholds: SampleThresholds, max_width: int, options: CascadeOptions) -> None:
        kept, kept_rows = self._kept_projections(max_width, options)
        with one_blas_thread():
            plan, basis = (
                (kept.plan, kept.basis) if kept else self._choose_plan(sample_thresholds, max_width, options.plan)
            )
            widths = np.array(plan.widths, dtype=np.int64)
            # Computed for a basis that was read from a file, too: the proof assumes nothing else about it.
            errors = bounds.identity_errors(self.dim) if basis is None else bounds.projection_errors(basis, widths)
            self.bounds = SearchBounds(plan, basis, errors, self.dim, self.engine)
        self._kept, self._kept_rows, self._projections_file = kept, kept_rows, options.projections

    @property
    def coordinate_columns(self) -> int:
        """Number of columns of `coordinates`."""
        return 16 if self.bounds.basis is None else kept_projections.coordinate_columns(int(self.bounds.widths[-1]))

    @property
    def coordinates(self) -> np.ndarray:
        """The coordinates of each place, int16; no rows where the plan is plain."""
        return self._projected[0]

    @property
    def residual_norms(self) -> np.ndarray:
        """The residual norms of each place, int16; no rows where the plan is plain."""
        return self._projected[1]

    @cached_property
    def _projected(self) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates and residual norms, when they are first needed: never by a search that other machines do."""
        basis, kept = self.bounds.basis, self._kept
        count = 0 if basis is None else self.count
        coordinates = np.zeros((count, self.coordinate_columns), np.int16)
        residual_norms = np.empty((count, len(self.bounds.widths)), np.int16)
        if kept is not None:
            known = np.flatnonzero(self._kept_rows >= 0)
            coordinates[known] = kept.coordinates[self._kept_rows[known]]
            residual_norms[known] = kept.residual_norms[self._kept_rows[known]]
        if basis is not None:
            with one_blas_thread():
                self._project_new(np.flatnonzero(self._kept_rows < 0), basis, coordinates, residual_norms)
        return coordinates, residual_norms

    def _kept_projections(self, max_width: int, options: CascadeOptions) -> tuple[Projections | None, np.ndarray]:
        """Return the projections in the file, None where they are of no use, and their row for each place, or -1."""
        none = np.full(self.count, -1)
        if options.projections is not None:
            kept_projections.remove_earlier_layout(options.projections)
        if options.projections is None or options.plan is not None or self.chosen_count == self.count:
            return None, none
        kept = kept_projections.read_projections(options.projections, self.dim)
        if kept is None or kept.plan.widths[-1] > min(max_width, self._affordable_width):
            return None, none
        kept_rows = kept.rows_of(self.digests)[self.order]
        # A basis that is mostly of other vectors would prune badly.
        return (kept, kept_rows) if 2 * np.count_nonzero(kept_rows >= 0) > self.count else (None, none)

    @property
    def _affordable_width(self) -> int:
        """Number of coordinates of every vector that the memory holds."""
        return self.memory_bytes // (4 * max(1, self.count))

    def _choose_plan(
        self, sample_thresholds: SampleThresholds, max_width: int, plan: Plan | None
    ) -> tuple[Plan, np.ndarray | None]:
        """Return `plan`, or the best one by a sample, with its basis float32 (dim, w); plain where a sample costs more.

        A plain plan has no basis.
        """
        plain = Plan((self.dim,), plain=True)
        max_width = min(max_width, self.dim * 3 // 4, self._affordable_width) // 16 * 16
        work = plans.Workload(self.pair_count, self.count, self.dim, self.engine)
        if plan is not None:
            plan.check(self.dim)
            max_width = plan.widths[-1]
        if not self.count or (plan.plain if plan is not None else not plans.is_affordable(work, max_width)):
            return plain, None
        sampled = min(self.count, plans.SAMPLE_ROWS)
        order, left_count = plans.sample_order(sampled)
        unit = self._unit_rows(order * self.count // sampled)
        basis = bases.leading_directions(unit, max_width, self.threads)
        if bounds.projection_errors(basis, np.array([max_width]))[0] > _MAX_ERROR:
            return plain, None
        if plan is None:
            shares = plans.shares_passing(unit, left_count, basis, sample_thresholds(unit, left_count))
            plan = plans.choose_plan(work, shares)
        return (plain, None) if plan.plain else (plan, np.ascontiguousarray(basis[:, : plan.widths[-1]]))

    def _unit_rows(self, places: np.ndarray) -> np.ndarray:
        """Return the unit rows of some places, float32 (len(places), dim)."""
        from imgret_assets.domain.similarity.cascade import preparation_kernels

        out = np.empty((len(places), self.dim), np.float32)
        rows = self.order[places]
        self.each(
            lambda part: preparation_kernels.unit_rows(self.vectors, rows[part], self.norms, out[part]),
            slices_for_threads(len(rows), self.threads),
        )
        return out

    def _project_new(
        self, places: np.ndarray, basis: np.ndarray, coordinates: np.ndarray, residual_norms: np.ndarray
    ) -> None:
        """Project the vectors of some places; write all projections to the file if enough of them are new."""

        def fill(part: slice) -> None:
            some = places[part]
            coordinates[some], residual_norms[some] = kept_projections.project(
                self.vectors, self.order[some], self.norms, basis, self.bounds.widths, self.bounds.errors
            )

        self.each(fill, slices(0, len(places), _PROJECTED_ROWS))
        # To project a few again next time costs less than to write all.
        file = self._projections_file
        if file is not None and len(places) > self.count // _NEW_SHARE_TO_WRITE:
            place = np.argsort(self.order)
            kept_projections.write_projections(
                file, Projections(self.bounds.plan, basis, self.digests, coordinates[place], residual_norms[place])
            )


def measured_rows(vectors: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact norms float64 (n,) and the hashes uint64 (n, 2) of rows float32 (n, dim), C-contiguous."""
    from imgret_assets.domain.similarity.cascade import kernels, preparation_kernels

    norms, digests = np.empty(len(vectors)), np.empty((len(vectors), 2), np.uint64)
    factors = kept_projections.hash_factors(vectors.shape[1])
    bits = vectors.view(np.uint32)

    def measure(part: slice) -> None:
        kernels.norms_of_rows(vectors[part], norms[part])
        preparation_kernels.hash_rows(bits[part], factors, digests[part])

    in_parallel(measure, slices(0, len(vectors), _MEASURED_ROWS), threads)
    return norms, digests
