"""The heads of a set of vectors on disk, so that a small change rotates only the vectors that are new.

Belongs here: the file, and which of its rows are those of the present vectors. Not here: what heads are and why bounds
from them lose no pair (`domain.similarity.cascade.bounds`), computing them (`domain.similarity.cascade.sieve`).

A head depends on its own vector and on the basis alone, and every basis gives valid bounds: one that was found in a
sample of earlier vectors only prunes a little less. So heads are kept with their basis, and the bounds' errors are
worked out from the basis that was read. Whether a vector is still the same is decided by its numbers, not by a name: by
two multilinear hashes of 64 bits (Lemire and Kaser, Strongly universal string hashing is fast, The Computer Journal
57(11), 2014), which agree for two different vectors with a probability of at most 2^-64.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgret_assets.domain.similarity.cascade.bounds import SCALE, Plan
from imgret_assets.domain.storage import atomic_files

# Heads of another layout are not read.
_LAYOUT = 1


@dataclass(frozen=True)
class Heads:
    """What a file holds.

    Attributes:
        plan: the bounds that were found cheapest.
        basis: float32 (dim, w), w the last width of the plan.
        digests: uint64 (n, 2), of the vectors.
        coordinates: int16 (n, a multiple of 16, at least w).
        rests: int16 (n, number of bounds).
    """

    plan: Plan
    basis: np.ndarray
    digests: np.ndarray
    coordinates: np.ndarray
    rests: np.ndarray

    def rows_of(self, digests: np.ndarray) -> np.ndarray:
        """For each vector, uint64 (m, 2), a row here that is of the same vector; -1 where there is none."""
        if not len(self.digests):
            return np.full(len(digests), -1)
        order = np.argsort(self.digests[:, 0])
        at = np.searchsorted(self.digests[order, 0], digests[:, 0])
        rows = order[np.minimum(at, len(order) - 1)]
        return np.where((self.digests[rows] == digests).all(axis=1), rows, -1)


def digest_factors(dim: int) -> np.ndarray:
    """Factors of the two hashes, uint64 (2, dim + 1): the same in every process."""
    return np.random.default_rng(20140801).integers(0, 2**64, (2, dim + 1), dtype=np.uint64)


def read_heads(path: Path, dim: int) -> Heads | None:
    """What a file holds; None where there is none, where it is damaged, or where it is of vectors of another length."""
    try:
        with np.load(path) as held:
            if held["layout"].tolist() != [_LAYOUT, SCALE] or len(held["basis"]) != dim:
                return None
            plan = Plan(tuple(held["widths"].tolist()), plain=False, shares=tuple(held["shares"].tolist()))
            found = Heads(plan, *(held[name] for name in ("basis", "digests", "coordinates", "rests")))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    shapes = (found.basis.shape[1], found.coordinates.shape, found.rests.shape, found.digests.shape)
    width, count = plan.widths[-1], len(found.digests)
    return found if shapes == (width, (count, -(-width // 16) * 16), (count, len(plan.widths)), (count, 2)) else None


def write_heads(path: Path, heads: Heads) -> None:
    """Keep them.

    Raises:
        DiskFullError: there is no room; the earlier file is intact.
    """
    with atomic_files.replacing(path) as temporary, temporary.open("wb") as opened:
        np.savez(
            opened,
            layout=np.array([_LAYOUT, SCALE]),
            widths=np.array(heads.plan.widths),
            shares=np.array(heads.plan.shares),
            basis=heads.basis,
            digests=heads.digests,
            coordinates=heads.coordinates,
            rests=heads.rests,
        )
