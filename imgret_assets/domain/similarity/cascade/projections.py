"""The projections of a set of vectors, and a file that keeps them.

Belongs here: computing projections, the file, and which of its rows are those of the present vectors. With the file, a
small change has to project only the vectors that are new. Not here: why bounds from projections lose no pair
(`domain.similarity.cascade.bounds`), the basis (`domain.similarity.cascade.basis`).

A projection depends only on its own vector and on the basis, and every basis gives valid bounds: one from a sample of
earlier vectors only prunes a little less. So projections are kept with their basis, and the errors of the bounds are
computed from the basis that is read. Whether a vector is still the same is decided by its numbers, not by a name: by
two multilinear hashes of 64 bits (Lemire and Kaser, Strongly universal string hashing is fast, The Computer Journal
57(11), 2014), which agree for two different vectors with a probability of at most 2^-64.
"""

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgret_assets.domain.similarity.cascade.bounds import CHUNK_COLUMNS, SCALE
from imgret_assets.domain.similarity.cascade.parallel import slices
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.domain.storage import atomic_files

# Files of another layout are not read.
_LAYOUT = 2
_SUFFIX, _EARLIER_SUFFIX = ".projections.npz", ".heads.npz"


@dataclass(frozen=True)
class Projections:
    """Projections as they are kept.

    Attributes:
        plan: the bounds they were made for.
        basis: float32 (dim, w), w the last width of the plan.
        digests: uint64 (n, 2), hashes of the vectors.
        coordinates: int16 (n, a multiple of 16, at least w).
        residual_norms: int16 (n, number of bounds).
    """

    plan: Plan
    basis: np.ndarray
    digests: np.ndarray
    coordinates: np.ndarray
    residual_norms: np.ndarray

    def rows_of(self, digests: np.ndarray) -> np.ndarray:
        """Return for each vector, by its hashes uint64 (m, 2), a row of the same vector; -1 where there is none."""
        if not len(self.digests):
            return np.full(len(digests), -1)
        order = np.argsort(self.digests[:, 0])
        at = np.searchsorted(self.digests[order, 0], digests[:, 0])
        rows = order[np.minimum(at, len(order) - 1)]
        return np.where((self.digests[rows] == digests).all(axis=1), rows, -1)


def projections_path(folder: Path, space: str) -> Path:
    """Return the file for the projections of an embedding space's vectors in a folder."""
    return folder / f"{space}{_SUFFIX}"


def hash_factors(dim: int) -> np.ndarray:
    """Return the factors of the two hashes, uint64 (2, dim + 1): the same in every process."""
    return np.random.default_rng(20140801).integers(0, 2**64, (2, dim + 1), dtype=np.uint64)


def project(
    vectors: np.ndarray,
    rows: np.ndarray,
    norms: np.ndarray,
    basis: np.ndarray,
    widths: np.ndarray,
    errors: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Project some rows.

    Args:
        vectors: float32 (n, dim).
        rows: int64 (m,), the rows to project.
        norms: float64 (n,), of the vectors.
        basis: float32 (dim, w).
        widths: int64, number of coordinates of each bound; the last is w.
        errors: float64, e of the proof for each bound.

    Returns:
        coordinates int16 (m, w rounded up to a multiple of 16) and residual norms int16 (m, number of bounds).
    """
    from imgret_assets.domain.similarity.cascade import preparation_kernels

    unit = np.empty((len(rows), vectors.shape[1]), np.float32)
    preparation_kernels.unit_rows(vectors, rows, norms, unit)
    coordinates = np.zeros((len(rows), coordinate_columns(int(widths[-1]))), np.int16)
    residual_norms = np.empty((len(rows), len(widths)), np.int16)
    preparation_kernels.quantise_projections(
        _chunked_product(unit, basis), float(SCALE), widths, errors, coordinates, residual_norms
    )
    return coordinates, residual_norms


def coordinate_columns(width: int) -> int:
    """Return the number of int16 that a row of `width` coordinates takes: whole vector registers."""
    return -(-width // 16) * 16


def _chunked_product(unit: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return the float32 product of unit rows and a basis, summed over chunks of columns, as the proof assumes."""
    total = unit[:, :CHUNK_COLUMNS] @ basis[:CHUNK_COLUMNS]
    for columns in slices(CHUNK_COLUMNS, len(basis), CHUNK_COLUMNS):
        total += unit[:, columns] @ basis[columns]
    return total


def read_projections(path: Path, dim: int) -> Projections | None:
    """Read a file; None where it is missing, damaged, or of vectors with another dimension."""
    try:
        with np.load(path) as arrays:
            if arrays["layout"].tolist() != [_LAYOUT, SCALE] or len(arrays["basis"]) != dim:
                return None
            plan = Plan(tuple(arrays["widths"].tolist()), plain=False, shares=tuple(arrays["shares"].tolist()))
            names = ("basis", "digests", "coordinates", "residual_norms")
            projections = Projections(plan, *(arrays[name] for name in names))
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile):
        return None
    width, count = plan.widths[-1], len(projections.digests)
    is_whole = (
        projections.basis.shape[1] == width
        and projections.digests.shape == (count, 2)
        and projections.coordinates.shape == (count, coordinate_columns(width))
        and projections.residual_norms.shape == (count, len(plan.widths))
    )
    return projections if is_whole else None


def write_projections(path: Path, projections: Projections) -> None:
    """Write a file.

    Raises:
        DiskFullError: there is no room; the earlier file is intact.
    """
    with atomic_files.replacing(path) as temporary, temporary.open("wb") as opened:
        np.savez(
            opened,
            layout=np.array([_LAYOUT, SCALE]),
            widths=np.array(projections.plan.widths),
            shares=np.array(projections.plan.shares),
            basis=projections.basis,
            digests=projections.digests,
            coordinates=projections.coordinates,
            residual_norms=projections.residual_norms,
        )


def remove_earlier_layout(path: Path) -> None:
    """Remove the file that versions before layout 2 kept in place of `path`."""
    if path.name.endswith(_SUFFIX):
        path.with_name(path.name.removesuffix(_SUFFIX) + _EARLIER_SUFFIX).unlink(missing_ok=True)
