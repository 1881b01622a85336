"""The table module of DUPLICATE_OF: relationships from the duplicates table.

Belongs here: which relationships the table calls for, and its rows in an export. Not here: writing them
(`domain.graph.relationship_sync`), which duplicate is kept (`domain.duplicates.duplicates_table`).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from imgret_assets.domain.duplicates.duplicate_search import DUPLICATE_KINDS
from imgret_assets.domain.duplicates.duplicates_table import require_current_duplicates
from imgret_assets.domain.duplicates.usable_images import coverage_of_images, load_usable_images
from imgret_assets.domain.embeddings.table_checks import Finding
from imgret_assets.domain.embeddings.table_reader import Listing
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.relationship_kinds import DUPLICATE_OF
from imgret_assets.domain.graph.relationship_sync import (
    EXPORT_ROWS,
    ExpectedRelationships,
    RelationshipsReport,
    check_kind,
    sync_kind,
)
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import DUPLICATES
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError


def sync_relationships(home: Home, database: Database, space: EmbeddingSpace) -> RelationshipsReport:
    """Make the DUPLICATE_OF relationships equal to the duplicates table, by difference.

    The report counts the relationships of each kind of duplicate. Raises what `sync_kind` raises.
    """
    return sync_kind(home, database, space, DUPLICATE_OF, expected_relationships)


def check_relationships(home: Home, database: Database, space: str) -> Finding:
    """Compare the DUPLICATE_OF relationships with the duplicates table; a table in disorder fails."""
    try:
        expected = expected_relationships(home, space)
    except TableError as error:
        return Finding(False, str(error), {})
    return check_kind(database, DUPLICATE_OF, expected)


def expected_relationships(home: Home, space: str) -> ExpectedRelationships:
    """Read the relationships that the duplicates table calls for.

    Raises:
        TableError: the table is missing or in disorder.
        StaleTableError: it was made from other embeddings, or by another method.
    """
    path = DUPLICATES.require(home.warehouse, space)
    images = load_usable_images(home, space)
    require_current_duplicates(home, space, coverage_of_images(images))
    rows = tables.read(path, ["path_from", "path_keep", "kind", "distance", "reason"]).to_pylist()
    # An image to look at first is no duplicate: a query that counts or removes duplicates must not find it.
    # A file that can't be decoded has no node.
    contents = {image.path: image.sha256 for image in images}
    rows = [row for row in rows if row["kind"] in DUPLICATE_KINDS and row["path_from"] in contents]
    properties = {(row.pop("path_from"), row.pop("path_keep")): row for row in rows}
    duplicates = {duplicate for duplicate, _ in properties}
    if len(duplicates) != len(rows) or duplicates & {keep for _, keep in properties}:
        raise TableError(
            f"{path} has a duplicate that points to two files, or to another duplicate",
            remedy="remove it and materialise `duplicates`",
        )
    counts = {kind: sum(row["kind"] == kind for row in properties.values()) for kind in DUPLICATE_KINDS}
    return ExpectedRelationships(properties, contents, counts)


def exported_rows(home: Home, space: str, listing: Listing) -> Iterator[Mapping[str, pa.Array]] | None:
    """Return the rows of the duplicates table in parts; None if it is missing or of other embeddings."""
    if DUPLICATES.current_metadata(home.warehouse, space, listing.coverage) is None:
        return None
    return _table_rows(tables.duplicates_path(home.warehouse), listing.paths)


def _table_rows(path: Path, image_paths: Sequence[str]) -> Iterator[Mapping[str, pa.Array]]:
    has_node = pc.SetLookupOptions(pa.array(image_paths, pa.string()))
    with tables.open_parquet(path) as file:
        for all_rows in file.iter_batches(EXPORT_ROWS):
            is_duplicate = pc.call_function("is_in", [all_rows["kind"]], pc.SetLookupOptions(pa.array(DUPLICATE_KINDS)))
            duplicates = all_rows.filter(is_duplicate)
            batch = duplicates.filter(pc.call_function("is_in", [duplicates["path_from"]], has_node))
            columns = {name: batch[name] for name in ("kind", "distance", "reason")}
            yield columns | {"source": batch["path_from"], "target": batch["path_keep"], "score": batch["cosine"]}
