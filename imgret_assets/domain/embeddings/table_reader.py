"""Reader of the stored embeddings: the only module that reads rows and vectors of the embeddings tables.

Belongs here: rows and vectors of one shard or of a whole space, and the check that a shard's embeddings belong to its
manifest. Not here: writing the tables (`domain.embeddings.embeddings_table`), their schema and paths
(`domain.storage.tables`), vectors that are kept in memory for queries (`domain.search.vector_cache`).

Terms: a content is the bytes of a file, named by their SHA-256. A vector key names one vector: content and engine. A
row is usable where its status is `ok`, so that it has a vector. The coverage of a space is a hash of all usable paths
and their vector keys: tables made from the embeddings carry it (`domain.storage.derived_tables`).

The module is long because a second reader could apply other rules for what is usable and current.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgret_assets.domain.embeddings.pending_vectors import EmbeddingResult, is_current_result, split_engine
from imgret_assets.domain.images.decode import DECODER_VERSION
from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.images.image_status import RETRIED_STATUSES, Status
from imgret_assets.domain.images.labels import shard_labels
from imgret_assets.domain.numerics.vectors import unusable_vectors
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.checked_parquet import CheckedParquetFile
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.table_metadata import EmbeddingsMetadata
from imgret_assets.domain.storage.text_column import TextColumn
from imgret_assets.domain.storage.vector_files import empty_vectors
from imgret_assets.errors import StaleTableError, TableError

_CACHED_ROW_GROUPS = 4


# Rows and vectors of one shard


def embeddings_files(home: Home, space: str) -> list[Path]:
    """Return the files of all shards, whether or not they exist."""
    return [tables.embeddings_path(home.warehouse, space, shard) for shard in home.shards]


def shard_metadata(home: Home, space: str, shard: str) -> EmbeddingsMetadata | None:
    """Read the metadata of one shard's embeddings; None where there is no file, or one that names no space.

    Raises:
        TableError: the file is damaged.
    """
    path = tables.embeddings_path(home.warehouse, space, shard)
    return EmbeddingsMetadata.from_metadata(tables.read_metadata(path)) if path.is_file() else None


def read_shard(home: Home, space: str, shard: str, columns: Sequence[str]) -> pa.Table:
    """Read columns of one shard's embeddings as they are stored, whether or not the manifest has changed since.

    Raises:
        TableError: the file is missing or damaged.
    """
    return tables.read(_require(home, space, shard), list(columns))


def read_current_shard(home: Home, space: str, shard: str, columns: Sequence[str]) -> pa.Table:
    """Read columns of one shard's embeddings after checking that they belong to the shard's present manifest.

    Raises:
        TableError: a table is missing or of another space.
        StaleTableError: the manifest has changed since.
    """
    manifest = tables.require(
        tables.manifest_path(home.warehouse, shard), f"The manifest of shard {shard}", "raw_images"
    )
    path = _require(home, space, shard)
    metadata = shard_metadata(home, space, shard)
    if metadata is None or (metadata.space, metadata.shards) != (space, home.record.shards):
        raise TableError(
            f"{path} is of space {metadata and metadata.space} in {metadata and metadata.shards} shards",
            expected=f"space {space} in {home.record.shards} shards",
            remedy=f"remove it and materialise `embeddings` for shard {shard}",
        )
    listed = tables.where_equal(tables.read(manifest, ["path", "sha256", "status"]), "status", Status.OK)
    table = tables.read(path, list(dict.fromkeys(["path", "sha256", *columns])))
    if not (listed["path"].equals(table["path"]) and listed["sha256"].equals(table["sha256"])):
        raise StaleTableError(
            f"The embeddings of shard {shard} are older than its manifest",
            remedy=f"materialise `embeddings` for shard {shard}, or run `imgret run`",
        )
    return table.select(list(columns))


def usable_rows(home: Home, space: str, shard: str, *, with_vectors: bool = False) -> pa.Table:
    """Read one shard's usable rows: the columns of the manifest and `engine`, sorted by path.

    Args:
        home: the home.
        space: id of the embedding space.
        shard: key of the shard.
        with_vectors: add the column `embedding`, float32 lists of the space's dimension.

    Raises:
        TableError, StaleTableError: the shard's tables are missing or don't belong together.
    """
    added = ["engine", "status", *(["embedding"] if with_vectors else [])]
    embeddings = read_current_shard(home, space, shard, added)
    manifest = tables.read(tables.manifest_path(home.warehouse, shard))
    # The manifest's usable rows are the rows of the embeddings, in the same order: just checked.
    merged = tables.where_equal(manifest, "status", Status.OK).drop_columns(["status", "error"])
    for column in added:
        merged = merged.append_column(column, embeddings[column])
    return _usable(merged).drop_columns(["status"])


def usable_batches(
    home: Home, space: str, shard: str, columns: Sequence[str] = (), *, only: pa.Array | pa.ChunkedArray | None = None
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Read one shard's usable rows with their vectors, one row group at a time.

    A batch is small enough to stay in a core's cache while it is processed, and no second copy of all vectors is made.

    Args:
        home: the home.
        space: id of the embedding space.
        shard: key of the shard.
        columns: columns to read besides the vectors.
        only: paths to look for; row groups without any of them are not read, those with one are yielded whole.

    Yields:
        The columns of some rows, and their vectors: float32 (rows, dim) as stored. Nothing for an empty row group.

    Raises:
        TableError: the file is missing or damaged.
    """
    with tables.open_parquet(_require(home, space, shard)) as file:
        wanted = None if only is None else pc.SetLookupOptions(only)
        for group in range(file.num_row_groups):
            if wanted is not None and not _is_any_in(file.read_row_group(group, columns=["path"])["path"], wanted):
                continue
            rows = _usable(file.read_row_group(group, columns=[*columns, "status", "embedding"]))
            if len(rows):
                yield rows.select(list(columns)), embedding_matrix(rows["embedding"])


