"""The node property `group`: kept equal to the groups table, by difference.

Belongs here: comparing table and nodes, writing what differs, the statements. Not here: the groups themselves
(`domain.analysis.groups_table`), all other properties (`domain.graph.image_nodes`).

An image that is alone has no group: its property is absent. Nodes' other properties are not touched, and those who
write them don't touch this one.
"""

import time
from dataclasses import dataclass

from imgret_assets.domain.analysis.groups_table import read_groups
from imgret_assets.domain.embeddings.table_reader import list_embeddings
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.graph_state import check_owner, check_space, refreshing
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.storage import locks
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import StaleTableError

GROUP_ROWS = 10_000

HAS_GROUP_INDEX = "SHOW INDEXES YIELD name WHERE name = 'image_group' RETURN count(*) AS found"
CREATE_GROUP_INDEX = "CREATE INDEX image_group IF NOT EXISTS FOR (n:Image) ON (n.group)"
# Lists, a row for every two first digits of their contents (see `cypher.READ_NODES`).
READ_NODE_GROUPS = """
MATCH (n:Image) WHERE n.model = $model
WITH left(toStringOrNull(n.sha256), 2) AS digits, collect([n.path, n.group]) AS nodes
RETURN nodes
"""
# To set a property to null is to remove it.
WRITE_NODE_GROUPS = """
UNWIND $rows AS row
MATCH (n:Image {path: row.path})
SET n.group = row.group
RETURN count(n) AS written
"""


@dataclass(frozen=True)
class NodeGroupsReport:
    """What a refresh of the property did: nodes looked at, of them in a group, changed."""

    nodes: int
    grouped: int
    changed: int
    seconds: float

    @property
    def summary(self) -> str:
        """What was done, in a line."""
        there = f"{self.grouped:,} of {self.nodes:,} nodes are in a group"
        if not self.changed:
            return f"{there}, as the groups table says: nothing was written to Neo4j."
        return f"{there}: {self.changed:,} changed in {self.seconds:.1f} s."


def sync_groups(home: Home, database: Database, space: EmbeddingSpace) -> NodeGroupsReport:
    """Make the property `group` of all :Image nodes equal to the groups table; writes only what differs.

    Raises:
        TableError: the groups are missing or of another space.
        StaleTableError: groups or nodes are older than the embeddings.
        ForeignDatabaseError: the database is another home's.
        LockTimeoutError: another run writes the graph.
    """
    with home.hold([locks.GRAPH], "writing groups of nodes"):
        started = time.monotonic()
        wanted = read_groups(home, space.id, list_embeddings(home, space.id).coverage)
        state = check_space(check_owner(database, home), space)
        if not database.rows(HAS_GROUP_INDEX)[0]["found"]:
            database.schema(CREATE_GROUP_INDEX)
        stored = database.stream(READ_NODE_GROUPS, {"model": space.id})
        there: dict[str, str | None] = {path: group for row in stored for path, group in row["nodes"]}
        if there.keys() != wanted.keys():
            raise StaleTableError(
                f"The graph has {len(there):,} :Image nodes of {space.id}, the groups table {len(wanted):,} images, "
                f"{len(there.keys() & wanted.keys()):,} of them the same",
                remedy="materialise `image_nodes` for all shards, or run `imgret run`",
            )
        wrong = [path for path in sorted(wanted) if there[path] != wanted[path]]
        if wrong:
            with refreshing(home, database, state):
                for part in batches(wrong, GROUP_ROWS):
                    rows = [{"path": path, "group": wanted[path]} for path in part]
                    database.write((WRITE_NODE_GROUPS, {"rows": rows}))
        grouped = sum(group is not None for group in wanted.values())
        return NodeGroupsReport(len(wanted), grouped, len(wrong), time.monotonic() - started)
