"""The node property `group`, kept equal to the groups table by difference.

Belongs here: comparing table and nodes, writing what differs. Not here: the groups themselves
(`domain.analysis.groups_table`), all other properties (`domain.graph.image_nodes`).

An image that is alone has no group: its property is absent. This module writes no other property, and no other module
writes this one.
"""

import time
from dataclasses import dataclass

from imgret_assets.domain.analysis.groups_table import read_groups
from imgret_assets.domain.embeddings.table_reader import list_embeddings
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.graph_record import GROUPS, recorded
from imgret_assets.domain.graph.graph_state import check_owner, check_space, refreshing
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.storage import locks
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import StaleTableError

GROUP_ROWS = 10_000


@dataclass(frozen=True)
class NodeGroupsReport:
    """What a refresh of the property did: numbers of nodes, of nodes in a group, and of changed nodes."""

    nodes: int
    grouped: int
    changed: int
    seconds: float

    @property
    def summary(self) -> str:
        """The result in one line."""
        grouped = f"{self.grouped:,} of {self.nodes:,} nodes are in a group"
        if not self.changed:
            return f"{grouped}, as in the groups table: nothing was written to Neo4j."
        return f"{grouped}: {self.changed:,} changed in {self.seconds:.1f} s."


def sync_groups(home: Home, database: Database, space: EmbeddingSpace) -> NodeGroupsReport:
    """Make the property `group` of all :Image nodes equal to the groups table; write only what differs.

    Raises:
        TableError: the groups are missing or of another space.
        StaleTableError: groups or nodes are older than the embeddings.
        ForeignDatabaseError: the database belongs to another home.
        LockTimeoutError: another run writes the graph.
    """
    with home.hold([locks.GRAPH], "writing groups of nodes"), recorded(home, space.id, [GROUPS]):
        started = time.monotonic()
        expected = read_groups(home, space.id, list_embeddings(home, space.id).coverage)
        state = check_space(check_owner(database, home), space)
        if not database.rows(cypher.HAS_GROUP_INDEX)[0]["indexes"]:
            database.schema(cypher.CREATE_GROUP_INDEX)
        rows = database.stream(cypher.READ_NODE_GROUPS, {"model": space.id})
        stored: dict[str, str | None] = {path: group for row in rows for path, group in row["nodes"]}
        if stored.keys() != expected.keys():
            raise StaleTableError(
                f"The graph has {len(stored):,} :Image nodes of {space.id}, the groups table {len(expected):,} "
                f"images, {len(stored.keys() & expected.keys()):,} of them the same",
                remedy="materialise `image_nodes` for all shards, or run `imgret run`",
            )
        changed = [path for path in sorted(expected) if stored[path] != expected[path]]
        if changed:
            with refreshing(home, database, state):
                for part in batches(changed, GROUP_ROWS):
                    updates = [{"path": path, "group": expected[path]} for path in part]
                    database.write((cypher.WRITE_NODE_GROUPS, {"rows": updates}))
        grouped = sum(group is not None for group in expected.values())
        return NodeGroupsReport(len(expected), grouped, len(changed), time.monotonic() - started)
