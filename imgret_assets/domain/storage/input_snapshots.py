"""Input snapshots: which vector every image had when a table was made.

A table that is updated rather than made from nothing has one, beside it in the home's work folder. The snapshot is
written before its table, and both carry the hash of the embeddings: where the two hashes differ, a process was killed
in between, and the table can't be updated. Belongs here: writing, checking and reading snapshots. Not here: the tables
(`domain.similarity.pairs_table`, `domain.similarity.neighbours_table`, `domain.analysis.map_table`,
`domain.analysis.threshold_report`), the update.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.text_column import TextColumn

# Texts of one Arrow array.
_PART = 1 << 20
_SCHEMA = pa.schema([("path", pa.string()), ("vector", pa.string())])

# The kind of the nearest neighbours table, whose snapshot readers need too.
NEAREST_KIND = "nearest"


def snapshot_path(home: Home, kind: str, space: str) -> Path:
    """Return the file of the snapshot for a space's table of a `kind` (`pairs`, `nearest`, `map`, `report`)."""
    folder = home.complete_state.folder / "work" if home.complete_state else home.work
    return folder / kind / f"{space}.parquet"


def write_snapshot(
    home: Home, kind: str, space: str, paths: Sequence[str], vector_keys: Sequence[str], coverage: str
) -> None:
    """Write the snapshot for a table that is about to be written.

    Args:
        home: the home.
        kind: of the table.
        space: id of the embedding space.
        paths: of the images, sorted.
        vector_keys: of each image (`embeddings.table_reader.vector_keys_of`).
        coverage: hash of paths and vector keys (`embeddings.table_reader.coverage_of`).
    """
    columns = [pa.chunked_array(_parts(texts), pa.string()) for texts in (paths, vector_keys)]
    table = pa.Table.from_arrays(columns, schema=_SCHEMA)
    tables.write(snapshot_path(home, kind, space), table, {"coverage": coverage})


def snapshot_matches(home: Home, kind: str, space: str, coverage: str) -> bool:
    """Return whether the snapshot exists and is of the embeddings with this coverage."""
    path = snapshot_path(home, kind, space)
    return path.is_file() and tables.read_metadata(path).get("coverage") == coverage


def read_snapshot(home: Home, kind: str, space: str) -> tuple[TextColumn, TextColumn]:
    """Return the paths, sorted, and the key of each image's vector.

    Raises:
        TableError: the snapshot is missing or damaged.
    """
    table = tables.read(snapshot_path(home, kind, space))
    # The keys of 20 million images are more than an array with offsets of 32 bits holds.
    return TextColumn.of(table["path"]), TextColumn.of(table["vector"].cast(pa.large_string()))


def _parts(texts: Sequence[str]) -> list[pa.Array]:
    return [pa.array(texts[start : start + _PART], pa.string()) for start in range(0, len(texts), _PART)]
