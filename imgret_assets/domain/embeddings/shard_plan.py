"""Plan of one shard's embeddings table: the rows it needs, and the contents that have no stored embedding.

Belongs here: the comparison of a shard's manifest with its embeddings table. Not here: embedding the missing contents
and writing the table (`domain.embeddings.embeddings_table`), reading the table (`domain.embeddings.table_reader`).
"""

from dataclasses import dataclass

import pyarrow as pa

from imgret_assets.domain.embeddings.table_reader import StoredContents
from imgret_assets.domain.images.decode import DECODER_VERSION
from imgret_assets.domain.images.image_status import Status
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.table_metadata import ManifestMetadata
from imgret_assets.errors import StaleTableError


@dataclass(frozen=True)
class ShardPlan:
    """Difference between a shard's manifest and its embeddings table.

    Attributes:
        shard: key of the shard.
        images: `path` and `sha256` of the manifest's usable rows, which are the rows of the new table.
        stored: the present table.
        missing: relative paths of each content (sha256) that the present table has no final result of.
        is_current: whether the present table already has exactly these rows.
        decodings: how each content is decoded that is not decoded as ever (`domain.images.decode.Header.decoding`).
        outdated: number of contents whose stored result another version of the decoder led to.
    """

    shard: str
    images: pa.Table
    stored: StoredContents
    missing: dict[str, list[str]]
    is_current: bool
    decodings: dict[str, str]
    outdated: int


def plan_shard(home: Home, space: str, shard: str) -> ShardPlan:
    """Compare a shard's manifest with its embeddings table.

    Raises:
        TableError: the manifest is missing, or a table is damaged.
        StaleTableError: the manifest is of another image root.
    """
    manifest = tables.require(
        tables.manifest_path(home.warehouse, shard), f"The manifest of shard {shard}", "raw_images"
    )
    metadata = ManifestMetadata.from_metadata(tables.read_metadata(manifest))
    root = metadata.root if metadata is not None else None
    if root != str(home.images):
        raise StaleTableError(
            f"The manifest of shard {shard} lists {root}",
            expected=f"files of {home.images}",
            remedy="materialise `raw_images` for all shards, or run `imgret run`",
        )
    usable = tables.where_equal(tables.read(manifest), "status", Status.OK)
    images = usable.select(["path", "sha256"])
    decodings = _decodings(usable)
    stored = StoredContents(home, space, shard)
    # A manifest of an older version does not say how its images are decoded now.
    outdated = stored.drop_outdated(decodings) if metadata is not None and metadata.decoder == DECODER_VERSION else 0
    missing: dict[str, list[str]] = {}
    keys = list(zip(images["path"].to_pylist(), images["sha256"].to_pylist(), strict=True))
    for path, content in keys:
        if content not in stored.row_of:
            missing.setdefault(content, []).append(path)
    is_current = not missing and stored.exists and [(path, content) for path, content, _ in stored.rows] == keys
    return ShardPlan(shard, images, stored, missing, is_current, decodings, outdated)


def _decodings(usable: pa.Table) -> dict[str, str]:
    if "decoding" not in usable.column_names:
        return {}
    rows = zip(usable["sha256"].to_pylist(), usable["decoding"].to_pylist(), strict=True)
    return {content: decoding for content, decoding in rows if decoding}


def count_missing(home: Home, space: str, shard: str) -> int:
    """Count a shard's contents that its embeddings table has no final result of; 0 where there is no manifest.

    The count serves the progress display alone, so the contents that another shard has an embedding of are included.
    """
    manifest = tables.manifest_path(home.warehouse, shard)
    if not manifest.is_file():
        return 0
    rows = tables.read(manifest, ["sha256", "status"])
    contents = set(tables.where_equal(rows, "status", Status.OK)["sha256"].to_pylist())
    return len(contents - StoredContents(home, space, shard).row_of.keys())
