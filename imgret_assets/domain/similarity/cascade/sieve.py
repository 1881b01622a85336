"""Pairs above a threshold, exactly, in less time than the matrix product.

Belongs here: going through the pairs of a set of vectors in blocks, from bounds on int16 to float64. Not here: the
bounds and why they lose no pair (`domain.similarity.cascade.bounds`), compiled loops
(`domain.similarity.cascade.kernels`), the nearest neighbours by the same means
(`domain.similarity.cascade.nearest_search`), tables and what changed in them (`domain.similarity.pairs_table`).

A pair is in when its cosine, computed in float64 from the stored float32 vectors, is greater than the threshold. The
first bound of every pair is a product of a hundred or so int16; a pair that passes goes through bounds of more
coordinates, a float32 product with the margin gamma(dim) and, if it is still there, float64, which alone decides. Where
bounds don't prune, the first one takes all coordinates: a matrix product in int16.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from imgret_assets.domain.numerics.vectors import unusable_norms
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.domain.similarity.cascade import bounds, gpu_bounds
from imgret_assets.domain.similarity.cascade.bounds import SCALE, Plan, in_parallel, parts, slices
from imgret_assets.domain.similarity.cascade.projections import Heads, digest_factors, read_heads, write_heads
from imgret_assets.errors import SettingError, TableError

MEMORY_BYTES = 2 << 30
_HEAD_ROWS = 1024
_CODED_COLUMNS = 128
_GREATEST_ERROR = 0.01
_MAX_BLOCK_ROWS = 4096
_PAIR_BYTES = 72  # What a found pair needs at the most: in a tile, in a growing array, as a sort key, in the answer.
_STRIP_ROWS = 256  # Left side of a tile at the most: their heads stay in a core's second cache.
_STRIP_BYTES = 1 << 18
_TILE_ROWS = 1024  # Of a library's product.
_HEADS_REWRITTEN = 50  # Heads are written again when more than one of so many are new.

Wanted = Callable[[np.ndarray, int], np.ndarray | float]


class Found(NamedTuple):
    """Pairs of row numbers `a` < `b` (int64) with their float64 cosines, sorted by `a`, then `b`."""

    a: np.ndarray
    b: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Block:
    """One piece of work: places `left` (start, stop) against places `right`, each pair once."""

    number: int
    left: tuple[int, int]
    right: tuple[int, int]


@dataclass(frozen=True)
class Options:
    """How the work is done; what is found doesn't depend on it, to the last bit.

    Attributes:
        memory_bytes: bound on what is held beside the vectors, in all-pass data too; it sets the size of blocks.
        threads: cores to use at the most; None for all.
        engine: of the first bound: "int16" (made for AVX2), "float32" or "cuda" (a GPU by torch); None for the fastest
            on this CPU.
        plan: the bounds to use; None to choose them by a sample.
        heads: a file that keeps basis and heads, so that a search of some rows needs only those of new vectors; None
            keeps none. Whoever names one holds a lock.
    """

    memory_bytes: int = MEMORY_BYTES
    threads: int | None = None
    engine: str | None = None
    plan: Plan | None = None
    heads: Path | None = None


def best_engine() -> str:
    """Name what multiplies the first bounds fastest here: int16 where the CPU has AVX2, else float32.

    Not bfloat16 where a CPU has it (avx512_bf16): by a library's product it took twice the processor time of int16.
    """
    from imgret_assets.domain.similarity.cascade import kernels

    return "int16" if "avx2" in kernels.cpu_features() else "float32"


class Sieve:
    """The bounds of one set of vectors, ready to be asked for the pairs of two ranges of rows.

    Rows are taken in an order of its own, in which a row has a *place*: the chosen rows first, so that "chosen rows
    against all" is the pairs of places p < q with p < `chosen`.

    Args:
        vectors: float32 (n, dim), C-contiguous, finite, no zero rows, any norm; may be a memory map.
        rows: the chosen rows; None for all.
        wanted: gives the cosine that pairs of a sample must exceed; from the sample's float32 unit rows, and how
            many of them, from the first, are compared with all of them.
        most: coordinates of the last bound, at the most.
        options: memory, threads, engine and plan.

    Raises:
        TableError: a row has no direction.
        SettingError: the engine or the plan can't be used.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        rows: np.ndarray | None,
        wanted: Wanted,
        most: int,
        options: Options,
    ) -> None:
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise TypeError(f"vectors of {vectors.dtype} {vectors.shape}: float32 (n, dim) is what is stored")
        self.vectors = np.ascontiguousarray(np.asarray(vectors)).view()
        # As a memory map for reading: the kernels are compiled for one kind of array only.
        self.vectors.flags.writeable = False
        self.count, self.dim = self.vectors.shape
        self.threads = options.threads or usable_threads()
        self.memory_bytes = options.memory_bytes
        self.engine = _checked_engine(options.engine)
        self.norms, self.digests = self._checked_norms()
        self.order, self.chosen = _order_of(self.count, rows)
        self.block_rows = min(_MAX_BLOCK_ROWS, max(16, math.isqrt(self.memory_bytes // (2 * _PAIR_BYTES)) // 16 * 16))
        self._packed: dict[tuple[int, int], Any] = {}
        self._device_rows = _MAX_BLOCK_ROWS
        self._libraries = ThreadpoolController()
        self._prepare(wanted, most, options)

    @property
    def pairs(self) -> int:
        """How many pairs there are to decide."""
        return self.chosen * self.count - self.chosen * (self.chosen + 1) // 2

    @property
    def exact(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the kernels need for a float64 cosine."""
        return self.vectors, self.order, self.norms

    def blocks(self) -> list[Block]:
        """All pairs of places p < q with p < `chosen`, cut into squares, in a fixed order."""
        size = self.block_rows
        corners = [(left, right) for left in range(0, self.chosen, size) for right in range(left, self.count, size)]
        return [
            Block(number, (left, min(left + size, self.chosen)), (right, min(right + size, self.count)))
            for number, (left, right) in enumerate(corners)
        ]

    def search(self, block: Block, floors: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        """The block's pairs of places whose cosine exceeds the lower of their floors.

        Args:
            block: one of `blocks()`.
            floors: float64 (n,) by place.

        Returns:
            parts of (p int32, q int32, cosine float64), p < q, unsorted.
        """
        # Blocks come row by row: the left side stays while the right one goes on.
        self._packed = {span: held for span, held in self._packed.items() if span in (block.left, block.right)}
        find = {"int16": self._by_integers, "float32": self._by_library, "cuda": self._by_torch}[self.engine]
        return [part for part in find(block, floors) if len(part[0])]

    def each(self, task: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """`task` of every item, on all threads, results in order."""
        return in_parallel(task, items, self.threads)

    def coded(self, places: np.ndarray) -> np.ndarray:
        """Integers of some places by which to guess at neighbours: int16 (len(places), a multiple of 16)."""
        if not self.plan.plain:
            return np.ascontiguousarray(self._heads[places, :_CODED_COLUMNS])
        # All numbers if there is room: the first ones may say little.
        room = self.memory_bytes // (8 * max(1, len(places))) // 16 * 16
        columns = min(-(-self.dim // 16) * 16, max(16, room))
        out = np.empty((len(places), columns), np.int16)
        for part in slices(0, len(places), _MAX_BLOCK_ROWS):
            out[part] = self._quantised(places[part])[:, :columns]
        return out

    # What is prepared once

    def _checked_norms(self) -> tuple[np.ndarray, np.ndarray]:
        from imgret_assets.domain.similarity.cascade import kernels

        norms, digests = np.empty(self.count), np.empty((self.count, 2), np.uint64)
        factors = digest_factors(self.dim)
        bits = self.vectors.view(np.uint32)

        def measure(part: slice) -> None:
            kernels.norms_of(self.vectors[part], norms[part])
            kernels.digests_of(bits[part], factors, digests[part])

        self.each(measure, slices(0, self.count, 128))
        bad = np.flatnonzero(unusable_norms(norms))
        if len(bad):
            named = ", ".join(map(str, bad[:5])) + (f" and {len(bad) - 5:,} more" if len(bad) > 5 else "")
            raise TableError(
                f"Row{'s' if len(bad) > 1 else ''} {named} of the vectors: zero or not finite",
                expected="finite numbers, at least one of them not 0, in every row",
                remedy="embed these pictures again or leave them out",
            )
        return norms, digests

    def _planned(self, wanted: Wanted, most: int, given: Plan | None) -> tuple[Plan, np.ndarray | None]:
        """The given plan or the cheapest by a sample, with its basis; plain where the sample would cost too much."""
        plain = Plan((self.dim,), plain=True)
        most = min(most, self.dim * 3 // 4, self.memory_bytes // (4 * max(1, self.count))) // 16 * 16
        work = bounds.Work(self.pairs, self.count, self.dim, self.engine)
        if given is not None:
            bounds.check_plan(given, self.dim)
            most = given.widths[-1]
        if not self.count or (given.plain if given is not None else not bounds.affordable(work, most)):
            return plain, None
        sampled = min(self.count, bounds.SAMPLE_ROWS)
        order, left = bounds.sample_order(sampled)
        unit = self._units(order * self.count // sampled)
        basis = bounds.leading_directions(unit, most, self.threads)
        # Rests longer than the integers have room for; no basis has been seen to come near it.
        if bounds.head_errors(basis, np.array([most]))[0] > _GREATEST_ERROR:
            return plain, None
        plan = given or bounds.cheapest(work, bounds.shares_passing(unit, left, basis, wanted(unit, left)))
        return (plain, None) if plan.plain else (plan, np.ascontiguousarray(basis[:, : plan.widths[-1]]))

    def _prepare(self, wanted: Wanted, most: int, options: Options) -> None:
        held, known = self._held_heads(most, options)
        with bounds.one_blas_thread():
            self.plan, basis = (held.plan, held.basis) if held else self._planned(wanted, most, options.plan)
            widths = np.array(self.plan.widths, dtype=np.int64)
            # Of a basis that was read, too, they are worked out: the proof asks nothing else of it.
            errors = bounds.identity_errors(self.dim) if basis is None else bounds.head_errors(basis, widths)
            # Rows of whole vectors of sixteen.
            kept = 0 if basis is None else self.count
            self._heads = np.zeros((kept, -(-int(widths[-1]) // 16) * 16 if kept else 16), np.int16)
            self._rests = np.empty((kept, len(widths)), np.int16)
            if held is not None:
                there = np.flatnonzero(known >= 0)
                self._heads[there], self._rests[there] = held.coordinates[known[there]], held.rests[known[there]]
            if basis is not None:
                new = np.flatnonzero(known < 0)
                self.each(
                    lambda part: self._fill_heads(new[part], basis, widths, errors), slices(0, len(new), _HEAD_ROWS)
                )
                # A few new ones are rotated again next time: that costs less than writing all.
                if options.heads is not None and len(new) > self.count // _HEADS_REWRITTEN:
                    self._keep_heads(options.heads, basis)
        self._margins = bounds.margins(errors, self.dim)
        # Of the first bound, in whole steps of a packed row.
        self._columns = -(-(int(widths[0]) + (not self.plan.plain)) // 4) * 4
        self._first_margin = self._margins[0] + bounds.library_error(self.engine, self._columns, errors[0])

    def _held_heads(self, most: int, options: Options) -> tuple[Heads | None, np.ndarray]:
        """The heads in the file, and for each place their row there, or -1; None where they are of no use."""
        none = np.full(self.count, -1)
        if options.heads is None or options.plan is not None or self.chosen == self.count:
            return None, none
        held = read_heads(options.heads, self.dim)
        if held is None or held.plan.widths[-1] > min(most, self.memory_bytes // (4 * max(1, self.count))):
            return None, none
        known = held.rows_of(self.digests)[self.order]
        # A basis that is of other vectors mostly would prune badly.
        return (held, known) if 2 * np.count_nonzero(known >= 0) > self.count else (None, none)

    def _keep_heads(self, path: Path, basis: np.ndarray) -> None:
        place = np.argsort(self.order)
        write_heads(path, Heads(self.plan, basis, self.digests, self._heads[place], self._rests[place]))

    def _fill_heads(self, places: np.ndarray, basis: np.ndarray, widths: np.ndarray, errors: np.ndarray) -> None:
        from imgret_assets.domain.similarity.cascade import kernels

        unit = np.empty((len(places), self.dim), np.float32)
        kernels.unit_rows(self.vectors, self.order[places], self.norms, unit)
        head = bounds.chunked_product(unit, basis)
        coordinates = np.zeros((len(places), self._heads.shape[1]), np.int16)
        rests = np.empty((len(places), len(widths)), np.int16)
        kernels.quantised_heads(head, float(SCALE), widths, errors, coordinates, rests)
        self._heads[places], self._rests[places] = coordinates, rests

    def _units(self, places: np.ndarray) -> np.ndarray:
        from imgret_assets.domain.similarity.cascade import kernels

        out = np.empty((len(places), self.dim), np.float32)
        rows = self.order[places]
        self.each(
            lambda part: kernels.unit_rows(self.vectors, rows[part], self.norms, out[part]),
            parts(len(rows), self.threads),
        )
        return out

    def _quantised(self, places: np.ndarray) -> np.ndarray:
        from imgret_assets.domain.similarity.cascade import kernels

        out = np.empty((len(places), -(-self.dim // 16) * 16), np.int16)
        rows = self.order[places]
        self.each(
            lambda part: kernels.quantised_rows(self.vectors, rows[part], self.norms, float(SCALE), out[part]),
            parts(len(rows), self.threads),
        )
        return out

    # The first bound of a block

    def _tests(self) -> tuple[Any, ...]:
        widths = np.array(self.plan.widths, dtype=np.int64)
        return len(widths), widths, self._heads, self._rests, float(SCALE) ** 2, self._margins

    def _first_integers(self, span: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """int16 rows of the first bound and their rests, of a range of places."""
        if self.plan.plain:
            return self._quantised(np.arange(*span)), np.empty(0, np.int16)
        return self._heads[slice(*span)], np.ascontiguousarray(self._rests[slice(*span), 0])

    def _cutoffs(self, floors: np.ndarray) -> np.ndarray:
        """The first bound's cutoffs: what s^2 times a bound must reach; float64."""
        return SCALE**2 * (floors - self._first_margin)

    def _cached(self, span: tuple[int, int], make: Callable[[tuple[int, int]], Any]) -> Any:
        if span not in self._packed:
            self._packed[span] = make(span)
        return self._packed[span]

    def _pack(self, span: tuple[int, int]) -> np.ndarray:
        from imgret_assets.domain.similarity.cascade import kernels

        integers, rests = self._first_integers(span)
        out = np.empty((-(-len(integers) // kernels.PANEL), self._columns // 2, kernels.PANEL), np.int32)
        pairs = integers.view(np.int32)

        def pack(part: slice) -> None:
            panels = slice(part.start // kernels.PANEL, -(-part.stop // kernels.PANEL))
            kernels.pack(pairs[part], rests[part], self._columns // 2, out[panels])

        self.each(pack, slices(0, len(integers), 1024))
        return out

    def _by_integers(self, block: Block, floors: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        from imgret_assets.domain.similarity.cascade import kernels

        left = self._cached(block.left, self._pack)
        right = self._cached(block.right, self._pack)

        left_cuts, right_cuts = (
            _as_integers(self._cutoffs(floors[slice(*span)]), len(packed) * kernels.PANEL)
            for span, packed in ((block.left, left), (block.right, right))
        )
        right_flat = right.ravel()
        fitting = _STRIP_BYTES // (2 * self._columns) // kernels.PANEL * kernels.PANEL
        size = min(_STRIP_ROWS, max(kernels.PANEL, fitting))

        def strip(part: slice) -> tuple[np.ndarray, ...]:
            panels = slice(part.start // kernels.PANEL, -(-part.stop // kernels.PANEL))
            return kernels.sieve_packed(
                left[panels].ravel(), left_cuts[panels.start * kernels.PANEL : panels.stop * kernels.PANEL],
                block.left[0] + part.start, part.stop - part.start,
                right_flat, right_cuts, block.right[0], block.right[1] - block.right[0],
                self._tests(), self.exact, floors,
            )  # fmt: skip

        return self.each(strip, slices(0, block.left[1] - block.left[0], size))

    def _operand(self, span: tuple[int, int]) -> np.ndarray:
        """The first bound's integers as float32 (places, columns)."""
        integers, rests = self._first_integers(span)
        width = self.plan.widths[0]
        out = np.zeros((len(integers), self._columns), np.float32)
        out[:, :width] = integers[:, :width]
        if len(rests):
            out[:, width] = rests
        return out

    def _by_library(self, block: Block, floors: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        from imgret_assets.domain.similarity.cascade import kernels

        left = self._cached(block.left, self._operand)
        right = self._cached(block.right, self._operand)
        left_cuts, right_cuts = (_as_bits(self._cutoffs(floors[slice(*span)])) for span in (block.left, block.right))
        found = []
        for rows in slices(0, len(left), _TILE_ROWS):
            with self._libraries.limit(limits=self.threads):
                tile = (left[rows] @ right.T).view(np.int32)

            def scan(part: slice, tile: np.ndarray = tile, start: int = rows.start) -> tuple[np.ndarray, ...]:
                own = slice(start + part.start, start + part.stop)
                return kernels.sieve_tile(
                    tile[part], left_cuts[own], block.left[0] + own.start, right_cuts, block.right[0],
                    self._tests(), self.exact, floors,
                )  # fmt: skip

            found += self.each(scan, slices(0, len(tile), -(-len(tile) // (2 * self.threads))))
        return found

    def _by_torch(self, block: Block, floors: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        from imgret_assets.domain.similarity.cascade import kernels

        left, right = (
            self._cached(span, lambda some: gpu_bounds.operand(self._operand(some)))
            for span in (block.left, block.right)
        )
        own, theirs = (self._cutoffs(floors[slice(*span)]) for span in (block.left, block.right))
        found = []
        for rows, columns, tile_rows in gpu_bounds.passing(left, right, own, theirs, self._device_rows):
            self._device_rows = tile_rows
            p, q = rows + block.left[0], columns + block.right[0]
            candidates = (p << 32 | q)[p < q]

            def settle(part: slice, some: np.ndarray = candidates) -> tuple[np.ndarray, ...]:
                return kernels.sieve_candidates(some[part], self._tests(), self.exact, floors)

            found += self.each(settle, parts(len(candidates), self.threads))
        return found


def as_found(parts: Sequence[tuple[np.ndarray, ...]], order: np.ndarray) -> Found:
    """Pairs of places as sorted pairs of rows."""
    if not parts:
        return Found(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))
    p, q, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    p, q = order[p], order[q]
    key = np.minimum(p, q) << 32 | np.maximum(p, q)
    by_rows = np.argsort(key)
    key = key[by_rows]
    return Found(key >> 32, key & 0xFFFFFFFF, scores[by_rows])


def _checked_engine(engine: str | None) -> str:
    from imgret_assets.domain.similarity.cascade import kernels

    chosen = engine or best_engine()
    if chosen not in bounds.ENGINES:
        raise SettingError(f"Unknown engine {chosen!r}", expected=", ".join(bounds.ENGINES))
    if chosen == "int16" and "avx2" not in kernels.cpu_features():
        raise SettingError("The engine int16 needs a CPU with AVX2", remedy="leave the engine to be chosen")
    return chosen


def _order_of(count: int, rows: np.ndarray | None) -> tuple[np.ndarray, int]:
    """Rows by place, the chosen ones first, and how many those are."""
    if rows is None:
        return np.arange(count), count
    first = np.unique(rows)
    # The kernels don't look.
    if len(first) and (first[0] < 0 or first[-1] >= count):
        raise IndexError(f"rows {first[0]} to {first[-1]} of {count} vectors")
    return np.concatenate([first, np.setdiff1d(np.arange(count), first, assume_unique=True)]), len(first)


def _as_integers(cutoffs: np.ndarray, count: int) -> np.ndarray:
    """int32 (count,) below every integer that reaches a cutoff; the highest beyond the cutoffs."""
    out = np.full(count, np.iinfo(np.int32).max, np.int32)
    out[: len(cutoffs)] = np.clip(np.floor(cutoffs) - 1, -(2.0**31), 2.0**31 - 1)
    return out


def _as_bits(cutoffs: np.ndarray) -> np.ndarray:
    """int32 below the bits of every float32 that reaches a cutoff; the lowest where a cutoff isn't positive."""
    below = np.nextafter(cutoffs.astype(np.float32), np.float32(-np.inf))
    return np.where(below > 0, below.view(np.int32) - 1, np.iinfo(np.int32).min).astype(np.int32)
