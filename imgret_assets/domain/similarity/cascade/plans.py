"""The plan of a cascade: how many coordinates each bound takes.

Belongs here: the plan, the cost model that chooses it, and the sample that the cost model needs. Not here: the bounds
(`domain.similarity.cascade.bounds`), the basis (`domain.similarity.cascade.basis`). Results never depend on the plan,
only the time does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imgret_assets.domain.similarity.cascade.bounds import COLUMN_MULTIPLE
from imgret_assets.errors import SettingError

# Rows of the sample for the basis and the plan.
SAMPLE_ROWS = 3072
# Rows of the sample that are compared with the whole sample.
_SAMPLE_LEFT_ROWS = 384
# Widths of the first bound: with the residual norm, multiples of `COLUMN_MULTIPLE`.
_FIRST_WIDTHS = (31, 47, 63, 95, 127, 191, 255, 383)
_LATER_WIDTHS = (64, 128, 192, 256, 384, 512)
# Nanoseconds on one core (AMD Milan): of a multiply-add and of a comparison in the first bound, by engine. Only their
# ratios matter.
FIRST_BOUND_NS = {
    "int16": (0.0175, 0.05),
    "float32": (0.027, 0.3),
    "cuda": (0.00002, 0.01),
}
# The same of a candidate and of a coordinate in the later bounds, of a coordinate in float64, and of one in a float32
# matrix product.
_CANDIDATE_NS, _LATER_NS, _EXACT_NS, _PRODUCT_NS = 25.0, 0.05, 0.2, 0.027


@dataclass(frozen=True)
class Plan:
    """How many coordinates each bound takes; a single bound with all of them where a projection gains nothing.

    Attributes:
        widths: number of coordinates of each bound, rising; (dim,) if the first takes all.
        plain: whether the first bound takes all coordinates; then there is no basis.
        shares: share of all pairs that is expected to pass each bound, from a sample; empty where none was taken.
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

    def check(self, dim: int) -> None:
        """Refuse widths that the kernels cannot take.

        Raises:
            SettingError: a width has the wrong multiple, or exceeds the dimension of the vectors.
        """
        if self.plain:
            return
        first, later = self.widths[0], self.widths[1:]
        is_rising = list(self.widths) == sorted({*self.widths})
        if (first + 1) % COLUMN_MULTIPLE or any(width % 16 for width in later) or not is_rising:
            raise SettingError(
                f"A plan of {self.widths} coordinates",
                expected="rising widths, the first one less than a multiple of 4, the others multiples of 16",
            )
        if self.widths[-1] > dim:
            raise SettingError(f"A plan of {self.widths} coordinates for vectors of {dim}", expected=f"at most {dim}")


@dataclass(frozen=True)
class Workload:
    """What the cost of a search depends on.

    Attributes:
        pairs: number of pairs to decide.
        rows: number of vectors.
        dim: number of coordinates of a vector.
        engine: what multiplies the first bounds.
    """

    pairs: int
    rows: int
    dim: int
    engine: str


def is_affordable(work: Workload, max_width: int) -> bool:
    """Return whether a basis of `max_width` directions costs less than a third of the product of all pairs."""
    sampled = min(work.rows, SAMPLE_ROWS)
    basis_ns = _PRODUCT_NS * work.dim * (work.dim * (sampled + 4 * max_width) + 16 * max_width**2)
    return max_width >= _LATER_WIDTHS[0] and 3 * basis_ns < _plain_ns(work, 0.0)


def choose_plan(work: Workload, shares: dict[int, float]) -> Plan:
    """Return the plan that should take least time.

    Args:
        work: the workload.
        shares: share of all pairs that passes a bound, by its width; for all coordinates, the share above the
            threshold.
    """
    widths = sorted(shares)[:-1]
    chains = [(width,) for width in widths if width in _FIRST_WIDTHS]
    for length in (1, 2):
        longer = [(*c, width) for c in chains if len(c) == length for width in widths if width in _LATER_WIDTHS]
        chains += [chain for chain in longer if chain[-1] > 1.4 * chain[-2]]
    best = min(chains, key=lambda chain: _cascade_ns(work, shares, chain))
    if _plain_ns(work, shares[work.dim]) < _cascade_ns(work, shares, best):
        return Plan((work.dim,), plain=True)
    return Plan(best, plain=False, shares=tuple(shares[width] for width in best))


def _plain_ns(work: Workload, share: float) -> float:
    multiply, compare = FIRST_BOUND_NS[work.engine]
    return work.pairs * (work.dim * multiply + compare + share * (_CANDIDATE_NS + _EXACT_NS * work.dim))


def _cascade_ns(work: Workload, shares: dict[int, float], chain: Sequence[int]) -> float:
    multiply, compare = FIRST_BOUND_NS[work.engine]
    pair_ns = (chain[0] + 1) * multiply + compare
    # The second bound starts from the first coordinate, each further one where the previous one has stopped.
    for number in range(1, len(chain)):
        coordinates = chain[number] - (chain[number - 1] if number > 1 else 0)
        pair_ns += shares[chain[number - 1]] * (_CANDIDATE_NS + _LATER_NS * coordinates)
    pair_ns += shares[chain[-1]] * (_CANDIDATE_NS + _EXACT_NS * work.dim)
    return work.pairs * pair_ns + work.rows * work.dim * (chain[-1] * _PRODUCT_NS + 1.0)


def sample_order(sampled: int) -> tuple[np.ndarray, int]:
    """Return an order of a sample in which an evenly spread part comes first, and the number of rows of that part."""
    left = np.arange(0, sampled, max(1, sampled // _SAMPLE_LEFT_ROWS))
    return np.concatenate([left, np.delete(np.arange(sampled), left)]), len(left)


def shares_passing(
    unit: np.ndarray, left_count: int, basis: np.ndarray, thresholds: np.ndarray | float
) -> dict[int, float]:
    """Return the share of a sample's pairs that passes a bound, by its number of coordinates.

    Args:
        unit: float32 (m, dim), the sample's unit rows; the first `left_count` are compared with all.
        left_count: number of rows on the left side.
        basis: float32 (dim, d).
        thresholds: float (left_count, m), or one threshold for all pairs.

    Returns:
        A share for each possible width up to d; for all coordinates the share above the threshold.
    """
    projected = unit @ basis
    products = np.zeros((left_count, len(unit)), np.float32)
    done, shares = 0, {}

    def share(bounds: np.ndarray) -> float:
        passing = bounds >= thresholds
        # A row always passes with itself, which is not a pair.
        passing[np.arange(left_count), np.arange(left_count)] = False
        return float(passing.mean())

    for width in sorted(width for width in {*_FIRST_WIDTHS, *_LATER_WIDTHS} if width <= basis.shape[1]):
        products += projected[:left_count, done:width] @ projected[:, done:width].T
        done = width
        squares = np.einsum("ij,ij->i", projected[:, :width], projected[:, :width])
        residual = np.sqrt(np.maximum(0, 1 - squares))
        shares[width] = share(products + np.outer(residual[:left_count], residual))
    return shares | {unit.shape[1]: share(unit[:left_count] @ unit.T)}
