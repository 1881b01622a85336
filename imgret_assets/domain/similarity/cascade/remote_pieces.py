"""A piece in another process: its chunks are read and prepared there, and compared tile by tile on one thread.

Belongs here: what runs on a node of a cluster, and what is sent to it. Not here: sending it
(`domain.similarity.cascade.on_cluster`), the comparison of two tiles (`domain.similarity.cascade.sieve`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgret_assets.domain.cluster.workers import require_versions
from imgret_assets.domain.runtime.blas_threads import one_blas_thread
from imgret_assets.domain.similarity.cascade import projections
from imgret_assets.domain.similarity.cascade.parallel import slices
from imgret_assets.domain.similarity.cascade.preparation import measured_rows
from imgret_assets.domain.similarity.cascade.prepared_chunk import PreparedChunk, SearchBounds
from imgret_assets.domain.similarity.cascade.sieve import MAX_CHUNK_ROWS, Sieve
from imgret_assets.domain.similarity.pair_arrays import too_many_pairs
from imgret_assets.domain.similarity.pieces.answers import Answer
from imgret_assets.domain.similarity.pieces.caps import Cap
from imgret_assets.domain.similarity.pieces.chunks import Chunk, content_key
from imgret_assets.errors import UnfitWorkerError

Thresholds = float | np.ndarray
_PROJECTED_ROWS = 1024
# Pairs that arrive before the cap is applied to them.
_CAPPED_PAIRS = 4_000_000


@dataclass(frozen=True)
class RemoteSearch:
    """What all pieces of a search have in common; sent to a node once.

    Attributes:
        vectors: file of the vectors, float32 (n, dim) in the order of the search.
        bounds: the bounds.
        versions: what a worker must have.
        max_pairs: a piece with more pairs is an error; None for no limit.
        tile_rows: rows of a tile at most.
    """

    vectors: Path
    bounds: SearchBounds
    versions: Mapping[str, str]
    max_pairs: int | None
    tile_rows: int = MAX_CHUNK_ROWS


def check_node(vectors: Path, size: int, engine: str) -> None:
    """Raise an error on a node that can't compare the pieces of a search.

    Args:
        vectors: the file of the vectors.
        size: its number of bytes.
        engine: what multiplies the first bounds.

    Raises:
        UnfitWorkerError: the node does not see the file, or its CPU can't run the engine.
    """
    from imgret_assets.domain.similarity.cascade import kernels

    if not vectors.is_file() or vectors.stat().st_size != size:
        raise UnfitWorkerError(f"it does not see {vectors}: IMGRET_HOME has to be a folder that all nodes share")
    if engine == "int16" and "avx2" not in kernels.cpu_features():
        raise UnfitWorkerError("its CPU has no AVX2, which the machine that started the search has")


def load_chunk(chunk: Chunk, search: RemoteSearch) -> PreparedChunk:
    """Read the vectors of a chunk and prepare them for the bounds.

    Raises:
        UnfitWorkerError: this process has other versions, or sees other vectors than those of the chunk.
    """
    require_versions(search.versions)
    try:
        vectors = np.array(np.load(search.vectors, mmap_mode="r")[chunk.places])
    except (OSError, ValueError) as error:
        raise UnfitWorkerError(f"it can't read {search.vectors} ({error})") from error
    vectors.flags.writeable = False
    with one_blas_thread():
        norms, digests = measured_rows(vectors, 1)
        if content_key(digests) != chunk.key:
            raise UnfitWorkerError(f"{search.vectors} holds other vectors there")
        rows = np.arange(len(vectors))
        coordinates, residual_norms = _projected(vectors, rows, norms, search.bounds)
    return PreparedChunk(vectors, rows, norms, coordinates, residual_norms)


def _projected(
    vectors: np.ndarray, rows: np.ndarray, norms: np.ndarray, bounds: SearchBounds
) -> tuple[np.ndarray, np.ndarray]:
    widths = bounds.widths
    if bounds.basis is None:
        return np.zeros((0, 16), np.int16), np.empty((0, len(widths)), np.int16)
    # What arrives from another process is read-only, and the kernels are compiled for arrays that are not.
    basis = bounds.basis.copy()
    parts = [
        projections.project(vectors, rows[part], norms, basis, widths, bounds.errors.copy())
        for part in slices(0, len(rows), _PROJECTED_ROWS)
    ]
    coordinates, residual_norms = (np.concatenate(column) for column in zip(*parts, strict=True))
    return coordinates, residual_norms


def compare_chunks(
    left: PreparedChunk,
    right: PreparedChunk | None,
    thresholds: tuple[Thresholds, Thresholds],
    search: RemoteSearch,
    cap: Cap | None = None,
) -> Answer:
    """Compare two chunks tile by tile, on one thread.

    Args:
        left: a chunk.
        right: another one; None to compare the chunk with itself.
        thresholds: of both sides, float64 of each position or one for all.
        search: the search.
        cap: the cap on neighbours; None keeps all pairs.

    Raises:
        UnfitWorkerError: this process has other versions.
        TooManyPairsError: the piece alone has more pairs than the search may have.
    """
    require_versions(search.versions)
    with one_blas_thread():
        sieve = Sieve(search.bounds, threads=1)
        left_tiles = _tiles(left, search.tile_rows)
        right_tiles = left_tiles if right is None else _tiles(right, search.tile_rows)
        left_cuts, right_cuts = (
            np.full(len(side), value) if isinstance(value, float) else np.array(value)
            for side, value in zip((left, left if right is None else right), thresholds, strict=True)
        )
        found = Answer(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0))
        parts: list[Answer] = []
        count = most = 0
        for number, (rows, tile) in enumerate(left_tiles):
            for columns, other in right_tiles[number if right is None else 0 :]:
                answer = sieve.search(tile, other, left_cuts[rows], right_cuts[columns])
                count += len(answer)
                if search.max_pairs is not None and count > search.max_pairs:
                    above = f"more than {search.max_pairs:,} pairs above the threshold"
                    raise too_many_pairs(f"One piece of the search alone has {above}", search.max_pairs)
                if len(answer):
                    start, other_start = np.int32(rows.start), np.int32(columns.start)
                    parts.append(Answer(answer.left + start, answer.right + other_start, answer.scores))
                # Where all pairs pass, those of a piece would be more than its vectors.
                if cap is not None and count > most + _CAPPED_PAIRS:
                    found = cap.apply(_joined([found, *parts]), is_diagonal=right is None)
                    parts, count, most = [], len(found), len(found)
    found = _joined([found, *parts])
    return found if cap is None else cap.apply(found, is_diagonal=right is None)


def _joined(answers: list[Answer]) -> Answer:
    left, right, scores, left_out = zip(*answers, strict=True)
    return Answer(np.concatenate(left), np.concatenate(right), np.concatenate(scores), sum(left_out))


def _tiles(chunk: PreparedChunk, rows: int) -> list[tuple[slice, PreparedChunk]]:
    """Cut a chunk into chunks of its rows; all but the vectors is copied, a tenth of it."""
    return [
        (
            part,
            PreparedChunk(
                chunk.vectors[part],
                np.arange(part.stop - part.start),
                chunk.norms[part].copy(),
                chunk.coordinates[part].copy(),
                chunk.residual_norms[part].copy(),
            ),
        )
        for part in slices(0, len(chunk), rows)
    ]
