"""The compiled loops of the cascade: products of short integers that are compared before they leave the registers.

Belongs here: numba kernels and the vector instructions they are made of. Not here: which bounds they are given
and why those are safe (`domain.similarity.cascade.sieve`). Importing this module loads numba (half a second), so
`domain.similarity.cascade.sieve` imports it only when there is work.

Three choices carry the speed. (1) Heads are int16 with int32 sums: an AVX2 core multiplies 16 pairs of int16 in
one instruction (pmaddwd) where it multiplies 8 float32, and integer sums have no rounding to bound. (2) A block
of 4 x 16 products lives in eight registers and is compared with its cutoffs there; what is written to memory is one
64-bit mask, so no matrix of scores exists that would have to be stored and scanned (the register blocking is that
of Goto and van de Geijn, Anatomy of high-performance matrix multiplication, ACM TOMS 34(3), 2008, the write-back
replaced by a comparison). (3) A candidate goes through the later bounds at once, while its rows are in the cache.

Every kernel releases the GIL and uses one thread; parallelism is a pool of Python threads over tiles, because numba's
own layers may not be entered by two threads of a process at a time.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

PANEL = 16  # Rows of a packed panel: columns of one register block.
STRIDE = 4  # Columns of a packed row come in multiples of this: two steps a turn, of two columns each.

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_INTS, _SHORTS = ir.VectorType(_I32, 8), ir.VectorType(_I16, 16)
_FLOATS, _EIGHT_FLOATS = ir.VectorType(ir.FloatType(), 4), ir.VectorType(ir.FloatType(), 8)
_DOUBLES = ir.VectorType(ir.DoubleType(), 4)
# Products of norms between which float32 neither overflows nor loses more to underflow than its margin covers.
_LEAST, _GREATEST = 2.0**-80, 2.0**80


def cpu_features() -> frozenset[str]:
    """What this CPU can do, in LLVM's names; empty where numba was told to compile for another one."""
    if getattr(config, "CPU_NAME", None) or getattr(config, "CPU_FEATURES", None):
        return frozenset()
    return frozenset(name for name, there in llvmlite.binding.get_host_cpu_features().items() if there)


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile on first use, keep the code on disk where some folder can be written, in memory otherwise.

    numba looks for a folder when the decorator runs (NUMBA_CACHE_DIR, beside this file, the user's cache folder) and
    raises where it may write none of them: an installed package of a container's read-only root, without a home.
    """
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:
        return numba.njit(nogil=True, error_model="numpy")(function)


def _instruction(function: Callable[..., Any]) -> Any:
    """`intrinsic`, for a reader of types: the compiler passes the first argument."""
    return intrinsic(function)


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


def _multiplied(builder: Any, x: Any, y: Any) -> Any:
    """Sums of two neighbouring products of sixteen int16: one instruction where there is AVX2."""
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


@_instruction
def _hits(
    typingctx: Any, left: Any, left_at: Any, right: Any, right_at: Any, steps: Any, cut: Any, cut_at: Any,
    other_cut: Any, other_at: Any,
) -> Any:  # fmt: skip
    """Mask of the 4 x 16 products that exceed the lower of their two cutoffs; bit 16 r + c is row r, column c.

    `left` and `right` are packed panels (see `pack`), of which four rows and sixteen rows are read.
    """
    signature = types.uint64(
        left, types.int64, right, types.int64, types.int64, cut, types.int64, other_cut, types.int64
    )

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, columns = (_pointer(context, builder, signature.args[i], args[i], args[i + 1]) for i in (0, 2))
        row_cuts, column_cuts = (_pointer(context, builder, signature.args[i], args[i], args[i + 1]) for i in (5, 7))
        before = builder.block
        loop, after = builder.append_basic_block("products"), builder.append_basic_block("compare")
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(_I64)
        sums = [builder.phi(_INTS) for _ in range(8)]
        for phi, start in zip([step, *sums], [_I64(0)] + [ir.Constant(_INTS, [0] * 8)] * 8, strict=True):
            phi.add_incoming(start, before)
        new = list(sums)
        # Two steps a turn: with four, LLVM reorders the sums and spills them.
        for part in range(2):
            at = builder.mul(builder.add(step, _I64(part)), _I64(PANEL))
            halves = [
                builder.bitcast(_load(builder, builder.gep(columns, [builder.add(at, _I64(8 * h))]), _INTS, 4), _SHORTS)
                for h in range(2)
            ]
            for row in range(4):
                value = builder.load(builder.gep(rows, [builder.add(at, _I64(row))]))
                spread = builder.bitcast(_splat(builder, value), _SHORTS)
                for h in range(2):
                    new[2 * row + h] = builder.add(new[2 * row + h], _multiplied(builder, spread, halves[h]))
        following = builder.add(step, _I64(2))
        for phi, value in zip([step, *sums], [following, *new], strict=True):
            phi.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, args[4]), loop, after)
        builder.position_at_end(after)
        mask = _I64(0)
        theirs = [_load(builder, builder.gep(column_cuts, [_I64(8 * h)]), _INTS, 4) for h in range(2)]
        for row in range(4):
            own = _splat(builder, builder.load(builder.gep(row_cuts, [_I64(row)])))
            for h in range(2):
                lower = builder.select(builder.icmp_signed("<", own, theirs[h]), own, theirs[h])
                over = builder.icmp_signed(">", new[2 * row + h], lower)
                bits = builder.zext(builder.bitcast(over, _I8), _I64)
                mask = builder.or_(mask, builder.shl(bits, _I64(16 * row + 8 * h)))
        return mask

    return signature, emit


@_instruction
def _lowest_bit(typingctx: Any, mask: Any) -> Any:
    """Number of the lowest bit set of a mask that is not 0."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), emit


def _emit_dot(context: Any, builder: Any, signature: Any, args: Any, zero: Any, width: int, add: Any) -> list[Any]:
    """A loop over two flat arrays in steps of 16 numbers; the sums, of `add(old, place in step, x, y)`, at its end."""
    ours, theirs = (_pointer(context, builder, signature.args[i], args[i], args[i + 1]) for i in (0, 2))
    start = builder.block
    head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    step = builder.phi(_I64)
    sums = [builder.phi(zero.type) for _ in range(16 // width)]
    for phi, value in zip([step, *sums], [_I64(0)] + [zero] * len(sums), strict=True):
        phi.add_incoming(value, start)
    builder.cbranch(builder.icmp_signed("<", step, args[4]), body, done)
    builder.position_at_end(body)
    at = builder.mul(step, _I64(16))
    new = []
    for part, old in enumerate(sums):
        place = [builder.add(at, _I64(width * part))]
        new.append(add(old, builder.gep(ours, place), builder.gep(theirs, place)))
    for phi, value in zip([step, *sums], [builder.add(step, _I64(1)), *new], strict=True):
        phi.add_incoming(value, body)
    builder.branch(head)
    builder.position_at_end(done)
    return sums


def _sum_lanes(builder: Any, vector: Any, add: Any) -> Any:
    values = [builder.extract_element(vector, _I32(lane)) for lane in range(vector.type.count)]
    while len(values) > 1:
        values = [add(x, y) for x, y in zip(values[::2], values[1::2], strict=True)]
    return values[0]


@_instruction
def _exact_dot(typingctx: Any, x: Any, x_at: Any, y: Any, y_at: Any, count: Any) -> Any:
    """Float64 dot product of 16 `count` float32, summed in sixteen lanes that are added pairwise.

    The order of the sum is written out, not left to the optimiser, and a product of two float32 is exact in float64,
    so fused or not: a pair has the same score to the last bit whichever kernel, machine or order of its rows asks.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def add(old: Any, ours: Any, theirs: Any) -> Any:
            a, b = (builder.fpext(_load(builder, place, _FLOATS, 4), _DOUBLES) for place in (ours, theirs))
            return builder.fadd(old, builder.fmul(a, b, flags=["contract"]), flags=["contract"])

        zero = ir.Constant(_DOUBLES, [0.0] * 4)
        first, second, third, fourth = _emit_dot(context, builder, signature, args, zero, 4, add)
        four = builder.fadd(builder.fadd(first, second), builder.fadd(third, fourth))
        return _sum_lanes(builder, four, builder.fadd)

    return types.float64(x, types.int64, y, types.int64, types.int64), emit


@_instruction
def _rough_dot(typingctx: Any, x: Any, x_at: Any, y: Any, y_at: Any, count: Any) -> Any:
    """The same in float32, four times as fast: off by gamma(16 count) times the norms at the most."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def add(old: Any, ours: Any, theirs: Any) -> Any:
            a, b = (_load(builder, place, _EIGHT_FLOATS, 4) for place in (ours, theirs))
            return builder.fadd(old, builder.fmul(a, b, flags=["contract"]), flags=["contract"])

        first, second = _emit_dot(context, builder, signature, args, ir.Constant(_EIGHT_FLOATS, [0.0] * 8), 8, add)
        return _sum_lanes(builder, builder.fadd(first, second), builder.fadd)

    return types.float32(x, types.int64, y, types.int64, types.int64), emit


@_instruction
def _short_dot(typingctx: Any, x: Any, x_at: Any, y: Any, y_at: Any, count: Any) -> Any:
    """int32 dot product of 16 `count` int16; the caller sees to it that it fits."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def add(old: Any, ours: Any, theirs: Any) -> Any:
            a, b = (_load(builder, place, _SHORTS, 2) for place in (ours, theirs))
            return builder.add(old, _multiplied(builder, a, b))

        (total,) = _emit_dot(context, builder, signature, args, ir.Constant(_INTS, [0] * 8), 16, add)
        return _sum_lanes(builder, total, builder.add)

    return types.int32(x, types.int64, y, types.int64, types.int64), emit


@_compiled
def _cosine(flat, dim, norms, i, j):
    whole = dim // 16
    total = _exact_dot(flat, i * dim, flat, j * dim, whole)
    for k in range(16 * whole, dim):
        total += np.float64(flat[i * dim + k]) * np.float64(flat[j * dim + k])
    return min(1.0, max(-1.0, total / (norms[i] * norms[j])))


@_compiled
def norms_of(vectors, out):
    """Euclidean norms, float64, of float32 (n, dim) rows into `out`; not finite where a number isn't."""
    dim = vectors.shape[1]
    flat = vectors.reshape(-1)
    whole = dim // 16
    for i in range(len(vectors)):
        total = _exact_dot(flat, i * dim, flat, i * dim, whole)
        for k in range(16 * whole, dim):
            total += np.float64(vectors[i, k]) * np.float64(vectors[i, k])
        out[i] = np.sqrt(total)


@_compiled
def digests_of(bits, factors, out):
    """Two multilinear hashes, uint64 (n, 2), of rows of 32 bits a number, by `factors`, uint64 (2, dim + 1)."""
    for i in range(len(bits)):
        one, two = factors[0, -1], factors[1, -1]
        for k in range(bits.shape[1]):
            number = np.uint64(bits[i, k])
            one += number * factors[0, k]
            two += number * factors[1, k]
        out[i, 0], out[i, 1] = one, two


@_compiled
def unit_rows(vectors, rows, norms, out):
    """float32 (len(rows), dim): the rows divided by their norms in float64, then rounded."""
    for i in range(len(rows)):
        row = rows[i]
        norm = norms[row]
        for k in range(vectors.shape[1]):
            out[i, k] = np.float32(vectors[row, k] / norm)


@_compiled
def quantised_rows(vectors, rows, norms, scale, out):
    """int16 (len(rows), width): the unit rows times `scale`, rounded to nearest; zeros from column dim on."""
    dim = vectors.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        factor = scale / norms[row]
        for k in range(dim):
            out[i, k] = np.int16(np.rint(vectors[row, k] * factor))
        out[i, dim:] = 0


@_compiled
def quantised_heads(heads, scale, widths, errors, coordinates, rests):
    """Round float32 (m, d) heads to int16, and for every level the length of what a head leaves, rounded up.

    The squared length of the integers is exact, so nothing cancels (`domain.similarity.cascade.sieve` has the bound).
    """
    for i in range(len(heads)):
        for k in range(heads.shape[1]):
            coordinates[i, k] = np.int16(np.rint(np.float64(heads[i, k]) * scale))
        done = 0
        square = np.int64(0)
        for level in range(len(widths)):
            for k in range(done, widths[level]):
                square += np.int64(coordinates[i, k]) * np.int64(coordinates[i, k])
            done = widths[level]
            length = np.sqrt(np.float64(square)) / scale
            left = max(0.0, 1.0 - np.float64(square) / (scale * scale) + 2.0 * errors[level] * length + 1e-12)
            rests[i, level] = np.int16(np.ceil(scale * np.sqrt(left) + 1e-6))


@_compiled
def inverse_cholesky(gram, out):
    """L^-1 into `out`, of gram = L L^T float64 (w, w), which is overwritten; False where it isn't well positive.

    Plain loops of one thread: for a few hundred columns LAPACK's threads spend their time waiting for each other,
    seconds of it on a busy machine.
    """
    count = len(gram)
    out[:] = 0
    for j in range(count):
        if not gram[j, j] > 1e-12:
            return False
        pivot = 1.0 / np.sqrt(gram[j, j])
        out[j, j] = 1.0
        # Row j of L^-1 is finished by its pivot; what it takes from later rows is taken at once (right-looking).
        for k in range(j + 1):
            out[j, k] *= pivot
        for k in range(j, count):
            gram[j, k] *= pivot
        for i in range(j + 1, count):
            factor = gram[j, i]
            for k in range(i, count):
                gram[i, k] -= factor * gram[j, k]
            for k in range(j + 1):
                out[i, k] -= factor * out[j, k]
    return True


@_compiled
def pack(rows, rests, steps, out):
    """Lay rows of int16 pairs out in panels of 16: int32 (m, .) into `out`, int32 (panels, steps, 16).

    A step is two columns. With rests (int16 (m,), or none) the second column of the last step is the rest instead of
    a coordinate. Rows beyond m are zero.
    """
    out[len(rows) // PANEL :] = 0
    for i in range(len(rows)):
        panel, lane = i // PANEL, i % PANEL
        for k in range(min(steps, rows.shape[1])):
            out[panel, k, lane] = rows[i, k]
        for k in range(rows.shape[1], steps):
            out[panel, k, lane] = 0
        if len(rests):
            out[panel, steps - 1, lane] = (rows[i, steps - 1] & np.int32(0xFFFF)) | (np.int32(rests[i]) << 16)


@_compiled
def _grown(array, size):
    larger = np.empty(size, array.dtype)
    larger[: len(array)] = array
    return larger


@_compiled
def _settle(found, used, candidates, count, tests, exact, floors):
    """Bring candidates (p << 32 | q) through the later bounds and float64; append what is above both its floors."""
    levels, widths, heads, rests, scale_squared, margins = tests
    vectors, order, norms = exact
    out_p, out_q, out_score = found
    dim, stride = vectors.shape[1], heads.shape[1]
    flat, coordinates = vectors.reshape(-1), heads.reshape(-1)
    whole = dim // 16 if dim % 16 == 0 else 0
    rough_margin = 1.01 * dim * 2.0**-24 + 1e-12
    tried = dropped = 0
    for c in range(count):
        p, q = candidates[c] >> 32, candidates[c] & 0xFFFFFFFF
        floor = min(floors[p], floors[q])
        total = np.int64(0)
        done = 0
        passes = True
        for level in range(1, levels):
            part = (widths[level] - done) // 16
            total += _short_dot(coordinates, p * stride + done, coordinates, q * stride + done, part)
            done = widths[level]
            bound = total + np.int64(rests[p, level]) * np.int64(rests[q, level])
            if bound < scale_squared * (floor - margins[level]) - 1.0:
                passes = False
                break
        if not passes:
            continue
        i, j = order[p], order[q]
        size = norms[i] * norms[j]
        # A last bound in float32, while it keeps a quarter of the work from float64.
        if whole and 4 * dropped >= tried - 16 and _LEAST < size < _GREATEST:
            tried += 1
            if _rough_dot(flat, i * dim, flat, j * dim, whole) < (floor - rough_margin) * size:
                dropped += 1
                continue
        score = _cosine(flat, dim, norms, i, j)
        if score > floor:
            if used == len(out_p):
                out_p, out_q, out_score = _grown(out_p, 2 * used), _grown(out_q, 2 * used), _grown(out_score, 2 * used)
            out_p[used], out_q[used], out_score[used] = p, q, score
            used += 1
    return (out_p, out_q, out_score), used


@_compiled
def sieve_packed(
    left, left_cuts, left_from, left_count, right, right_cuts, right_from, right_count, tests, exact, floors
):
    """All pairs p < q of two ranges of rows whose cosine exceeds the lower of their floors; first bounds in int16.

    Each side is `pack`ed int32, flat; its cutoffs, int32 per packed row, of which a first bound must exceed the lower;
    and its range in the order that the caller has chosen. `tests` are levels, widths, heads, rests, scale^2 and
    margins of the later bounds; `exact` the float32 (n, dim) vectors, the row of each place in the caller's order and
    float64 norms by row; `floors`, float64 per place: a cosine must exceed the lower of the two.

    Returns:
        p, q int32 and cosine float64 of what was found.
    """
    steps = len(left) // (len(left_cuts))
    candidates = np.empty(PANEL * (left_count + 3), np.int64)
    found = (np.empty(256, np.int32), np.empty(256, np.int32), np.empty(256, np.float64))
    used = 0
    for j in range(0, right_count, PANEL):
        count = 0
        for i in range(0, left_count, 4):
            if left_from + i >= right_from + j + PANEL - 1:
                break
            at = (i // PANEL) * PANEL * steps + i % PANEL
            mask = _hits(left, at, right, j * steps, steps, left_cuts, i, right_cuts, j)
            while mask:
                bit = _lowest_bit(mask)
                mask &= mask - np.uint64(1)
                row, column = i + (bit >> 4), j + (bit & 15)
                p, q = left_from + row, right_from + column
                if row < left_count and column < right_count and p < q:
                    candidates[count] = p << 32 | q
                    count += 1
        found, used = _settle(found, used, candidates, count, tests, exact, floors)
    return found[0][:used].copy(), found[1][:used].copy(), found[2][:used].copy()


@_compiled
def sieve_candidates(candidates, tests, exact, floors):
    """`sieve_packed` on candidates, int64 p << 32 | q, whose first bounds have been compared already."""
    found = (np.empty(256, np.int32), np.empty(256, np.int32), np.empty(256, np.float64))
    found, used = _settle(found, 0, candidates, len(candidates), tests, exact, floors)
    return found[0][:used].copy(), found[1][:used].copy(), found[2][:used].copy()


@_compiled
def sieve_tile(tile, left_cuts, left_from, right_cuts, right_from, tests, exact, floors):
    """`sieve_packed` on a tile of first bounds that a library has multiplied.

    `tile` (left, right) and the cutoffs are the bits of float32 as int32. The order of positive
    floats is that of their bits, and negative ones are negative, so positive cutoffs compare as integers; where all
    may pass, the cutoff is the lowest integer.
    """
    rows, columns = tile.shape
    candidates = np.empty(columns, np.int64)
    found = (np.empty(256, np.int32), np.empty(256, np.int32), np.empty(256, np.float64))
    used = 0
    for i in range(rows):
        count = 0
        own = left_cuts[i]
        for start in range(0, columns, 64):
            stop = min(start + 64, columns)
            some = 0
            for j in range(start, stop):
                some |= tile[i, j] > min(own, right_cuts[j])
            if some:
                for j in range(start, stop):
                    if tile[i, j] > min(own, right_cuts[j]) and left_from + i < right_from + j:
                        candidates[count] = (left_from + i) << 32 | (right_from + j)
                        count += 1
        found, used = _settle(found, used, candidates, count, tests, exact, floors)
    return found[0][:used].copy(), found[1][:used].copy(), found[2][:used].copy()


@_compiled
def _insert(lists, place, member, score):
    """Put `member` into the sorted list of `place`, if it is among its best and not there yet.

    What comes after a list's limit is not known to be next, so it stays out though there may be room.
    """
    scores, members, floors, limits, limit_members = lists
    last = scores.shape[1] - 1
    if score < limits[place] or (score == limits[place] and member > limit_members[place]):
        return
    if score < scores[place, last] or (score == scores[place, last] and member > members[place, last]):
        return
    for i in range(last + 1):
        if members[place, i] == member:
            return
    i = last
    while i > 0 and (
        score > scores[place, i - 1] or (score == scores[place, i - 1] and member < members[place, i - 1])
    ):
        scores[place, i], members[place, i] = scores[place, i - 1], members[place, i - 1]
        i -= 1
    scores[place, i], members[place, i] = score, member
    # An equal score may still displace the last by its lower row, so the floor is just below it.
    floors[place] = np.nextafter(max(scores[place, last], limits[place]), -np.inf)


@_compiled
def insert_pairs(lists, order, p, q, cosines):
    """Offer pairs of places to both their lists (best first, ties by lower row), which hold rows, not places.

    `lists`, by place: scores float64 and members int64 (n, w), floors float64, and the last entry that may come in,
    limits float64 and limit_members int64.
    """
    for c in range(len(p)):
        _insert(lists, p[c], np.int64(order[q[c]]), cosines[c])
        _insert(lists, q[c], np.int64(order[p[c]]), cosines[c])


@_compiled
def likely_neighbours(coded, rows, positions, sequence, window, out):
    """The best int16 products of some rows with those near them in a sequence: a guess at their neighbours.

    Of `coded`, int16 (m, c) with c a multiple of 16, each of `rows` looks at those up to `window` before and after
    its place, `positions`, in `sequence`. Row numbers go to `out`, int64 (len(rows), keep), best first, then -1.
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
            total = _short_dot(flat, p * coded.shape[1], flat, q * coded.shape[1], coded.shape[1] // 16)
            if total > best[keep - 1]:
                at = keep - 1
                while at > 0 and total > best[at - 1]:
                    best[at], out[i, at] = best[at - 1], out[i, at - 1]
                    at -= 1
                best[at], out[i, at] = total, q


@_compiled
def cosines_of(exact, p, q, out):
    """Float64 cosines of pairs of places."""
    vectors, order, norms = exact
    flat = vectors.reshape(-1)
    for c in range(len(p)):
        out[c] = _cosine(flat, vectors.shape[1], norms, order[p[c]], order[q[c]])
