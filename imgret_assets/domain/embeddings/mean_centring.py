"""Mean-centred vectors: the mean of a collection's vectors, and the stored vectors centred by it.

Belongs here: computing a mean from a space's tables, centring vectors that exist. Not here: the network's last layer
that subtracts the mean (`domain.models.networks`), the means that a home keeps (`domain.models.means`), which mean is
in force (`domain.models.registry`). Nothing here imports torch.

A centred vector is x / |x| - m, where m is the mean of x / |x| over a collection: Suzuki, Hara, Shimbo, Saerens and
Fukumizu, "Centering similarity measures to reduce hubs", 2013.
"""

import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imgret_assets.domain.embeddings.embedding_spaces import spaces_with_tables
from imgret_assets.domain.embeddings.pending_vectors import EmbeddingResult, PendingVectors
from imgret_assets.domain.embeddings.table_reader import read_shard, shard_metadata, usable_batches, usable_vectors
from imgret_assets.domain.images.image_status import Status
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.means import keep_mean
from imgret_assets.domain.models.resolution import space_of_last_run
from imgret_assets.domain.numerics.vectors import unit_rows, unusable_vectors
from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError

# The mean of few images is theirs, not that of images in general. On 500 photos the means of 100 random ones give the
# ranking of the mean of all within .001 mAP, of 20 within .002 to .006.
MIN_IMAGES = 100


@dataclass(frozen=True)
class CreatedMean:
    """A mean that was computed and written.

    Attributes:
        file: the file with the mean.
        source: space of the vectors that it is the mean of.
        images: number of contents that the mean includes.
        space: the centred space.
        prepared: number of centred vectors that need no forward pass because they were computed from the source's
            vectors. One vector is left out, so that the next run converts and proves the network, not the first query
            after it.
    """

    file: Path
    source: EmbeddingSpace
    images: int
    space: EmbeddingSpace
    prepared: int


def create_mean(home: Home, name: str | None = None, output: Path | None = None) -> CreatedMean:
    """Write the mean of a space's vectors, and prepare the centred vectors of the same contents for the next run.

    Args:
        home: the home.
        name: the id of a space with tables, or the name of a model with one; None for the last run's model.
        output: the file to write, `.npy` with float32 (dim,); None for a file in the home, named after space, number
            of images and digest.

    Raises:
        TableError: there is no such space, or several, or a shard's table is missing or damaged, or fewer than 100
            images are usable.
        HomeError: the file can't be written.
    """
    source = choose_source_space(home, name)
    mean, images = mean_of_unit_vectors(home, source)
    buffer = io.BytesIO()
    np.save(buffer, mean)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    file = output or home.path / "models" / f"centre-{source.id}-{images}-{digest[:8]}.npy"
    with atomic_files.replacing(file) as temporary:
        temporary.write_bytes(buffer.getvalue())
    space = replace(source, centre=keep_mean(home, file, source))
    return CreatedMean(file, source, images, space, _prepare_vectors(home, source, space, mean))


def choose_source_space(home: Home, name: str | None = None) -> EmbeddingSpace:
    """Return the space without a mean that an id or a model's name stands for; without a name, the last run's.

    Raises:
        TableError: no space with tables matches, or several do.
    """
    spaces = {space: stored.space for space, stored in spaces_with_tables(home).items() if not stored.space.centre}
    last = space_of_last_run(home)
    requested = name or home.model
    last_uncentred = replace(last, centre="").id if last is not None and requested == last.model else None
    matches = [space for space in spaces.values() if requested in (space.id, space.model)]
    if last_uncentred in spaces:
        return spaces[last_uncentred]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise TableError(
            f"{requested} has several spaces with tables in {home.path}: {', '.join(space.id for space in matches)}",
            remedy="name one of them",
        )
    raise TableError(
        f"{home.path} has no vectors of {requested} from which no mean was subtracted",
        expected=f"one of {', '.join(spaces)}" if spaces else "",
        remedy=f"run `imgret run --model {requested}` with IMGRET_CENTRE=none first" if name is None else "",
    )


def mean_of_unit_vectors(home: Home, space: EmbeddingSpace) -> tuple[np.ndarray, int]:
    """Return the mean of a space's usable vectors at length 1, float32 (dim,), and their number.

    Each content counts once, however many files have it. Sums are float64.

    Raises:
        TableError: a shard's table is missing or damaged, or fewer than 100 contents are usable.
    """
    total = np.zeros(space.dim, np.float64)
    counted: set[str] = set()
    for shard in home.shards:
        usable, vectors = usable_vectors(home, space.id, shard, ["sha256"])
        # The first row of each content that no earlier shard has.
        first_row = {content: row for row, content in reversed(list(enumerate(usable["sha256"].to_pylist())))}
        rows = [row for content, row in first_row.items() if content not in counted]
        counted |= first_row.keys()
        total += unit_rows(vectors[rows], dtype=np.float64).sum(axis=0)
    if len(counted) < MIN_IMAGES:
        raise TableError(
            f"{space.id} has {len(counted)} usable images",
            expected=f"at least {MIN_IMAGES}: the mean of few images is theirs, not that of images in general",
            remedy="use a mean of a larger collection, or add images and `imgret run`",
        )
    return (total / len(counted)).astype(np.float32), len(counted)


def centre_vectors(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return vectors float32 (n, dim), none of them zero, at length 1 minus the mean float32 (dim,)."""
    return (unit_rows(vectors, dtype=np.float64) - mean).astype(np.float32)


def _prepare_vectors(home: Home, source: EmbeddingSpace, space: EmbeddingSpace, mean: np.ndarray) -> int:
    """Put the centred vectors of the source's contents into the pending ones of the centred space; return how many."""
    pending = PendingVectors(home.work, space.id)
    prepared: list[str] = []
    for shard in home.shards:
        known: set[str] = set()
        if shard_metadata(home, space.id, shard) is not None:
            known.update(read_shard(home, space.id, shard, ["sha256"])["sha256"].to_pylist())
        for rows, vectors in usable_batches(home, source.id, shard, ["sha256", "engine"]):
            centred = centre_vectors(vectors, mean)
            contents, engines = rows["sha256"].to_pylist(), rows["engine"].to_pylist()
            # A vector equal to the mean becomes zero. The next run reports its image.
            results = [
                (content, EmbeddingResult(Status.OK, None, engine, vector))
                for content, engine, vector, bad in zip(
                    contents, engines, centred, unusable_vectors(centred), strict=True
                )
                if not bad and content not in known
            ]
            pending.put_many(results)
            known |= {content for content, _ in results}
            prepared += [content for content, _ in results]
    pending.delete_many(prepared[:1])
    return max(0, len(set(prepared)) - 1)
