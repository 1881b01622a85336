"""The parquet tables: their schemas and files, reading them, and writing them whole or not at all.

Belongs here: schemas, paths, reading and writing files. Not here: the checks within a file
(`domain.storage.checked_parquet`), keeping what was read (`domain.storage.kept_tables`), verifying and removing damaged
files (`domain.storage.verification`), metadata records (`domain.storage.table_metadata`), the rows
(`domain.images.manifest`, `domain.embeddings.embeddings_table`, `domain.similarity.pairs_table`), the home
(`domain.storage.home`).
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imgret_assets.domain.storage import atomic_files
from imgret_assets.domain.storage.checked_parquet import CHECK_KEY, CheckedParquetFile, CheckedParquetWriter
from imgret_assets.domain.storage.kept_tables import kept
from imgret_assets.domain.storage.text_column import TextColumn
from imgret_assets.errors import TableError

MANIFEST_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("ctime_ns", pa.int64()),
        ("inode", pa.uint64()),
        ("hard_links", pa.int64()),
        ("link", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("label", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("decoding", pa.string()),
        ("note", pa.string()),
        ("channels", pa.int32()),
        ("bits", pa.int32()),
        ("frames", pa.int32()),
        ("raw_of", pa.string()),
        ("shot", pa.string()),
        # Parquet has no seconds.
        ("taken", pa.timestamp("ms")),
        ("camera", pa.string()),
    ]
)
PAIRS_SCHEMA = pa.schema([("path_a", pa.string()), ("path_b", pa.string()), ("score", pa.float64())])
NEAREST_SCHEMA = pa.schema(
    [("path", pa.string()), ("rank", pa.int16()), ("neighbour", pa.string()), ("score", pa.float64())]
)

DUPLICATES_SCHEMA = pa.schema(
    [
        ("path_from", pa.string()),
        ("path_keep", pa.string()),
        ("kind", pa.string()),
        ("distance", pa.int32()),
        ("correlation", pa.float32()),
        ("cosine", pa.float64()),
        ("reason", pa.string()),
        ("bytes", pa.int64()),
    ]
)

THRESHOLDS_SCHEMA = pa.schema(
    [
        ("threshold", pa.float64()),
        ("pairs", pa.float64()),
        ("pairs_error", pa.float64()),
        ("images", pa.int64()),
        ("false_pairs", pa.float64()),
        ("precision", pa.float64()),
        ("recall", pa.float64()),
    ]
)

GROUPS_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("group", pa.string()),
        ("representative", pa.bool_()),
        ("score", pa.float64()),
        ("size", pa.int32()),
        ("weakest_score", pa.float64()),
        ("community", pa.int32()),
    ]
)

MAP_SCHEMA = pa.schema([("path", pa.string()), ("x", pa.float32()), ("y", pa.float32())])

Stamp = tuple[tuple[str, int, int], ...]

# Rows of one row group: few enough to read some rows alone (8 MB at 2,048 numbers), enough to be fast.
EMBEDDING_GROUP_ROWS = 1024


def embeddings_schema(dim: int) -> pa.Schema:
    """Return the columns of an embeddings table; `embedding` is null unless `status` is ok."""
    return pa.schema(
        [
            ("path", pa.string()),
            ("sha256", pa.string()),
            ("status", pa.string()),
            ("error", pa.string()),
            ("engine", pa.string()),
            ("embedding", pa.list_(pa.float32(), dim)),
        ]
    )


def manifest_path(warehouse: Path, shard: str) -> Path:
    """Return the file of one shard's manifest."""
    return warehouse / "manifest" / f"shard={shard}.parquet"


def embeddings_path(warehouse: Path, space: str, shard: str) -> Path:
    """Return the file of one shard's embeddings in one embedding space."""
    return warehouse / "embeddings" / f"model={space}" / f"shard={shard}.parquet"


def embeddings_folder(warehouse: Path) -> Path:
    """Return the folder of the embeddings of all spaces."""
    return warehouse / "embeddings"


def pairs_path(warehouse: Path, space: str) -> Path:
    """Return the file of all pairs in one embedding space."""
    return warehouse / "pairs" / f"model={space}" / "pairs.parquet"


def nearest_path(warehouse: Path, space: str) -> Path:
    """Return the file of every image's nearest neighbours in one embedding space."""
    return warehouse / "nearest" / f"model={space}" / "nearest.parquet"


def duplicates_path(warehouse: Path) -> Path:
    """Return the file of all duplicates."""
    return warehouse / "duplicates" / "duplicates.parquet"


def groups_path(warehouse: Path, space: str) -> Path:
    """Return the file of the groups in one embedding space."""
    return warehouse / "groups" / f"model={space}" / "groups.parquet"


def map_path(warehouse: Path, space: str) -> Path:
    """Return the file of every image's position on the map of one embedding space."""
    return warehouse / "map" / f"model={space}" / "map.parquet"


