"""What a table that is kept up to date covers: which vector every image had when the table was made.

Belongs here: that list, beside the table, in the home's work folder. Not here: the tables
(`domain.similarity.pairs_table`, `domain.similarity.neighbours_table`), what follows from a difference.

A list is written before its table, and both carry the hash of what they cover: where the two differ, a kill came
between them, and the table can't be brought up to date.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home

_SCHEMA = pa.schema([("path", pa.string()), ("vector", pa.string())])


def covered_path(home: Home, kind: str, space: str) -> Path:
    """File of what a space's table of a `kind` (`pairs`, `nearest`) covers."""
    return home.work / kind / f"{space}.parquet"


def write_covered(
    home: Home, kind: str, space: str, paths: Sequence[str], contents: Sequence[str], coverage: str
) -> None:
    """Keep what a table that is about to be written covers.

    Args:
        home: the home.
        kind: of the table.
        space: id of the embedding space.
        paths: of the images, sorted.
        contents: which vector each has (`pairs.vector_keys`).
        coverage: hash over both (`pairs.coverage_of`).
    """
    table = pa.table({"path": list(paths), "vector": list(contents)}, _SCHEMA)
    tables.write(covered_path(home, kind, space), table, {"coverage": coverage})


def snapshot_matches(home: Home, kind: str, space: str, coverage: str) -> bool:
    """Return whether the snapshot exists and is of the embeddings with this coverage."""
    path = covered_path(home, kind, space)
    return path.is_file() and tables.read_metadata(path).get("coverage") == coverage


def read_covered(home: Home, kind: str, space: str) -> tuple[list[str], list[str]]:
    """Paths, sorted, and which vector each of them had.

    Raises:
        TableError: there is no such list, or it is damaged.
    """
    held = tables.read(covered_path(home, kind, space))
    return held["path"].to_pylist(), held["vector"].to_pylist()
