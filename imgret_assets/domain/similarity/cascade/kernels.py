"""The compiled loops of the cascade over pairs: products of short integers, compared before they leave the registers.

Belongs here: numba kernels that run for each pair, and the vector instructions that they are made of. Not here: kernels
that prepare vectors (`domain.similarity.cascade.preparation_kernels`), which bounds the kernels are given and why those
lose no pair (`domain.similarity.cascade.bounds`). Importing this module loads numba (half a second), so it is imported
only when there is work.

Three choices make it fast. (1) Projections are int16 with int32 sums: a core with AVX2 multiplies 16 pairs of int16 in
one instruction (pmaddwd), but only 8 float32, and integer sums have no rounding error to bound. (2) A block of 4 x 16
products stays in eight registers and is compared with its cutoffs there. Only one 64-bit mask is written, so there is
no matrix of products to store and scan (the register blocking is that of Goto and van de Geijn, Anatomy of
high-performance matrix multiplication, ACM TOMS 34(3), 2008, with a comparison in place of the write-back). (3) A
candidate goes through the later bounds at once, while its rows are in the cache.

Every kernel releases the GIL and uses one thread; a pool of Python threads works on several tiles, because two threads
of a process may not enter numba's own threading layers at the same time.

The module is long because instructions and kernels must stand in one file: numba keys compiled code on disk by the file
that a kernel is in, so a change to an instruction in another file would leave the old machine code in use.
"""

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config

from imgret_assets.domain.numerics.numba_compiler import compiled, instruction
from imgret_assets.domain.similarity.cascade.bounds import COLUMN_MULTIPLE, PANEL_ROWS

_TILE_ROWS = 4  # Rows of one register block; it has PANEL_ROWS columns.
_STEPS_A_TURN = COLUMN_MULTIPLE // 2  # A step is two columns. With four steps a turn, LLVM spills the sums.

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_INTS, _SHORTS = ir.VectorType(_I32, 8), ir.VectorType(_I16, 16)
_FLOATS, _EIGHT_FLOATS = ir.VectorType(ir.FloatType(), 4), ir.VectorType(ir.FloatType(), 8)
_DOUBLES = ir.VectorType(ir.DoubleType(), 4)
# Products of norms between which float32 neither overflows nor loses more to underflow than its margin covers.
_MIN_NORM_PRODUCT, _MAX_NORM_PRODUCT = 2.0**-80, 2.0**80


def cpu_features() -> frozenset[str]:
    """Return the features of this CPU, in LLVM's names; none where numba is set to compile for another CPU."""
    if getattr(config, "CPU_NAME", None) or getattr(config, "CPU_FEATURES", None):
        return frozenset()
    return frozenset(name for name, present in llvmlite.binding.get_host_cpu_features().items() if present)


# Instructions


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [at])


def _load(builder: Any, pointer: Any, vector: Any, align: int) -> Any:
    loaded = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    loaded.align = align
    return loaded


