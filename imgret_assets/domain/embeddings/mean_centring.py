"""Mean-centred vectors: the mean of a collection, and what it makes of vectors that are already there.

Belongs here: making a mean from a space's tables, having the centred space's vectors ready. Not here: the network's
last layer that takes the mean away (`domain.models.networks`), which mean is in force (`domain.models.registry`).
Nothing here imports torch.

A centred vector is x / |x| - m, where m is the mean of x / |x| over a collection: Suzuki, Hara, Shimbo, Saerens and
Fukumizu, "Centering similarity measures to reduce hubs", 2013.
"""

import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imgret_assets.domain.embeddings.embedding_spaces import tables_in
from imgret_assets.domain.embeddings.pending_vectors import EmbeddingResult, PendingVectors
from imgret_assets.domain.embeddings.table_reader import read_shard, shard_metadata, usable_batches, usable_vectors
from imgret_assets.domain.images.decode import Status
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.means import keep_mean
from imgret_assets.domain.models.resolution import space_of_last_run
from imgret_assets.domain.numerics.vectors import unit_rows, unusable_vectors
from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError

# On 500 photos the means of 100 drawn at random give the ranking of the mean of all within .001 mAP, of 20 .002-.006.
LEAST_IMAGES = 100


@dataclass(frozen=True)
class Centre:
    """A mean that was made and written.

    Attributes:
        file: where it is.
        source: the space whose vectors it is the mean of.
        images: how many contents went into it.
        space: the space that it makes of the source.
        ready: vectors of that space that need no forward pass, as they could be worked out from the source's: all but
            one, so that the next run, and not the first query after it, has the network converted and proved.
    """

    file: Path
    source: EmbeddingSpace
    images: int
    space: EmbeddingSpace
    ready: int


def make_centre(home: Home, name: str | None = None, output: Path | None = None) -> Centre:
    """Write the mean of a space's vectors, and have the centred vectors of the same contents ready for the next run.

    Args:
        home: the home.
        name: the id of a space with tables, or the name of a model that has one; the last run's model where None.
        output: the file to write, `.npy` with float32 (dim,); in the home, with a name that says what it is, where
            None.

    Raises:
        TableError: there is no such space, or several, or a shard's table is missing or damaged, or it has fewer than
            100 usable images.
        HomeError: the file can't be written.
    """
    source = choose_source(home, name)
    mean, images = mean_direction(home, source)
    held = io.BytesIO()
    np.save(held, mean)
    digest = hashlib.sha256(held.getvalue()).hexdigest()
    file = output or home.path / "models" / f"centre-{source.id}-{images}-{digest[:8]}.npy"
    with atomic_files.replacing(file) as temporary:
        temporary.write_bytes(held.getvalue())
    space = replace(source, centre=keep_mean(home, file, source))
    return Centre(file, source, images, space, _have_ready(home, source, space, mean))


def choose_source(home: Home, name: str | None = None) -> EmbeddingSpace:
    """The space without a mean that is meant by an id, by a model's name, or by nothing: the last run's.

    Raises:
        TableError: there are no tables of such a space, or several are meant.
    """
    there = {space: found.space for space, found in tables_in(home).items() if not found.space.centre}
    last = space_of_last_run(home)
    asked = name or home.model
    own = replace(last, centre="").id if last is not None and asked == last.model else None
    meant = [space for space in there.values() if asked in (space.id, space.model)]
    if own in there:
        return there[own]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise TableError(
            f"{asked} has several spaces with tables in {home.path}: {', '.join(space.id for space in meant)}",
            remedy="name one of them",
        )
    raise TableError(
        f"{home.path} has no vectors of {asked} from which nothing was taken yet",
        expected=f"one of {', '.join(there)}" if there else "",
        remedy=f"run `imgret run --model {asked}` with IMGRET_CENTRE=none first" if name is None else "",
    )


def mean_direction(home: Home, space: EmbeddingSpace) -> tuple[np.ndarray, int]:
    """The mean of a space's usable vectors, each brought to length 1, float32 (dim,), and how many there are.

    Each content counts once, however many files have it. Sums are float64.

    Raises:
        TableError: a shard's table is missing or damaged, or fewer than 100 contents are usable.
    """
    total = np.zeros(space.dim, np.float64)
    seen: set[str] = set()
    for shard in home.shards:
        stored, vectors = usable_vectors(home, space.id, shard, ["sha256"])
        # The first row of each content that no earlier shard had.
        first = {content: row for row, content in reversed(list(enumerate(stored["sha256"].to_pylist())))}
        rows = [row for content, row in first.items() if content not in seen]
        seen |= first.keys()
        total += unit_rows(vectors[rows], dtype=np.float64).sum(axis=0)
    if len(seen) < LEAST_IMAGES:
        raise TableError(
            f"{space.id} has {len(seen)} usable images",
            expected=f"at least {LEAST_IMAGES}: the mean of few is theirs, not that of images at large",
            remedy="give a mean that was made of a larger collection, or add images and `imgret run`",
        )
    return (total / len(seen)).astype(np.float32), len(seen)


def centred(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Vectors float32 (n, dim), none of them zero, as directions less the mean float32 (dim,); float32 (n, dim)."""
    return (unit_rows(vectors, dtype=np.float64) - mean).astype(np.float32)


def _have_ready(home: Home, source: EmbeddingSpace, space: EmbeddingSpace, mean: np.ndarray) -> int:
    """Put what the source's tables say into the centred space's store, which a run asks first; how many vectors."""
    store = PendingVectors(home.work, space.id)
    ready: list[str] = []
    for shard in home.shards:
        there: set[str] = set()
        if shard_metadata(home, space.id, shard) is not None:
            there.update(read_shard(home, space.id, shard, ["sha256"])["sha256"].to_pylist())
        for rows, vectors in usable_batches(home, source.id, shard, ["sha256", "engine"]):
            made = centred(vectors, mean)
            # What is the mean itself is left to the run, which says so of the picture.
            keep = [
                (content, EmbeddingResult(Status.OK, None, engine, vector))
                for content, engine, vector, bad in zip(
                    rows["sha256"].to_pylist(), rows["engine"].to_pylist(), made, unusable_vectors(made), strict=True
                )
                if not bad and content not in there
            ]
            store.put_many(keep)
            there |= {content for content, _ in keep}
            ready += [content for content, _ in keep]
    store.delete_many(ready[:1])
    return max(0, len(set(ready)) - 1)
