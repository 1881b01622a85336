"""Upper bounds on scores, and the proof that no pair above its threshold is discarded.

Belongs here: the proof, the margins that follow from it, and the cutoffs that bounds are compared with. Not here: an
introduction to the bounds (`domain.similarity.cascade`), which bounds are taken (`domain.similarity.cascade.plans`),
going through the pairs (`domain.similarity.cascade.sieve`).

Let W have orthonormal columns, and let c = W^T x be the projection of a unit vector x. The residual, what W leaves of
x, has length sqrt(1 - |c|^2), so by Cauchy and Schwarz

    cos(x, y) <= c_x . c_y + sqrt(1 - |c_x|^2) sqrt(1 - |c_y|^2).

Everything before the exact score is computed on integers. Let u = 2^-24, gamma(m) = m u / (1 - m u), d the number of
coordinates, s the scale of the integers (`SCALE`).

- Basis. Q is the computed basis, eta = |Q^T Q - I|_F, computed in float64. With the polar decomposition Q = W H,
  |H - I|_2 <= eta, so |Q^T x - c| <= eta.
- Projection. A float32 sum of m products in any order is off by at most gamma(m) sum |x_i q_i| <= gamma(m) |x| |q|
  (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1). Summing in chunks of 256 columns makes
  m = 256 + the number of chunks instead of the whole dimension (section 4.2). Rounding x to float32 adds u. Over d
  coordinates: delta = (1 + eta) (u + sqrt(d) gamma(m) (1 + u)).
- Integers. a = q / s, q the nearest integers: off by at most sqrt(d) / (2 s).

Together |a - c| <= e = eta + delta + sqrt(d) / (2 s), hence c_x . c_y <= a_x . a_y + 2 e + e^2, and
1 - |c|^2 <= 1 - |a|^2 + 2 e |a| =: r^2, where |a|^2 s^2 is a sum of integers, which is exact. The residual norm becomes
one more integer, ceil(s r), so that the bound is one product of d + 1 integers, exact again: int32 holds it, because
both vectors are hardly longer than s (1 + e). A pair is discarded only if

    q_x . q_y + ceil(s r_x) ceil(s r_y) < s^2 (threshold - 2 e - e^2 - t),

where t = (dim + 16) 2^-52 bounds the rounding of the exact score. (r from 1 - |c|^2 in float32 cancels where the
residual is tiny, and lost pairs in an earlier sketch. The integers do not.) For 1,280 numbers and d = 127, e = 2.8e-4.
With all coordinates, W the identity, only the error of the integers counts, e = 5.6e-4, and there is no residual.

Where a library multiplies the first bounds (a CPU without AVX2, or a GPU), its input is the same integers, and the
relative error of its product is added, times the squared length of the rows (N <= 1.01). On a CPU, in float32, it is
gamma(d + 1). A GPU takes float16, with v = 2^-11 for each input and the output, and sums in float32, cut off, not
rounded, and aligned a few at a time (Fasi, Higham, Mikaitis and Pranesh, Numerical behavior of NVIDIA tensor cores,
PeerJ Computer Science 7, 2021). Four times gamma(d + 1) is allowed for the sums:
(1 + v)^3 (1 + 4 gamma(d + 1)) - 1 = 0.0015 for d = 127. Inputs are integers times 2^-15, so the smallest have no error
at all; a product below 2^-14 is off by up to 2^-25, for which 2^-24 s^2 is added.
"""

import numpy as np

# s: below the largest int16, because a margin may make a residual norm longer than 1.
SCALE = 32000
# Columns of one float32 partial sum of a projection.
CHUNK_COLUMNS = 256
# Rows of a packed panel, and the multiple of columns that a packed row has: the register block of the kernels.
PANEL_ROWS = 16
COLUMN_MULTIPLE = 4
# Of float32, and of float16, whose smallest numbers are off by half of 2^-24.
_UNIT_ROUNDOFF, _FLOAT16_ROUNDOFF, _FLOAT16_UNDERFLOW = 2.0**-24, 2.0**-11, 2.0**-24


def projection_errors(basis: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return the bound e of the proof for each of `widths` leading columns of a basis float32 (dim, d)."""
    gram = basis.T.astype(np.float64) @ basis.astype(np.float64)
    eta = float(np.linalg.norm(gram - np.eye(len(gram)))) + 1e-12
    sums = min(CHUNK_COLUMNS, len(basis)) + -(-len(basis) // CHUNK_COLUMNS)
    gamma = sums * _UNIT_ROUNDOFF / (1 - sums * _UNIT_ROUNDOFF)
    delta = (1 + eta) * (_UNIT_ROUNDOFF + np.sqrt(widths) * gamma * (1 + _UNIT_ROUNDOFF))
    return eta + delta + np.sqrt(widths) / (2 * SCALE)


def identity_errors(dim: int) -> np.ndarray:
    """Return the bound e of the proof for all `dim` coordinates, W the identity; float64 (1,)."""
    return np.array([np.sqrt(dim) / (2 * SCALE) + 1e-12])


def margins(errors: np.ndarray, dim: int) -> np.ndarray:
    """Return what is subtracted from a threshold before a bound is compared with it: 2 e + e^2 + t."""
    return 2 * errors + errors**2 + (dim + 16) * 2.0**-52


def product_error(engine: str, columns: int, error: float) -> float:
    """Return a bound on the error of an engine's first bound, in units of s^2; int16 products are exact.

    Args:
        engine: "int16", "float32" or "cuda".
        columns: number of integers of a row, the residual norm included.
        error: e of the proof.
    """
    gamma = columns * _UNIT_ROUNDOFF / (1 - columns * _UNIT_ROUNDOFF)
    relative_error = {
        "int16": 0.0,
        "float32": gamma,
        "cuda": (1 + _FLOAT16_ROUNDOFF) ** 3 * (1 + 4 * gamma) - 1 + _FLOAT16_UNDERFLOW,
    }[engine]
    # N: projection and residual together have the squared length 1 + 2 e |a|; the residual norm is rounded up.
    return relative_error * (1 + 2 * error * (1 + error) + 3 / SCALE)


def integer_cutoffs(cutoffs: np.ndarray, count: int) -> np.ndarray:
    """Return int32 (count,) below every integer that reaches its cutoff; the highest int32 after the last cutoff."""
    out = np.full(count, np.iinfo(np.int32).max, np.int32)
    out[: len(cutoffs)] = np.clip(np.floor(cutoffs) - 1, -(2.0**31), 2.0**31 - 1)
    return out


def float32_bit_cutoffs(cutoffs: np.ndarray) -> np.ndarray:
    """Return int32 below the bits of every float32 that reaches its cutoff; the lowest for a cutoff up to 0."""
    below = np.nextafter(cutoffs.astype(np.float32), np.float32(-np.inf))
    return np.where(below > 0, below.view(np.int32) - 1, np.iinfo(np.int32).min).astype(np.int32)
