"""A home as a version of the program with an older decoder left it.

Belongs here: taking out of the tables what an older version did not write. Not here: current tables (`tree.py`).
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home


def as_of_older_decoder(
    home: Home, manifest_rows: Mapping[str, dict[str, Any]] | None = None, space: str | None = None
) -> None:
    """Rewrite the manifests, and the embeddings of a space, as the first version of the decoder left them.

    Args:
        home: the home.
        manifest_rows: columns to change, by path.
        space: id of the embedding space whose tables are rewritten, too.
    """
    for shard in home.shards:
        file = tables.manifest_path(home.warehouse, shard)
        table = tables.read(file)
        rows = [row | (manifest_rows or {}).get(row["path"], {}) for row in table.to_pylist()]
        schema = pa.schema([field for field in table.schema if field.name not in ("decoding", "note")])
        _write(file, pa.Table.from_pylist([{key: row[key] for key in schema.names} for row in rows], schema))
        if space is not None:
            file = tables.embeddings_path(home.warehouse, space, shard)
            table = tables.read(file)
            rows = table.to_pylist()
            for row in rows:
                row["engine"] = row["engine"] and row["engine"].partition("+")[0]
            _write(file, pa.Table.from_pylist(rows, table.schema))


def _write(file: Any, table: pa.Table) -> None:
    metadata = {key: value for key, value in tables.read_metadata(file).items() if key != "decoder"}
    tables.write(file, table.replace_schema_metadata(None), metadata)