def _splat(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(_INTS, ir.Undefined)
    return builder.shuffle_vector(
        builder.insert_element(undefined, value, _I32(0)), undefined, ir.Constant(_INTS, [0] * 8)
    )


def _multiply_shorts(builder: Any, x: Any, y: Any) -> Any:
    """Emit the sums of two neighbouring products of sixteen int16: one instruction where there is AVX2."""
    if "avx2" in cpu_features():
        kind = ir.FunctionType(_INTS, [_SHORTS, _SHORTS])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx2.pmadd.wd"), [x, y])
    wide = ir.VectorType(_I32, 16)
    products = builder.mul(builder.sext(x, wide), builder.sext(y, wide))
    undefined = ir.Constant(wide, ir.Undefined)
    even, odd = (
        builder.shuffle_vector(products, undefined, ir.Constant(_INTS, list(range(first, 16, 2)))) for first in (0, 1)
    )
    return builder.add(even, odd)


@instruction
def _mask_above(
    typingctx: Any, left: Any, left_at: Any, right: Any, right_at: Any, steps: Any, left_cuts: Any, left_cut_at: Any,
    right_cuts: Any, right_cut_at: Any,
) -> Any:  # fmt: skip
    """Return the mask of 4 x 16 products that exceed the lower of their two cutoffs; bit 16 r + c is row r, column c.

    `left` and `right` are packed panels (`preparation_kernels.pack_rows`): four rows of the one and sixteen rows of the
    other are multiplied. `steps` is a multiple of _STEPS_A_TURN.
    """
    signature = types.uint64(
        left, types.int64, right, types.int64, types.int64, left_cuts, types.int64, right_cuts, types.int64
    )

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, columns = (_pointer(context, builder, signature.args[i], args[i], args[i + 1]) for i in (0, 2))
        row_cuts, column_cuts = (_pointer(context, builder, signature.args[i], args[i], args[i + 1]) for i in (5, 7))
        entry = builder.block
        loop, compare = builder.append_basic_block("products"), builder.append_basic_block("compare")
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(_I64)
        sums = [builder.phi(_INTS) for _ in range(2 * _TILE_ROWS)]
        zeros = ir.Constant(_INTS, [0] * 8)
        for phi, start in zip([step, *sums], [_I64(0)] + [zeros] * len(sums), strict=True):
            phi.add_incoming(start, entry)
        new_sums = list(sums)
        for turn_step in range(_STEPS_A_TURN):
            at = builder.mul(builder.add(step, _I64(turn_step)), _I64(PANEL_ROWS))
            halves = [
                builder.bitcast(_load(builder, builder.gep(columns, [builder.add(at, _I64(8 * h))]), _INTS, 4), _SHORTS)
                for h in range(2)
            ]
            for row in range(_TILE_ROWS):
                value = builder.load(builder.gep(rows, [builder.add(at, _I64(row))]))
                spread = builder.bitcast(_splat(builder, value), _SHORTS)
                for h in range(2):
                    product = _multiply_shorts(builder, spread, halves[h])
                    new_sums[2 * row + h] = builder.add(new_sums[2 * row + h], product)
        next_step = builder.add(step, _I64(_STEPS_A_TURN))
        for phi, value in zip([step, *sums], [next_step, *new_sums], strict=True):
            phi.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_signed("<", next_step, args[4]), loop, compare)
        builder.position_at_end(compare)
        mask = _I64(0)
        column_halves = [_load(builder, builder.gep(column_cuts, [_I64(8 * h)]), _INTS, 4) for h in range(2)]
        for row in range(_TILE_ROWS):
            row_cut = _splat(builder, builder.load(builder.gep(row_cuts, [_I64(row)])))
            for h in range(2):
                is_lower = builder.icmp_signed("<", row_cut, column_halves[h])
                lower = builder.select(is_lower, row_cut, column_halves[h])
                above = builder.icmp_signed(">", new_sums[2 * row + h], lower)
                bits = builder.zext(builder.bitcast(above, _I8), _I64)
                mask = builder.or_(mask, builder.shl(bits, _I64(PANEL_ROWS * row + 8 * h)))
        return mask

    return signature, emit


@instruction
def _lowest_bit(typingctx: Any, mask: Any) -> Any:
    """Return the number of the lowest bit that is set, of a mask that is not 0."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), emit


def _emit_dot(context: Any, builder: Any, signature: Any, args: Any, zero: Any, width: int, add: Any) -> list[Any]:
    """Emit a loop over two flat arrays in steps of 16 numbers.

    `add(sum, x, y)` emits a sum's next value from pointers to `width` numbers; the result is the sums after the loop.
    """
    left, right = (_pointer(context, builder, signature.args[i], args[i], args[i + 1]) for i in (0, 2))
    entry = builder.block
    head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    step = builder.phi(_I64)
    sums = [builder.phi(zero.type) for _ in range(16 // width)]
    for phi, value in zip([step, *sums], [_I64(0)] + [zero] * len(sums), strict=True):
        phi.add_incoming(value, entry)
    builder.cbranch(builder.icmp_signed("<", step, args[4]), body, done)
    builder.position_at_end(body)
    at = builder.mul(step, _I64(16))
    new_sums = []
    for number, old in enumerate(sums):
        offset = [builder.add(at, _I64(width * number))]
        new_sums.append(add(old, builder.gep(left, offset), builder.gep(right, offset)))
    for phi, value in zip([step, *sums], [builder.add(step, _I64(1)), *new_sums], strict=True):
        phi.add_incoming(value, body)
    builder.branch(head)
    builder.position_at_end(done)
    return sums


def _sum_lanes(builder: Any, vector: Any, add: Any) -> Any:
    values = [builder.extract_element(vector, _I32(lane)) for lane in range(vector.type.count)]
    while len(values) > 1:
        values = [add(x, y) for x, y in zip(values[::2], values[1::2], strict=True)]
    return values[0]


@instruction
def _exact_dot(typingctx: Any, x: Any, x_at: Any, y: Any, y_at: Any, count: Any) -> Any:
    """Return the float64 dot product of 16 `count` float32, in the order of `domain.numerics.exact_scores.dots`.

    The order is written out and not left to the optimiser. A product of two float32 is exact in float64, so it makes no
    difference whether it is fused with the sum.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def add(old: Any, left: Any, right: Any) -> Any:
            a, b = (builder.fpext(_load(builder, pointer, _FLOATS, 4), _DOUBLES) for pointer in (left, right))
            return builder.fadd(old, builder.fmul(a, b, flags=["contract"]), flags=["contract"])

        zero = ir.Constant(_DOUBLES, [0.0] * 4)
        first, second, third, fourth = _emit_dot(context, builder, signature, args, zero, 4, add)
        four = builder.fadd(builder.fadd(first, second), builder.fadd(third, fourth))
        return _sum_lanes(builder, four, builder.fadd)

    return types.float64(x, types.int64, y, types.int64, types.int64), emit


