"""Keeping the DUPLICATE_OF relationships equal to the duplicates table.

Belongs here: which relationships the table asks for. Not here: writing them (`domain.graph.relationship_sync`), nodes
and SIMILAR_TO (`domain.graph.image_nodes`), which copy is kept (`domain.duplicates.duplicates_table`).
"""

import time
from dataclasses import dataclass
from typing import Any

from imgret_assets.domain.duplicates.duplicate_search import KINDS
from imgret_assets.domain.duplicates.duplicates_table import require_current_duplicates
from imgret_assets.domain.duplicates.usable_images import coverage_of_images, load_usable_images
from imgret_assets.domain.embeddings.table_checks import Finding
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.graph_state import check_owner, check_space, refreshing
from imgret_assets.domain.graph.relationship_sync import LinkKind, links_equal, sync_links
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.storage import locks, tables
from imgret_assets.domain.storage.derived_tables import DUPLICATES
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError

_LINKS = LinkKind("DUPLICATE_OF", cypher.DUPLICATE_LINKS, "the rows of the duplicates table", "copies belong to")


@dataclass
class DuplicateLinksReport:
    """What a refresh of DUPLICATE_OF did: `created` and `deleted` as the server counted them."""

    kinds: dict[str, int]
    created: int
    deleted: int
    seconds: float

    @property
    def relationships(self) -> int:
        """All of them."""
        return sum(self.kinds.values())

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        if not self.created and not self.deleted:
            return f"{self.relationships:,} copies are as the duplicates table says: nothing was written to Neo4j."
        done = f"{self.created:,} created, {self.deleted:,} deleted in {self.seconds:.1f} s."
        return f"{self.relationships:,} copies: {done}"


def sync_duplicates(home: Home, database: Database, space: EmbeddingSpace) -> DuplicateLinksReport:
    """Make the DUPLICATE_OF relationships equal to the duplicates table, by difference.

    What somebody created, doubled, changed or removed by hand is repaired.

    Raises:
        TableError: the duplicates are missing, or hold what must not reach the graph.
        StaleTableError: duplicates or nodes are older than the embeddings.
        ForeignDatabaseError: the database is another home's.
        LockTimeoutError: another run writes the graph.
    """
    with home.hold([locks.GRAPH], "writing DUPLICATE_OF relationships"):
        started = time.monotonic()
        wanted, contents = wanted_links(home, space.id)
        state = check_space(check_owner(database, home), space)
        created, deleted = sync_links(
            database, _LINKS, wanted, contents, writing=lambda: refreshing(home, database, state)
        )
        kinds = {kind: sum(row["kind"] == kind for row in wanted.values()) for kind in KINDS}
        return DuplicateLinksReport(kinds, created, deleted, time.monotonic() - started)


def wanted_links(home: Home, space: str) -> tuple[dict[tuple[str, str], dict[str, Any]], dict[str, str]]:
    """Properties of every relationship that should be there, by its two paths; and the content of every path.

    Raises:
        TableError: the table is missing or in disorder.
        StaleTableError: it was made from other embeddings, or in another way.
    """
    path = DUPLICATES.require(home.warehouse, space)
    pictures = load_usable_images(home, space)
    require_current_duplicates(home, space, coverage_of_images(pictures))
    rows = tables.read(path, ["path_from", "path_keep", "kind", "distance", "reason"]).to_pylist()
    wanted = {(row.pop("path_from"), row.pop("path_keep")): row for row in rows}
    copies = {copy for copy, _ in wanted}
    if len(copies) != len(rows) or copies & {keep for _, keep in wanted}:
        raise TableError(
            f"{path} has a copy that points at two files, or at another copy",
            remedy="remove it and materialise `duplicates`",
        )
    return wanted, {picture.path: picture.sha256 for picture in pictures}


def links_equal_duplicates(home: Home, database: Database, space: str) -> Finding:
    """The DUPLICATE_OF relationships are the rows of the duplicates table, which is in order."""
    try:
        wanted, _ = wanted_links(home, space)
    except TableError as error:
        return Finding(False, str(error), {})
    return links_equal(database, _LINKS, wanted, "copies")
