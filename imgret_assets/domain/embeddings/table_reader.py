"""The one way to read stored vectors.

Belongs here: listing and reading the embeddings tables, and checking them against the manifest. Not here: writing
them (`domain.embeddings.embeddings_table`).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgret_assets.domain.images.decode import Status
from imgret_assets.domain.images.labels import shard_labels
from imgret_assets.domain.numerics.vectors import row_norms
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import StaleTableError, TableError


def vectors_of(column: pa.ChunkedArray) -> np.ndarray:
    """An embedding column as float32 (rows, dim), numbers as they are stored; null rows are zero."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    values = array.values.slice(array.offset * array.type.list_size, len(array) * array.type.list_size)
    vectors = values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, array.type.list_size)
    if array.null_count:
        vectors = np.where(array.is_null().to_numpy(zero_copy_only=False)[:, np.newaxis], np.float32(0), vectors)
    return vectors


def usable_rows(home: Home, space: str, shard: str) -> pa.Table:
    """One shard's usable rows without their vectors: manifest and engine side by side, sorted by path.

    Raises:
        TableError, StaleTableError: the shard's tables are missing or don't belong together.
    """
    embeddings = check_shard(home, space, shard, columns=["path", "sha256", "engine", "status"])
    manifest = tables.read(tables.manifest_path(home.warehouse, shard))
    both = tables.where_equal(manifest, "status", Status.OK).drop_columns(["status", "error"])
    for column in ("engine", "status"):
        both = both.append_column(column, embeddings[column])
    return tables.where_equal(both, "status", Status.OK).drop_columns(["status"])


@dataclass(frozen=True)
class Embeddings:
    """All usable vectors of a space, sorted by path.

    Attributes:
        paths: of each row.
        contents: which vector each row has: sha256 and engine (`vector_keys`).
        vectors: float32 (n, dim) as stored, finite and not zero.
        coverage: hash over all paths and contents.
    """

    paths: list[str]
    contents: list[str]
    vectors: np.ndarray
    coverage: str


@dataclass(frozen=True)
class Listing:
    """Which images of a space have which vectors, sorted by path, without the vectors.

    Attributes:
        paths, contents, coverage: as in `Embeddings`.
        shards: of each shard, paths of its usable rows in their order, and whether all of its rows are usable.
    """

    paths: list[str]
    contents: list[str]
    coverage: str
    shards: dict[str, tuple[pa.ChunkedArray, bool]]


def list_embeddings(home: Home, space: str) -> Listing:
    """The keys of all usable vectors of a space, after checking that every shard's tables belong together.

    Raises:
        TableError: a shard is missing or of another space.
        StaleTableError: a shard's embeddings are of another manifest.
    """
    keys: list[tuple[str, str]] = []
    shards: dict[str, tuple[pa.ChunkedArray, bool]] = {}
    for shard in home.shards:
        table = check_shard(home, space, shard, columns=["path", "sha256", "engine", "status"])
        usable = tables.where_equal(table, "status", Status.OK)
        keys += zip(usable["path"].to_pylist(), vector_keys(usable), strict=True)
        shards[shard] = usable["path"], len(usable) == len(table)
    keys.sort()
    paths, contents = [path for path, _ in keys], [content for _, content in keys]
    return Listing(paths, contents, coverage_of(paths, contents), shards)


def read_vectors(home: Home, space: str, listing: Listing) -> np.ndarray:
    """The vectors of a listing, float32 (n, dim), in its order. Whoever calls holds the lock it was listed under.

    Raises:
        TableError: a vector has no direction.
    """
    names = pa.array(listing.paths, pa.string())
    vectors: np.ndarray | None = None
    for shard, (paths, whole) in listing.shards.items():
        file = tables.embeddings_path(home.warehouse, space, shard)
        place = pc.index_in(paths, value_set=names).to_numpy()  # type: ignore[attr-defined]
        start = 0
        # Piece by piece: all vectors are in memory once, and a piece is in the cache while it is looked at.
        for found in _pieces(file, whole):
            norms = row_norms(found)
            if (bad := ~(np.isfinite(norms) & (norms > 0))).any():
                raise TableError(
                    f"The embedding of {paths[start + int(np.argmax(bad))]} is zero or not finite",
                    remedy=f"remove {file} and run again",
                )
            if vectors is None:
                vectors = np.empty((len(listing.paths), found.shape[1]), np.float32)
            vectors[place[start : start + len(found)]] = found
            start += len(found)
    return np.empty((0, 1), np.float32) if vectors is None else vectors