@instruction
def _float32_dot(typingctx: Any, x: Any, x_at: Any, y: Any, y_at: Any, count: Any) -> Any:
    """Return the float32 dot product of 16 `count` float32: off by at most gamma(16 count) times the norms.

    It takes a quarter of the time of `_exact_dot`.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def add(old: Any, left: Any, right: Any) -> Any:
            a, b = (_load(builder, pointer, _EIGHT_FLOATS, 4) for pointer in (left, right))
            return builder.fadd(old, builder.fmul(a, b, flags=["contract"]), flags=["contract"])

        first, second = _emit_dot(context, builder, signature, args, ir.Constant(_EIGHT_FLOATS, [0.0] * 8), 8, add)
        return _sum_lanes(builder, builder.fadd(first, second), builder.fadd)

    return types.float32(x, types.int64, y, types.int64, types.int64), emit


@instruction
def _int16_dot(typingctx: Any, x: Any, x_at: Any, y: Any, y_at: Any, count: Any) -> Any:
    """Return the int32 dot product of 16 `count` int16; the caller must ensure that it fits."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def add(old: Any, left: Any, right: Any) -> Any:
            a, b = (_load(builder, pointer, _SHORTS, 2) for pointer in (left, right))
            return builder.add(old, _multiply_shorts(builder, a, b))

        (total,) = _emit_dot(context, builder, signature, args, ir.Constant(_INTS, [0] * 8), 16, add)
        return _sum_lanes(builder, total, builder.add)

    return types.int32(x, types.int64, y, types.int64, types.int64), emit


# Exact scores


@compiled
def _dot(left, i, right, j, dim):
    whole = dim // 16
    total = _exact_dot(left, i * dim, right, j * dim, whole)
    for k in range(16 * whole, dim):
        total += np.float64(left[i * dim + k]) * np.float64(right[j * dim + k])
    return total


@compiled
def _score(left, i, right, j, dim, norm_product):
    """Return the exact score of two rows: `domain.numerics.exact_scores.cosines`, to the last bit."""
    return min(1.0, max(-1.0, _dot(left, i, right, j, dim) / norm_product))


@compiled
def norms_of_rows(vectors, out):
    """Write the Euclidean norms of float32 (n, dim) rows into `out`, float64 (n,).

    They are `domain.numerics.exact_scores.exact_norms` to the last bit; not finite where a number isn't.
    """
    flat = vectors.reshape(-1)
    for i in range(len(vectors)):
        out[i] = np.sqrt(_dot(flat, i, flat, i, vectors.shape[1]))


@compiled
def score_pairs(exact, p, q, out):
    """Write the exact scores of pairs of places into `out`, float64.

    `exact`: the float32 (n, dim) vectors, the row of each place, and the float64 norm of each row.
    """
    vectors, order, norms = exact
    flat = vectors.reshape(-1)
    for c in range(len(p)):
        i, j = order[p[c]], order[q[c]]
        out[c] = _score(flat, i, flat, j, vectors.shape[1], norms[i] * norms[j])


# Pairs above their thresholds


@compiled
def _grown(array, size):
    larger = np.empty(size, array.dtype)
    larger[: len(array)] = array
    return larger


