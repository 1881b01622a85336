"""The options of a search by the cascade.

Belongs here: how a search is done, which never changes its results. Not here: what is searched for
(`domain.similarity.cascade.pairs`, `domain.similarity.cascade.nearest_search`).
"""

from dataclasses import dataclass
from pathlib import Path

from imgret_assets.domain.similarity.cascade.plans import Plan

MEMORY_BYTES = 2 << 30


@dataclass(frozen=True)
class CascadeOptions:
    """How a search is done; its results do not depend on it, to the last bit of the scores.

    Attributes:
        memory_bytes: bound on what is held in addition to the vectors, even if every pair passes; it sets the size of
            chunks.
        threads: number of threads, those of libraries included; None for all cores.
        device: value of IMGRET_DEVICE; `cuda` and `auto` allow a GPU.
        engine: what multiplies the first bounds: "int16" (slow without AVX2), "float32" or "cuda"; None for the
            fastest.
        plan: the bounds to take; None to choose them by a sample.
        projections: file that keeps the basis and the projections, so that a search of some rows has to project only
            new vectors; None keeps none. The caller holds a lock.
        chunk_rows: rows of a chunk at most; None for as many as suit the memory and the engine.
        on_cluster: whether another machine may compare a piece, which pays for large ones only.
    """

    memory_bytes: int = MEMORY_BYTES
    threads: int | None = None
    device: str = "cpu"
    engine: str | None = None
    plan: Plan | None = None
    projections: Path | None = None
    chunk_rows: int | None = None
    on_cluster: bool = False
