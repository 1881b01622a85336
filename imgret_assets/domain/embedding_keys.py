"""Which images have which vectors, without the vectors: enough to tell whether anything has changed.

Belongs here: reading the keys of a space's embeddings. Not here: the vectors and what tells them apart
(`domain.pairs`).
"""

from dataclasses import dataclass

from imgret_assets.domain import tables
from imgret_assets.domain.decode import Status
from imgret_assets.domain.home import Home
from imgret_assets.domain.pairs import check_shard, coverage_of, vector_keys


@dataclass(frozen=True)
class EmbeddingKeys:
    """All usable images of a space, sorted by path; `paths`, `contents`, `coverage` as in `pairs.Embeddings`."""

    paths: list[str]
    contents: list[str]
    coverage: str


def load_keys(home: Home, space: str) -> EmbeddingKeys:
    """The keys of all usable vectors of a space, after checking that every shard's tables belong together.

    Raises:
        TableError: a shard is missing or of another space.
        StaleTableError: a shard's embeddings are of another manifest.
    """
    keys: list[tuple[str, str]] = []
    for shard in home.shards:
        table = check_shard(home, space, shard, columns=["path", "sha256", "engine", "status"])
        usable = tables.where_equal(table, "status", Status.OK)
        keys += zip(usable["path"].to_pylist(), vector_keys(usable), strict=True)
    keys.sort()
    paths, contents = [path for path, _ in keys], [content for _, content in keys]
    return EmbeddingKeys(paths, contents, coverage_of(paths, contents))