@compiled
def _finish(accepted, used, candidates, count, later_bounds, left, right):
    """Bring candidates (p << 32 | q) through the later bounds and the exact score.

    Those above the lower of their two thresholds are appended to `accepted`, of which `used` entries are filled; both
    are returned.
    """
    levels, widths, scale_squared, margins = later_bounds
    left_vectors, left_rows, left_norms, left_coordinates, left_residual_norms, left_thresholds = left
    right_vectors, right_rows, right_norms, right_coordinates, right_residual_norms, right_thresholds = right
    out_p, out_q, out_score = accepted
    dim, stride = left_vectors.shape[1], left_coordinates.shape[1]
    left_flat, right_flat = left_vectors.reshape(-1), right_vectors.reshape(-1)
    left_integers, right_integers = left_coordinates.reshape(-1), right_coordinates.reshape(-1)
    whole = dim // 16 if dim % 16 == 0 else 0
    float32_margin = 1.01 * dim * 2.0**-24 + 1e-12
    tried = dropped = 0
    for c in range(count):
        p, q = candidates[c] >> 32, candidates[c] & 0xFFFFFFFF
        threshold = min(left_thresholds[p], right_thresholds[q])
        total = np.int64(0)
        done = 0
        passes = True
        for level in range(1, levels):
            steps = (widths[level] - done) // 16
            total += _int16_dot(left_integers, p * stride + done, right_integers, q * stride + done, steps)
            done = widths[level]
            bound = total + np.int64(left_residual_norms[p, level]) * np.int64(right_residual_norms[q, level])
            if bound < scale_squared * (threshold - margins[level]) - 1.0:
                passes = False
                break
        if not passes:
            continue
        i, j = left_rows[p], right_rows[q]
        norm_product = left_norms[i] * right_norms[j]
        # A last bound in float32, as long as it spares a quarter of the candidates the float64 sum.
        if whole and 4 * dropped >= tried - 16 and _MIN_NORM_PRODUCT < norm_product < _MAX_NORM_PRODUCT:
            tried += 1
            product = _float32_dot(left_flat, i * dim, right_flat, j * dim, whole)
            if product < (threshold - float32_margin) * norm_product:
                dropped += 1
                continue
        score = _score(left_flat, i, right_flat, j, dim, norm_product)
        if score > threshold:
            if used == len(out_p):
                out_p, out_q, out_score = _grown(out_p, 2 * used), _grown(out_q, 2 * used), _grown(out_score, 2 * used)
            out_p[used], out_q[used], out_score[used] = p, q, score
            used += 1
    return (out_p, out_q, out_score), used


@compiled
def _empty_pairs():
    return np.empty(256, np.int32), np.empty(256, np.int32), np.empty(256, np.float64)


@compiled
def _trimmed(accepted, used):
    return accepted[0][:used].copy(), accepted[1][:used].copy(), accepted[2][:used].copy()


