"""The compiled loops that prepare vectors for the cascade: hashes, unit rows, integers, the inverse of a triangle.

Belongs here: numba kernels that run once for each vector. Not here: kernels that run for pairs, and everything with
vector instructions of its own (`domain.similarity.cascade.kernels`). Importing this module loads numba, so it is
imported only when there is work. Every kernel releases the GIL and uses one thread.
"""

import numpy as np

from imgret_assets.domain.numerics.numba_compiler import compiled
from imgret_assets.domain.similarity.cascade.bounds import PANEL_ROWS


@compiled
def hash_rows(bits, factors, out):
    """Write two multilinear hashes of each row into `out`.

    `bits`: uint32 (n, dim), the numbers of the rows; `factors`: uint64 (2, dim + 1); `out`: uint64 (n, 2).
    """
    for i in range(len(bits)):
        first, second = factors[0, -1], factors[1, -1]
        for k in range(bits.shape[1]):
            number = np.uint64(bits[i, k])
            first += number * factors[0, k]
            second += number * factors[1, k]
        out[i, 0], out[i, 1] = first, second


@compiled
def unit_rows(vectors, rows, norms, out):
    """Write some rows, divided by their float64 norms and then rounded, into `out`, float32 (len(rows), dim)."""
    for i in range(len(rows)):
        row = rows[i]
        norm = norms[row]
        for k in range(vectors.shape[1]):
            out[i, k] = np.float32(vectors[row, k] / norm)


@compiled
def quantise_rows(vectors, rows, norms, scale, out):
    """Write some unit rows times `scale`, rounded to nearest, into `out`, int16 (len(rows), width); 0 from dim on."""
    dim = vectors.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        factor = scale / norms[row]
        for k in range(dim):
            out[i, k] = np.int16(np.rint(vectors[row, k] * factor))
        out[i, dim:] = 0


@compiled
def quantise_projections(projected, scale, widths, errors, coordinates, residual_norms):
    """Round projections to integers, and compute for each width the length that the projection leaves, rounded up.

    The squared length of the integers is exact, so nothing cancels (`domain.similarity.cascade.bounds` has the proof).

    `projected`: float32 (m, d); `widths`, `errors`: the number of coordinates of each bound, and e of the proof;
    `coordinates`: int16 (m, >= d); `residual_norms`: int16 (m, number of bounds).
    """
    for i in range(len(projected)):
        for k in range(projected.shape[1]):
            coordinates[i, k] = np.int16(np.rint(np.float64(projected[i, k]) * scale))
        done = 0
        square = np.int64(0)
        for level in range(len(widths)):
            for k in range(done, widths[level]):
                square += np.int64(coordinates[i, k]) * np.int64(coordinates[i, k])
            done = widths[level]
            length = np.sqrt(np.float64(square)) / scale
            residual = max(0.0, 1.0 - np.float64(square) / (scale * scale) + 2.0 * errors[level] * length + 1e-12)
            residual_norms[i, level] = np.int16(np.ceil(scale * np.sqrt(residual) + 1e-6))


@compiled
def inverse_cholesky(gram, out):
    """Write L^-1 of gram = L L^T into `out`; return False where `gram` is not positive definite enough.

    `gram`: float64 (w, w), overwritten; `out`: float64 (w, w). Plain loops of one thread: for a few hundred columns
    LAPACK's threads spend their time waiting for each other, seconds of it on a busy machine.
    """
    count = len(gram)
    out[:] = 0
    for j in range(count):
        if not gram[j, j] > 1e-12:
            return False
        pivot = 1.0 / np.sqrt(gram[j, j])
        out[j, j] = 1.0
        # The pivot finishes row j of L^-1; it is subtracted from later rows at once (right-looking).
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


@compiled
def pack_rows(rows, residual_norms, steps, out):
    """Lay rows of int16 pairs out in panels of 16 rows; rows beyond the last one are zero.

    A step is two columns of 16 rows: `out` is int32 (panels, steps, 16), each number two int16. `rows`: int32 (m, .),
    the same pairs row by row; `residual_norms`: int16 (m,), or empty. With them the second column of the last step
    holds the residual norm instead of a coordinate.
    """
    out[len(rows) // PANEL_ROWS :] = 0
    for i in range(len(rows)):
        panel, lane = i // PANEL_ROWS, i % PANEL_ROWS
        for k in range(min(steps, rows.shape[1])):
            out[panel, k, lane] = rows[i, k]
        for k in range(rows.shape[1], steps):
            out[panel, k, lane] = 0
        if len(residual_norms):
            residual = np.int32(residual_norms[i]) << 16
            out[panel, steps - 1, lane] = (rows[i, steps - 1] & np.int32(0xFFFF)) | residual