def thresholds_path(warehouse: Path, space: str) -> Path:
    """Return the file of the figures of each threshold in one embedding space."""
    return warehouse / "thresholds" / f"model={space}" / "thresholds.parquet"


def require(path: Path, title: str, asset: str) -> Path:
    """Return the path of a table that exists.

    Args:
        path: the table's file.
        title: name of the table in messages, such as `The pairs table`.
        asset: name of the asset that makes it.

    Raises:
        TableError: the file is missing.
    """
    if not path.is_file():
        raise TableError(
            f"{title} is missing ({path})", remedy=f"materialise `{asset}` for it first, or run `imgret run`"
        )
    return path


def read_metadata(path: Path) -> dict[str, str]:
    """Return the file's own key-value metadata, without Arrow's.

    Raises:
        TableError: the file is damaged, or not a parquet file.
    """
    return dict(kept(path, "metadata", lambda: _read_metadata(path), _text_bytes))


def _read_metadata(path: Path) -> dict[str, str]:
    with open_parquet(path) as file:
        metadata = file.schema_arrow.metadata or {}
        own = {key: value for key, value in metadata.items() if not key.startswith(b"ARROW:") and key != CHECK_KEY}
        return {key.decode(): value.decode() for key, value in own.items()}


def _text_bytes(metadata: Mapping[str, str]) -> int:
    return sum(len(key) + len(value) for key, value in metadata.items())


@contextmanager
def open_parquet(path: Path) -> Iterator[CheckedParquetFile]:
    """Open a file for reading some of its row groups; its checks are verified as far as it is read.

    Raises:
        TableError: the file is damaged, or not a parquet file.
    """
    with CheckedParquetFile(path) as file:
        yield file


def read(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Return the rows of one file, within `keep_tables` those that were read of the same file before.

    Raises:
        TableError: the file is damaged, or not a parquet file.
    """
    part = None if columns is None else tuple(columns)
    return kept(path, part, lambda: _read(path, columns), lambda table: table.nbytes)


def _read(path: Path, columns: list[str] | None) -> pa.Table:
    with CheckedParquetFile(path) as file:
        return file.read(columns=columns)


def count_rows(path: Path) -> int:
    """Return the number of rows of one file, from its footer.

    Raises:
        TableError: the file is damaged, or not a parquet file.
    """
    with open_parquet(path) as file:
        return file.metadata.num_rows


def stamp_of(files: Iterable[Path]) -> Stamp:
    """Return a value that differs if one of some files does: name, modification time and size of each that exists."""
    return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())


def where_equal(table: pa.Table, column: str, value: str) -> pa.Table:
    """Return the rows whose text in `column` is `value`, in their order."""
    return table.filter(pc.call_function("equal", [table[column], pa.scalar(str(value))]))


@contextmanager
def writer(path: Path, schema: pa.Schema, metadata: Mapping[str, str]) -> Iterator[pq.ParquetWriter]:
    """Open a table for writing in pieces; its file appears when the block ends without an error.

    Raises:
        DiskFullError: no room; the old file is intact.
    """
    full = schema.with_metadata(dict(metadata))
    with atomic_files.replacing(path) as temporary:
        compression = {field.name: "NONE" if pa.types.is_fixed_size_list(field.type) else "ZSTD" for field in full}
        # A column of vectors is named by its leaf. Floats don't compress, and trying takes longer than writing.
        compression = {("embedding.list.element" if n == "embedding" else n): c for n, c in compression.items()}
        repeated = ("status", "engine", "format", "label", "camera", "path_a")
        dictionary = [field.name for field in full if field.name in repeated]
        options: dict[str, Any] = {"compression": compression, "use_dictionary": dictionary}
        with CheckedParquetWriter(temporary, full, **options) as open_writer:
            yield open_writer


def batches_with_places(
    path: Path, paths: TextColumn, columns: tuple[str, str], batch_rows: int
) -> Iterator[tuple[pa.RecordBatch, np.ndarray, np.ndarray]]:
    """Yield the rows of a table with the places of two columns of paths, int64; -1 for a path that is not known.

    Args:
        path: the file.
        paths: the known paths.
        columns: the two columns.
        batch_rows: rows of a batch, or as many as there are paths if those are more: finding places begins with a table
            of all paths, so there should not be many more batches than paths.

    Raises:
        TableError: the file is damaged.
    """
    with open_parquet(path) as opened:
        for batch in opened.iter_batches(max(batch_rows, len(paths))):
            yield batch, paths.places_of(batch[columns[0]]), paths.places_of(batch[columns[1]])


def write(path: Path, table: pa.Table, metadata: Mapping[str, str]) -> None:
    """Write a whole table at once; see `writer`."""
    with writer(path, table.schema, metadata) as open_writer:
        if table.num_rows or not table.num_columns:
            open_writer.write_table(table)