def _pieces(file: Path, whole: bool) -> Iterator[np.ndarray]:
    """The usable vectors of a shard, by row group: float32 (rows, dim); one piece at least."""
    columns = ["embedding"] if whole else ["status", "embedding"]
    with tables.open_parquet(file) as opened:
        if not opened.num_row_groups:
            yield vectors_of(opened.read(columns=["embedding"])["embedding"])
        for group in range(opened.num_row_groups):
            rows = opened.read_row_group(group, columns=columns)
            yield vectors_of((rows if whole else tables.where_equal(rows, "status", Status.OK))["embedding"])


def load_embeddings(home: Home, space: str) -> Embeddings:
    """All usable vectors of a space, after checking that every shard's tables belong together.

    Raises:
        TableError: a shard is missing, of another space, or holds a vector without direction.
        StaleTableError: a shard's embeddings are of another manifest.
    """
    listing = list_embeddings(home, space)
    return Embeddings(listing.paths, listing.contents, read_vectors(home, space, listing), listing.coverage)


def vector_keys(rows: pa.Table) -> list[str]:
    """What tells the vectors of embeddings rows apart: content and engine.

    Two engines give one content vectors that differ a little, and a score belongs to the vectors it was made from.
    """
    return [
        f"{sha} {engine}" for sha, engine in zip(*rows.select(["sha256", "engine"]).to_pydict().values(), strict=True)
    ]


def check_shard(home: Home, space: str, shard: str, *, columns: Sequence[str] | None = None) -> pa.Table:
    """One shard's embeddings, all columns or some, if they are of this space and of the shard's present manifest.

    Raises:
        TableError: a table is missing or of another space.
        StaleTableError: the manifest has changed since.
    """
    manifest = tables.require(
        tables.manifest_path(home.warehouse, shard), f"The manifest of shard {shard}", "raw_images"
    )
    path = tables.require(
        tables.embeddings_path(home.warehouse, space, shard),
        f"The embeddings of shard {shard} in {space}",
        "embeddings",
    )
    metadata = tables.read_metadata(path)
    if metadata.get("space") != space or metadata.get("shards") != str(home.record.shards):
        raise TableError(
            f"{path} is of space {metadata.get('space')} in {metadata.get('shards')} shards",
            expected=f"space {space} in {home.record.shards} shards",
            remedy=f"remove it and materialise `embeddings` for shard {shard}",
        )
    listed = tables.where_equal(tables.read(manifest, ["path", "sha256", "status"]), "status", Status.OK)
    table = tables.read(path, None if columns is None else list(columns))
    if not (listed["path"].equals(table["path"]) and listed["sha256"].equals(table["sha256"])):
        raise StaleTableError(
            f"The embeddings of shard {shard} are older than its manifest",
            remedy=f"materialise `embeddings` for shard {shard}, or run `imgret run`",
        )
    return table


def coverage_of(paths: Sequence[str], contents: Sequence[str]) -> str:
    """Hash of which contents are where: SHA-256 over the sorted paths with their contents."""
    digest = hashlib.sha256()
    for path, sha in sorted(zip(paths, contents, strict=True)):
        digest.update(f"{path}\0{sha}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Labelled:
    """A space's usable vectors with the labels of the manifest, sorted by path within each shard.

    Attributes:
        paths, contents, labels: of each row.
        vectors: float32 (n, dim).
        stale: rows left out because the manifest says something else of the file by now.
    """

    paths: list[str]
    contents: list[str]
    labels: list[str | None]
    vectors: np.ndarray
    stale: int


def labelled_vectors(home: Home, space_id: str) -> Labelled:
    """All usable vectors of a space, with the labels the manifest gives.

    Rows of files that have changed or vanished since they were embedded are left out and counted: a space that is not
    in use is not kept up to date.

    Raises:
        TableError: a shard's manifest or embeddings are missing or damaged.
    """
    from imgret_assets.domain.embeddings.table_reader import vectors_of

    paths: list[str] = []
    contents: list[str] = []
    labels: list[str | None] = []
    parts: list[np.ndarray] = []
    stale = 0
    for shard in home.shards:
        label_of = shard_labels(home, shard)
        embeddings = tables.require(
            tables.embeddings_path(home.warehouse, space_id, shard),
            f"The embeddings of shard {shard} in {space_id}",
            "embeddings",
        )
        rows = tables.where_equal(tables.read(embeddings), "status", Status.OK)
        keys = list(zip(rows["path"].to_pylist(), rows["sha256"].to_pylist(), strict=True))
        fresh = [number for number, key in enumerate(keys) if key in label_of]
        stale += len(keys) - len(fresh)
        paths += [keys[number][0] for number in fresh]
        contents += [keys[number][1] for number in fresh]
        labels += [label_of[keys[number]] for number in fresh]
        parts.append(vectors_of(rows["embedding"])[fresh])
    return Labelled(paths, contents, labels, np.concatenate(parts), stale)