@compiled
def search_packed(
    left_packed, left_cuts, left_from, left_count, right_packed, right_cuts, right_count, is_diagonal,
    later_bounds, left, right,
):  # fmt: skip
    """Find all pairs of a row on the left with one on the right whose score exceeds the lower of their thresholds.

    The two sides may lie in different arrays, and a row is named by its position p or q on its side. Where both sides
    are the same rows (`is_diagonal`), only pairs p < q are found. The first bound is a product in int16:

    - `left_packed`, `right_packed`: rows of `preparation_kernels.pack_rows`, int32, flat; of the left side those of
      `left_count` positions from `left_from` on, of the right side those of all `right_count` positions;
    - `left_cuts`, `right_cuts`: int32 per packed row; a first bound must exceed the lower one of its two.

    And for the candidates:

    - `later_bounds`: number of bounds, widths, scale^2 and margins;
    - `left`, `right`: of each side float32 (n, dim) vectors, the row in them of each position, the float64 norm of each
      row, and of each position int16 coordinates, int16 residual norms and a float64 threshold.

    Returns:
        p int32, q int32 and exact scores float64, unsorted.
    """
    steps = len(left_packed) // len(left_cuts)
    candidates = np.empty(PANEL_ROWS * (left_count + _TILE_ROWS - 1), np.int64)
    accepted, used = _empty_pairs(), 0
    for j in range(0, right_count, PANEL_ROWS):
        count = 0
        for i in range(0, left_count, _TILE_ROWS):
            if is_diagonal and left_from + i >= j + PANEL_ROWS - 1:
                break
            at = (i // PANEL_ROWS) * PANEL_ROWS * steps + i % PANEL_ROWS
            mask = _mask_above(left_packed, at, right_packed, j * steps, steps, left_cuts, i, right_cuts, j)
            while mask:
                bit = _lowest_bit(mask)
                mask &= mask - np.uint64(1)
                row, q = i + bit // PANEL_ROWS, j + bit % PANEL_ROWS
                p = left_from + row
                if row < left_count and q < right_count and (p < q or not is_diagonal):
                    candidates[count] = p << 32 | q
                    count += 1
        accepted, used = _finish(accepted, used, candidates, count, later_bounds, left, right)
    return _trimmed(accepted, used)


@compiled
def finish_candidates(candidates, later_bounds, left, right):
    """Do as `search_packed` for candidates, int64 p << 32 | q, whose first bounds have been compared already."""
    accepted, used = _finish(_empty_pairs(), 0, candidates, len(candidates), later_bounds, left, right)
    return _trimmed(accepted, used)


@compiled
def search_tile(tile, left_cuts, left_from, right_cuts, is_diagonal, later_bounds, left, right):
    """Do as `search_packed` for a tile of first bounds that a library has multiplied.

    `tile` (left, right) has the rows of the left side from position `left_from` on. Tile and cutoffs are the bits of
    float32 as int32. Positive floats are ordered as their bits are, and negative floats are negative, so positive
    cutoffs compare as integers. A cutoff that everything passes is the lowest integer.
    """
    rows, columns = tile.shape
    candidates = np.empty(columns, np.int64)
    accepted, used = _empty_pairs(), 0
    for i in range(rows):
        count = 0
        left_cut = left_cuts[i]
        for start in range(0, columns, 64):
            stop = min(start + 64, columns)
            some = 0
            for j in range(start, stop):
                some |= tile[i, j] > min(left_cut, right_cuts[j])
            if some:
                for j in range(start, stop):
                    if tile[i, j] > min(left_cut, right_cuts[j]) and (left_from + i < j or not is_diagonal):
                        candidates[count] = (left_from + i) << 32 | j
                        count += 1
        accepted, used = _finish(accepted, used, candidates, count, later_bounds, left, right)
    return _trimmed(accepted, used)


# Nearest neighbours


@compiled
def _insert(lists, place, neighbour, score):
    """Insert a row into the sorted list of a place, if it is among the best and not in it yet.

    The entry that follows a list's limit is unknown, so nothing is inserted behind the limit even if there is room.
    """
    scores, members, thresholds, limits, limit_members = lists
    last = scores.shape[1] - 1
    if score < limits[place] or (score == limits[place] and neighbour > limit_members[place]):
        return
    if score < scores[place, last] or (score == scores[place, last] and neighbour > members[place, last]):
        return
    for i in range(last + 1):
        if members[place, i] == neighbour:
            return
    i = last
    while i > 0 and (
        score > scores[place, i - 1] or (score == scores[place, i - 1] and neighbour < members[place, i - 1])
    ):
        scores[place, i], members[place, i] = scores[place, i - 1], members[place, i - 1]
        i -= 1
    scores[place, i], members[place, i] = score, neighbour
    # A lower row with an equal score may still displace the last entry, so the threshold is just below that score.
    thresholds[place] = np.nextafter(max(scores[place, last], limits[place]), -np.inf)


@compiled
def insert_pairs(lists, order, p, q, pair_scores):
    """Offer pairs of places to the lists of both (best first, ties by lower row); the lists hold rows, not places.

    `lists`, by place: scores float64 and members int64 (n, w); thresholds float64; and the last entry that may be
    inserted, limits float64 and limit_members int64.
    """
    for c in range(len(p)):
        _insert(lists, p[c], np.int64(order[q[c]]), pair_scores[c])
        _insert(lists, q[c], np.int64(order[p[c]]), pair_scores[c])


@compiled
def likely_neighbours(coded, rows, positions, sequence, window, out):
    """Find the best int16 products of some rows with those near them in a sequence: a guess at their neighbours.

    `coded`: int16 (m, c), c a multiple of 16; each of `rows` is compared with those up to `window` before and after its
    position, `positions`, in `sequence`. `out`: int64 (len(rows), k), row numbers, best first, then -1.
    """
    keep = out.shape[1]
    flat = coded.reshape(-1)
    best = np.empty(keep, np.int64)
    out[:] = -1
    for i in range(len(rows)):
        best[:] = np.iinfo(np.int64).min
        p = rows[i]
        for j in range(max(0, positions[i] - window), min(len(sequence), positions[i] + window + 1)):
            q = sequence[j]
            if p == q:
                continue
            total = _int16_dot(flat, p * coded.shape[1], flat, q * coded.shape[1], coded.shape[1] // 16)
            if total > best[keep - 1]:
                at = keep - 1
                while at > 0 and total > best[at - 1]:
                    best[at], out[i, at] = best[at - 1], out[i, at - 1]
                    at -= 1
                best[at], out[i, at] = total, q