def _is_any_in(column: pa.ChunkedArray, values: pc.SetLookupOptions) -> bool:
    return bool(pc.call_function("any", [pc.call_function("is_in", [column], values)]).as_py())


def usable_vectors(home: Home, space: str, shard: str, columns: Sequence[str] = ()) -> tuple[pa.Table, np.ndarray]:
    """Read all of one shard's usable rows with their vectors: the columns, and float32 (rows, dim) as stored.

    Raises:
        TableError: the file is missing or damaged.
    """
    rows = _usable(tables.read(_require(home, space, shard), [*columns, "status", "embedding"]))
    return rows.select(list(columns)), embedding_matrix(rows["embedding"])


def embedding_matrix(column: pa.ChunkedArray) -> np.ndarray:
    """Convert an `embedding` column to float32 (rows, dim), numbers as they are stored; null rows become zero."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    values = array.values.slice(array.offset * array.type.list_size, len(array) * array.type.list_size)
    vectors = values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, array.type.list_size)
    if array.null_count:
        vectors = np.where(array.is_null().to_numpy(zero_copy_only=False)[:, np.newaxis], np.float32(0), vectors)
    return vectors


def _require(home: Home, space: str, shard: str) -> Path:
    path = tables.embeddings_path(home.warehouse, space, shard)
    return tables.require(path, f"The embeddings of shard {shard} in {space}", "embeddings")


def _usable(table: pa.Table) -> pa.Table:
    is_usable = pc.call_function("equal", [table["status"], pa.scalar(str(Status.OK))])
    # Mostly all rows are usable, and a filter would copy the vectors.
    all_usable = pc.call_function("all", [is_usable], pc.ScalarAggregateOptions(skip_nulls=False, min_count=0))
    return table if all_usable.as_py() else table.filter(is_usable)


class StoredContents:
    """Embeddings of one shard by content, with random access to their vectors.

    Attributes:
        exists: whether the shard has a table of this space.
        rows: path, sha256 and status of each row, in the table's order.
        row_of: row number of each content, without the contents that the next run tries again.
        decoder: version of the decoder by which contents without a vector could not be decoded.
    """

    def __init__(self, home: Home, space: str, shard: str) -> None:
        metadata = shard_metadata(home, space, shard)
        self.exists = metadata is not None and metadata.space == space
        self.rows: list[tuple[str, str, str]] = []
        self.row_of: dict[str, int] = {}
        self.decoder = metadata.decoder if metadata is not None else DECODER_VERSION
        self._results: dict[str, EmbeddingResult] = {}
        self._row_groups: dict[int, np.ndarray] = {}
        if not self.exists:
            return
        self._file = CheckedParquetFile(tables.embeddings_path(home.warehouse, space, shard))
        columns = self._file.read(columns=["path", "sha256", "status", "error", "engine"]).to_pydict()
        for row, (path, content, status, error, engine) in enumerate(zip(*columns.values(), strict=True)):
            self.rows.append((path, content, status))
            if status not in RETRIED_STATUSES:
                self.row_of[content] = row
                self._results[content] = EmbeddingResult(status, error, engine, None)

    @property
    def engines(self) -> set[str]:
        """Engines that made the vectors."""
        return {split_engine(result.engine)[0] for result in self._results.values() if result.engine}

    def drop_outdated(self, decodings: Mapping[str, str]) -> int:
        """Drop contents that are decoded otherwise now from `row_of`; return their number.

        Args:
            decodings: how each content is decoded that is not decoded as ever (`Header.decoding`), by content.
        """
        outdated = [
            content
            for content in self.row_of
            if not is_current_result(self._results[content], decodings.get(content, ""))
            or (self.decoder != DECODER_VERSION and self._results[content].status != Status.OK)
        ]
        for content in outdated:
            del self.row_of[content]
        return len(outdated)

    def get(self, content: str) -> EmbeddingResult:
        """Return the stored result of a content in `row_of`, with its vector where it is usable."""
        result = self._results[content]
        if result.status != Status.OK:
            return result
        group, row = divmod(self.row_of[content], tables.EMBEDDING_GROUP_ROWS)
        return EmbeddingResult(result.status, result.error, result.engine, self._row_group(group)[row])

    def _row_group(self, group: int) -> np.ndarray:
        # Old and new rows are both sorted by path, so the next row is nearly always in a group that was just read.
        if group not in self._row_groups:
            if len(self._row_groups) >= _CACHED_ROW_GROUPS:
                self._row_groups.pop(next(iter(self._row_groups)))
            column = self._file.read_row_group(group, columns=["embedding"])["embedding"]
            self._row_groups[group] = embedding_matrix(column)
        return self._row_groups[group]


# All shards of a space


@dataclass(frozen=True)
class Listing:
    """Paths and vector keys of all usable embeddings of a space, sorted by path, without the vectors.

    About 120 bytes an image and its path: no list of Python objects has all images.

    Attributes:
        paths: of each embedding.
        vector_keys: of each embedding (`vector_keys_of`).
        coverage: hash over both.
        shard_numbers: int32 (n,), the number of each embedding's shard.
        places: int32 (n,), row of each embedding in the order of shards and of the rows in each shard's table.
    """

    paths: TextColumn
    vector_keys: TextColumn
    coverage: str
    shard_numbers: np.ndarray
    places: np.ndarray

    @property
    def key_of(self) -> dict[str, str]:
        """Vector key of each path."""
        return dict(zip(self.paths, self.vector_keys, strict=True))


@dataclass(frozen=True)
class Embeddings:
    """All usable embeddings of a space, sorted by path.

    Attributes:
        paths, vector_keys, coverage: as in `Listing`.
        vectors: float32 (n, dim) as stored, finite and not zero.
    """

    paths: Sequence[str]
    vector_keys: Sequence[str]
    vectors: np.ndarray
    coverage: str


def list_embeddings(home: Home, space: str) -> Listing:
    """List all usable embeddings of a space after checking that every shard's tables belong together.

    Raises:
        TableError: a shard is missing or of another space.
        StaleTableError: a shard's embeddings are older than its manifest.
    """
    paths: list[pa.ChunkedArray] = []
    vector_keys: list[pa.ChunkedArray] = []
    for shard in home.shards:
        rows = _usable(read_current_shard(home, space, shard, ["path", "sha256", "engine", "status"]))
        paths.append(rows["path"])
        vector_keys.append(_vector_keys(rows))
    counts = [len(of_shard) for of_shard in paths]
    in_shards = _one_array(paths, pa.string())
    order = pc.call_function("sort_indices", [in_shards])
    listed = TextColumn(in_shards.take(order))
    del in_shards
    keys = TextColumn(_one_array(vector_keys, pa.large_string()).take(order))
    order = order.to_numpy()
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    numbers = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[order]
    # What was needed on the way: several times what is left.
    pa.default_memory_pool().release_unused()
    return Listing(listed, keys, _coverage_of_sorted(zip(listed, keys, strict=True)), numbers, places)


def _one_array(parts: list[pa.ChunkedArray], kind: pa.DataType) -> pa.Array:
    chunks = [chunk for part in parts for chunk in part.chunks]
    # The parts take as much memory as the array that is made of them.
    parts.clear()
    return pa.concat_arrays(chunks) if chunks else pa.array([], kind)


def read_vectors(home: Home, space: str, listing: Listing) -> np.ndarray:
    """Read the vectors of a listing, float32 (n, dim) in its order; a memory map where they don't fit into memory.

    The caller holds the lock under which the listing was made.

    Raises:
        TableError: a vector is zero or not finite.
        DiskFullError: there is no room for the file of a memory map.
    """
    _, dim = stored_size(home, space)
    vectors = empty_vectors(home.work, (len(listing.paths), dim))
    start = 0
    for shard in home.shards:
        for _, batch in usable_batches(home, space, shard):
            rows = listing.places[start : start + len(batch)]
            if (bad := unusable_vectors(batch)).any():
                file = tables.embeddings_path(home.warehouse, space, shard)
                raise TableError(
                    f"The embedding of {listing.paths[int(rows[np.argmax(bad)])]} is zero or not finite",
                    remedy=f"remove {file} and run again",
                )
            vectors[rows] = batch
            start += len(batch)
    return vectors


def load_embeddings(home: Home, space: str) -> Embeddings:
    """Read all usable embeddings of a space after checking that every shard's tables belong together.

    Raises:
        TableError: a shard is missing, of another space, or has a vector that is zero or not finite.
        StaleTableError: a shard's embeddings are older than its manifest.
    """
    listing = list_embeddings(home, space)
    return Embeddings(listing.paths, listing.vector_keys, read_vectors(home, space, listing), listing.coverage)


def stored_vector_keys(home: Home, space: str) -> dict[str, str]:
    """Read the vector key of every usable embedding by path, whether or not the manifest has changed since.

    Raises:
        TableError: a shard is missing or damaged.
    """
    keys: dict[str, str] = {}
    for shard in home.shards:
        rows = _usable(read_shard(home, space, shard, ["path", "sha256", "engine", "status"]))
        keys.update(zip(rows["path"].to_pylist(), vector_keys_of(rows), strict=True))
    return keys


def vector_keys_of(rows: pa.Table) -> list[str]:
    """Return the vector key of each row: `sha256` and `engine`.

    The engine belongs to the key because two engines give one content vectors that differ a little, and a score
    belongs to the vectors that it was computed from.
    """
    return _vector_keys(rows).to_pylist()


def _vector_keys(rows: pa.Table) -> pa.ChunkedArray:
    """Return the vector key of each row, `large_string`."""
    columns = [rows[name].cast(pa.large_string()) for name in ("sha256", "engine")]
    return pc.call_function("binary_join_element_wise", [*columns, pa.scalar(" ", pa.large_string())])


def coverage_of(paths: Sequence[str], vector_keys: Sequence[str]) -> str:
    """Return the coverage of these paths and their vector keys: SHA-256 over both, sorted by path."""
    return _coverage_of_sorted(sorted(zip(paths, vector_keys, strict=True)))


def _coverage_of_sorted(rows: Iterable[tuple[str, str]]) -> str:
    """Return the coverage of paths with their vector keys, sorted by path."""
    digest = hashlib.sha256()
    for path, key in rows:
        digest.update(f"{path}\0{key}\n".encode())
    return digest.hexdigest()


def stored_size(home: Home, space: str) -> tuple[int, int]:
    """Return the number of rows of all existing shards and the dimension of their vectors; 0 where there are none.

    Raises:
        TableError: a shard is damaged.
    """
    rows = dim = 0
    for path in embeddings_files(home, space):
        if path.is_file():
            with tables.open_parquet(path) as file:
                rows += file.metadata.num_rows
                dim = max(dim, file.schema_arrow.field("embedding").type.list_size)
    return rows, dim


# Some images of a space


def vectors_of_paths(home: Home, space: str, paths: Collection[str]) -> dict[str, np.ndarray]:
    """Read the vectors of some images by path, float32 (dim,) each; row groups without any of them are not read.

    Raises:
        TableError: a shard is missing or damaged.
    """
    vectors: dict[str, np.ndarray] = {}
    wanted = set(paths)
    for shard in sorted({shard_of(path, home.record.shards) for path in wanted}):
        with tables.open_parquet(_require(home, space, shard)) as file:
            for group in range(file.num_row_groups):
                group_paths = file.read_row_group(group, columns=["path"])["path"].to_pylist()
                rows = [row for row, path in enumerate(group_paths) if path in wanted]
                if rows:
                    matrix = embedding_matrix(file.read_row_group(group, columns=["embedding"])["embedding"])
                    vectors.update((group_paths[row], matrix[row]) for row in rows)
    return vectors


def usable_embeddings(home: Home, space: str, paths: Collection[str]) -> dict[str, tuple[str, np.ndarray]]:
    """Read content and vector, float32 (dim,), of some images by path; those without a usable row are absent.

    Raises:
        TableError: a shard is missing or damaged.
    """
    by_shard: dict[str, list[str]] = {}
    for path in paths:
        by_shard.setdefault(shard_of(path, home.record.shards), []).append(path)
    found: dict[str, tuple[str, np.ndarray]] = {}
    for shard, shard_paths in by_shard.items():
        wanted = set(shard_paths)
        only = pa.array(shard_paths, pa.string())
        for rows, vectors in usable_batches(home, space, shard, ["path", "sha256"], only=only):
            named = zip(rows["path"].to_pylist(), rows["sha256"].to_pylist(), vectors, strict=True)
            found.update((path, (content, vector.copy())) for path, content, vector in named if path in wanted)
    return found


@dataclass(frozen=True)
class StoredEmbedding:
    """The stored embedding of one image: `vector` is float32 (dim,) where `status` is ok, else None."""

    sha256: str
    status: str
    vector: np.ndarray | None


def find_embedding(home: Home, space: str, path: str) -> StoredEmbedding | None:
    """Read the embedding of one image; None where its shard has no row of this path.

    Raises:
        TableError: the image's shard is missing or damaged.
    """
    with tables.open_parquet(_require(home, space, shard_of(path, home.record.shards))) as file:
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, columns=["path", "sha256", "status"]).to_pydict()
            if path not in rows["path"]:
                continue
            row = rows["path"].index(path)
            vector = None
            if rows["status"][row] == Status.OK:
                column = file.read_row_group(group, columns=["embedding"])["embedding"]
                vector = embedding_matrix(column.slice(row, 1))[0]
            return StoredEmbedding(rows["sha256"][row], rows["status"][row], vector)
    return None


# With the labels of the manifest


@dataclass(frozen=True)
class LabelledVectors:
    """A space's usable vectors with the labels of the manifest, sorted by path within each shard.

    Attributes:
        paths, contents, labels: of each row.
        vectors: float32 (n, dim).
        stale: number of rows left out because the file has changed or vanished since it was embedded.
    """

    paths: list[str]
    contents: list[str]
    labels: list[str | None]
    vectors: np.ndarray
    stale: int


def labelled_vectors(home: Home, space: str) -> LabelledVectors:
    """Read all usable vectors of a space with their labels.

    Rows of files that have changed or vanished since they were embedded are left out and counted: a space that is not
    in use is not refreshed.

    Raises:
        TableError: a shard's manifest or embeddings are missing or damaged.
    """
    paths: list[str] = []
    contents: list[str] = []
    labels: list[str | None] = []
    parts: list[np.ndarray] = []
    stale = 0
    for shard in home.shards:
        label_of = shard_labels(home, shard)
        rows, vectors = usable_vectors(home, space, shard, ["path", "sha256"])
        keys = list(zip(rows["path"].to_pylist(), rows["sha256"].to_pylist(), strict=True))
        current = [row for row, key in enumerate(keys) if key in label_of]
        stale += len(keys) - len(current)
        paths += [keys[row][0] for row in current]
        contents += [keys[row][1] for row in current]
        labels += [label_of[keys[row]] for row in current]
        parts.append(vectors[current])
    return LabelledVectors(paths, contents, labels, np.concatenate(parts), stale)
