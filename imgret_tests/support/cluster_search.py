"""A search on a cluster, as a test and a process that is killed run it.

Belongs here: the vectors, the searches, a digest of what they find. Not here: the cluster (`cluster.conftest`).
"""

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from imgret_assets.domain.similarity.cascade import CascadeOptions, NearestSearch, PairSearch
from imgret_assets.domain.similarity.pair_arrays import merge_pairs
from imgret_assets.domain.similarity.pieces.answers import AnswerFiles
from imgret_assets.domain.similarity.pieces.computing import Compute, ComputeHere, solve
from imgret_tests.support.vector_sets import clusters

THRESHOLD = 0.9
OPTIONS = CascadeOptions(chunk_rows=500)


def vectors() -> np.ndarray:
    """Return float32 (4000, 96): 36 pieces."""
    return clusters(np.random.default_rng(7), 4000, 96).astype(np.float32)


def pairs_digest(
    compute: Callable[[PairSearch], Compute] | None = None,
    folder: Path | None = None,
    meanwhile: Callable[[int], None] = lambda _: None,
) -> str:
    """Return a digest of all pairs.

    Args:
        compute: makes the engine; None for this process.
        folder: for answers.
        meanwhile: called after each piece with the number of those that were not in files.
    """
    search = PairSearch(vectors(), THRESHOLD, options=OPTIONS)
    engine = ComputeHere(search.answer) if compute is None else compute(search)
    parts, computed = [], 0
    for piece, answer, was_finished in solve(search.pieces, AnswerFiles(folder), engine):
        parts.append(search.pairs(piece, answer))
        computed += not was_finished
        meanwhile(computed)
    pairs = merge_pairs(parts)
    return _digest(pairs.a, pairs.b, pairs.scores)


def nearest_digest(compute: Callable[[NearestSearch], Compute] | None = None) -> str:
    """Return a digest of the 10 nearest neighbours of every row; `compute` makes the engine."""
    search = NearestSearch(vectors(), 10, options=OPTIONS)
    engine = ComputeHere(search.answer) if compute is None else compute(search)
    for wave in search.waves():
        for piece, answer, _ in solve(wave, AnswerFiles(None), engine):
            search.add(piece, answer)
    return _digest(*search.result())


def _digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(each).tobytes() for each in arrays)).hexdigest()


def kill_workers(*names: str) -> int:
    """Kill those processes of Ray below this one whose work has one of these names; return their number.

    Not all of them: a node ends with its agent, and a driver with its node.
    """
    killed = 0
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name().startswith(tuple(f"ray::{name}" for name in names)):
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
        except psutil.NoSuchProcess:
            continue
    return killed
