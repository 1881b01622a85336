"""Bounds on cosines that may only discard, the proof that they never discard too much, and the choice among them.

Belongs here: what is computed once of a set of vectors: the basis, how many coordinates decide first, how wrong the
integers can be. Not here: going through the pairs (`domain.similarity.cascade.sieve`), compiled loops
(`domain.similarity.cascade.kernels`).

The idea. Let W have orthonormal columns, c = W^T x for a unit vector x. What W leaves of x has length
sqrt(1 - |c|^2), so by Cauchy and Schwarz

    cos(x, y) <= c_x . c_y + sqrt(1 - |c_x|^2) sqrt(1 - |c_y|^2).

With the leading eigenvectors of X^T X as W, 127 of 1,280 coordinates of a photo embedding already rule out 99 pairs
of 100 at 0.8. The bound of those goes on to more coordinates, and what is still left to float64 on the stored vectors,
which alone decides: a pair is in when its float64 cosine is greater than the threshold. Where no bound prunes, all
coordinates are taken at once, W the identity: a product in int16, with the same two lines of proof.

The proof. Everything before float64 is computed on integers. u = 2^-24, gamma(m) = m u / (1 - m u), d the number of
coordinates, s the scale of the integers.
- Basis. Q is what was computed of the basis, eta = |Q^T Q - I|_F, taken in float64. With the polar decomposition
  Q = W H, |H - I|_2 <= eta, so |Q^T x - c| <= eta.
- Heads. A float32 sum of m products in any order is off by at most gamma(m) sum |x_i q_i| <= gamma(m) |x| |q|
  (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1). Summing in chunks of 256
  columns makes m = 256 + the number of chunks instead of the whole dimension (section 4.2). Rounding x to float32
  adds u. Over d coordinates: delta = (1 + eta) (u + sqrt(d) gamma(m) (1 + u)).
- Integers. a = q / s, q the nearest integers: off by at most sqrt(d) / (2 s).
Together |a - c| <= e = eta + delta + sqrt(d) / (2 s), hence c_x . c_y <= a_x . a_y + 2 e + e^2, and
1 - |c|^2 <= 1 - |a|^2 + 2 e |a| =: r^2, where |a|^2 s^2 is a sum of integers, exact. The rest goes into one more
integer, ceil(s r), so that the bound is one product of d + 1 integers, exact again: int32 holds it, since both vectors
have length s (1 + e) and a bit at most. A pair is discarded only if

    q_x . q_y + ceil(s r_x) ceil(s r_y) < s^2 (threshold - 2 e - e^2 - t),

t = (dim + 16) 2^-52 for the rounding of the float64 cosine itself. (r from 1 - |c|^2 in float32 cancels where the
rest is tiny, and lost pairs in an earlier sketch; the integers don't.) For 1,280 numbers, d = 127: e = 2.8e-4.
Identity: only the integers' error counts, e = 5.6e-4, and there is no rest.

Where a library multiplies the first bounds instead (a CPU without AVX2, or a GPU), the same integers are its input,
and the relative error of its product is added, times the squared length of the rows (N <= 1.01): on a CPU, in float32,
gamma(d + 1). A GPU takes bfloat16, with v = 2^-9 for each input and the output, and sums in float32, cut off, not
rounded, and aligned a few at a time (Fasi, Higham, Mikaitis and Pranesh, Numerical behavior of NVIDIA tensor cores,
PeerJ Computer Science 7, 2021): four times gamma(d + 1) is allowed
them, so (1 + v)^3 (1 + 4 gamma(d + 1)) - 1 = 0.0059.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from imgret_assets.errors import SettingError

# s: leaves room above s for a rest that its margin makes longer than 1.
SCALE = 32000
# Of float32 sums, and of rounding to bfloat16.
_UNIT_ROUNDOFF, _BFLOAT16_ROUNDOFF = 2.0**-24, 2.0**-9
_CHUNK = 256  # Columns of one float32 partial sum of a head.
SAMPLE_ROWS = 3072
_SAMPLE_LEFT = 384  # Those of a sample that are compared with all of it.
_FIRST = (31, 47, 63, 95, 127, 191, 255, 383)  # With the rest, a multiple of 4 columns.
_LATER = (64, 128, 192, 256, 384, 512)
# Nanoseconds on one core (AMD Milan): of a multiply-add and of a comparison in the first stage, by engine; of a
# candidate and of a coordinate in the later ones; of a coordinate in float64 and in float32 matrix products. Only
# their ratios matter, and only for speed.
_FIRST_NS = {
    "int16": (0.0175, 0.05),
    "float32": (0.027, 0.3),
    "cuda": (0.00002, 0.01),
}
_CANDIDATE_NS, _LATER_NS, _EXACT_NS, _PRODUCT_NS = 25.0, 0.05, 0.2, 0.027
ENGINES = tuple(_FIRST_NS)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Plan:
    """How many coordinates each bound takes; one bound of all of them where nothing is to be gained.

    Attributes:
        widths: coordinates of each bound, rising; (dim,) if the first takes them all.
        plain: whether that is so, and there is no basis.
        shares: part of all pairs expected to pass each bound, from a sample; empty where none was taken.
    """

    widths: tuple[int, ...]
    plain: bool
    shares: tuple[float, ...] = ()

    def __str__(self) -> str:
        """The plan in a line."""
        if self.plain:
            return f"product of all {self.widths[0]} numbers"
        steps = zip(self.widths, self.shares, strict=True)
        return "bounds of " + ", ".join(f"{width} ({share:.2%} expected to pass)" for width, share in steps)


@dataclass(frozen=True)
class Work:
    """What there is to decide, as far as its price depends on it."""

    pairs: int
    rows: int
    dim: int
    engine: str


def in_parallel(task: Callable[[T], R], items: Iterable[T], threads: int) -> list[R]:
    """`task` of every item on so many threads, results in order."""
    items = list(items)
    if threads == 1 or len(items) < 2:
        return [task(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(task, items))


def slices(start: int, stop: int, size: int) -> list[slice]:
    """The range cut into pieces of `size`, the last one shorter."""
    return [slice(at, min(at + size, stop)) for at in range(start, stop, size)]


def parts(count: int, threads: int) -> list[slice]:
    """range(count) cut into a piece for every thread."""
    return slices(0, count, max(256, -(-count // threads)))


def one_blas_thread() -> AbstractContextManager[object]:
    """BLAS on one thread: ours are one a piece of work already.

    Threads of BLAS that wait for each other spin; on a busy machine a product of a few hundred columns then takes
    a hundred times its time.
    """
    return threadpool_limits(1, user_api="blas")


def affordable(work: Work, most: int) -> bool:
    """Whether a basis of `most` directions costs less than a third of the product of all pairs."""
    sampled = min(work.rows, SAMPLE_ROWS)
    basis_ns = _PRODUCT_NS * work.dim * (work.dim * (sampled + 4 * most) + 16 * most**2)
    return most >= _LATER[0] and 3 * basis_ns < _plain_ns(work, 0.0)


def cheapest(work: Work, shares: dict[int, float]) -> Plan:
    """The plan that should take least time, given the part of all pairs that each width lets pass."""
    widths = sorted(shares)[:-1]
    chains = [(width,) for width in widths if width in _FIRST]
    for length in (1, 2):
        longer = [(*c, width) for c in chains if len(c) == length for width in widths if width in _LATER]
        chains += [chain for chain in longer if chain[-1] > 1.4 * chain[-2]]
    best = min(chains, key=lambda chain: _cascade_ns(work, shares, chain))
    if _plain_ns(work, shares[work.dim]) < _cascade_ns(work, shares, best):
        return Plan((work.dim,), plain=True)
    return Plan(best, plain=False, shares=tuple(shares[width] for width in best))


def _plain_ns(work: Work, share: float) -> float:
    multiply, compare = _FIRST_NS[work.engine]
    return work.pairs * (work.dim * multiply + compare + share * (_CANDIDATE_NS + _EXACT_NS * work.dim))


def _cascade_ns(work: Work, shares: dict[int, float], chain: Sequence[int]) -> float:
    multiply, compare = _FIRST_NS[work.engine]
    pair_ns = (chain[0] + 1) * multiply + compare
    # The second bound starts anew, each further one goes on where the one before has stopped.
    for number in range(1, len(chain)):
        fresh = chain[number] - (chain[number - 1] if number > 1 else 0)
        pair_ns += shares[chain[number - 1]] * (_CANDIDATE_NS + _LATER_NS * fresh)
    pair_ns += shares[chain[-1]] * (_CANDIDATE_NS + _EXACT_NS * work.dim)
    return work.pairs * pair_ns + work.rows * work.dim * (chain[-1] * _PRODUCT_NS + 1.0)


def sample_order(sampled: int) -> tuple[np.ndarray, int]:
    """Places of a sample so that those compared with all come first, spread like the sample; how many they are."""
    left = np.arange(0, sampled, max(1, sampled // _SAMPLE_LEFT))
    return np.concatenate([left, np.delete(np.arange(sampled), left)]), len(left)


def shares_passing(unit: np.ndarray, left: int, basis: np.ndarray, wanted: np.ndarray | float) -> dict[int, float]:
    """Part of the pairs of the sample's first `left` rows with all that pass a bound, by its number of coordinates.

    That of all coordinates are those that are wanted.
    """
    heads = unit @ basis
    total = np.zeros((left, len(unit)), np.float32)
    done, shares = 0, {}
    for width in sorted(width for width in {*_FIRST, *_LATER} if width <= basis.shape[1]):
        total += heads[:left, done:width] @ heads[:, done:width].T
        done = width
        rest = np.sqrt(np.maximum(0, 1 - np.einsum("ij,ij->i", heads[:, :width], heads[:, :width])))
        passing = total + np.outer(rest[:left], rest) >= wanted
        # A row always passes with itself, and is no pair.
        passing[np.arange(left), np.arange(left)] = False
        shares[width] = float(passing.mean())
    passing = unit[:left] @ unit.T >= wanted
    passing[np.arange(left), np.arange(left)] = False
    return shares | {unit.shape[1]: float(passing.mean())}


def check_plan(plan: Plan, dim: int) -> None:
    """Refuse widths the kernels can't take.

    Raises:
        SettingError: a width has the wrong multiple, or there are more coordinates than the vectors have.
    """
    first, later = plan.widths[0], plan.widths[1:]
    if plan.plain:
        return
    if (first + 1) % 4 or any(width % 16 for width in later) or list(plan.widths) != sorted({*plan.widths}):
        raise SettingError(
            f"A plan of {plan.widths} coordinates",
            expected="rising widths, the first one less than a multiple of 4, the others multiples of 16",
        )
    if plan.widths[-1] > dim:
        raise SettingError(f"A plan of {plan.widths} coordinates for vectors of {dim}", expected=f"at most {dim}")


def head_errors(basis: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The bound e of the module's docstring for each of `widths` leading columns of a float32 (dim, d) basis."""
    gram = basis.T.astype(np.float64) @ basis.astype(np.float64)
    eta = float(np.linalg.norm(gram - np.eye(len(gram)))) + 1e-12
    sums = min(_CHUNK, len(basis)) + -(-len(basis) // _CHUNK)
    gamma = sums * _UNIT_ROUNDOFF / (1 - sums * _UNIT_ROUNDOFF)
    delta = (1 + eta) * (_UNIT_ROUNDOFF + np.sqrt(widths) * gamma * (1 + _UNIT_ROUNDOFF))
    return eta + delta + np.sqrt(widths) / (2 * SCALE)


def identity_errors(dim: int) -> np.ndarray:
    """The bound e of all `dim` coordinates, W the identity; float64 (1,)."""
    return np.array([np.sqrt(dim) / (2 * SCALE) + 1e-12])


def margins(errors: np.ndarray, dim: int) -> np.ndarray:
    """What is taken off a threshold before a bound is compared with it: 2 e + e^2 + t."""
    return 2 * errors + errors**2 + (dim + 16) * 2.0**-52


def library_error(engine: str, columns: int, error: float) -> float:
    """Error of a library's product of integers that are off by e at the most; the int16 product is exact."""
    gamma = columns * _UNIT_ROUNDOFF / (1 - columns * _UNIT_ROUNDOFF)
    relative = {
        "int16": 0.0,
        "float32": gamma,
        "cuda": (1 + _BFLOAT16_ROUNDOFF) ** 3 * (1 + 4 * gamma) - 1,
    }[engine]
    # N: the head's square and the rest's, which is 1 + 2 e |a| together, and the rounding of the rest upwards.
    return relative * (1 + 2 * error * (1 + error) + 3 / SCALE)


def leading_directions(unit: np.ndarray, width: int, threads: int) -> np.ndarray:
    """Orthonormal float32 (dim, width): about the leading eigenvectors of X^T X, by falling energy.

    Orthogonal iteration (Golub and Van Loan, Matrix Computations, 4th ed., section 7.3.2) from a fixed seed: the span
    of the first j columns goes to that of the j leading eigenvectors, for all j at once. How far it has come decides
    about speed only; four turns keep 99.6 percent of the energy that eigenvectors would.
    """
    gram = _product(np.ascontiguousarray(unit.T), unit, threads)
    found = np.random.default_rng(0).standard_normal((len(gram), width), dtype=np.float32)
    for _ in range(4):
        found = _orthonormal(_product(gram, found, threads), threads)
    return found


def _orthonormal(columns: np.ndarray, threads: int) -> np.ndarray:
    """Orthonormal float32 columns of the same spans, by Cholesky QR, twice (Yamamoto et al., ETNA 44, 2015).

    Dependent columns, where the sample has fewer directions, are first moved apart by a ten-thousandth: any direction
    will do for what has no energy. Matrix products are all this needs of BLAS; LAPACK's small steps, each shared
    out among threads, took minutes beside other work.
    """
    from imgret_assets.domain.similarity.cascade import kernels

    exact = columns.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=0) + 1e-300
    inverse = np.empty((exact.shape[1], exact.shape[1]))
    for _ in range(2):
        if not kernels.inverse_cholesky(_product(np.ascontiguousarray(exact.T), exact, threads), inverse):
            exact += np.random.default_rng(1).standard_normal(exact.shape) * (1e-4 / np.sqrt(len(exact)))
            if not kernels.inverse_cholesky(_product(np.ascontiguousarray(exact.T), exact, threads), inverse):
                return np.linalg.qr(columns)[0].astype(np.float32)
        exact = _product(exact, inverse.T, threads)
    return exact.astype(np.float32)


def _product(a: np.ndarray, b: np.ndarray, threads: int) -> np.ndarray:
    out = np.empty((len(a), b.shape[1]), a.dtype)
    in_parallel(lambda part: np.matmul(a[part], b, out=out[part]), parts(len(a), threads), threads)
    return out


def chunked_product(unit: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Product of unit rows and a basis in float32, summed over chunks of columns: see the bound of heads."""
    total = unit[:, :_CHUNK] @ basis[:_CHUNK]
    for columns in slices(_CHUNK, len(basis), _CHUNK):
        total += unit[:, columns] @ basis[columns]
    return total
