"""How much a database may hold, for those that refuse more, such as Neo4j Aura's free ones.

Belongs here: counting before anything is written. Not here: what is written (`domain.graph.image_nodes`,
`domain.graph.similar_to`, `domain.graph.relationship_sync`).
"""

from collections.abc import Sequence

from imgret_assets.domain.embeddings.table_reader import usable_rows
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.relationship_kinds import RelationshipKind
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError


def check_nodes(home: Home, database: Database, space: str, shards: Sequence[str]) -> None:
    """Check that the shards' images fit beside all other nodes of the database, if a limit is set.

    Raises:
        DatabaseError: they don't.
        TableError, StaleTableError: a shard's tables are missing or don't belong together.
    """
    limit = home.settings.neo4j.max_nodes
    if limit is None:
        return
    images = sum(usable_rows(home, space, shard).num_rows for shard in shards)
    others = int(database.rows(cypher.COUNT_NODES_OF_OTHER_SHARDS, {"shards": list(shards)})[0]["nodes"])
    if images + others > limit:
        raise DatabaseError(
            f"{images:,} images need a node each, the database has {others:,} other nodes, and IMGRET_NEO4J_MAX_NODES "
            f"is {limit:,}: nothing was written",
            remedy="use a larger database, or an image folder with fewer images",
        )


def check_relationships(home: Home, database: Database, kind: RelationshipKind, expected: int) -> None:
    """Check that relationships of a kind fit beside all others of the database, if a limit is set.

    Args:
        home: the home.
        database: the graph.
        kind: which relationships.
        expected: how many of the kind there are to be.

    Raises:
        DatabaseError: they don't.
    """
    limit = home.settings.neo4j.max_relationships
    if limit is None:
        return
    total = int(database.rows(cypher.COUNT_RELATIONSHIPS)[0]["relationships"])
    others = total - int(database.rows(cypher.RELATIONSHIPS[kind.name].count)[0]["relationships"])
    if expected + others > limit:
        raise DatabaseError(
            f"{expected:,} {kind.name} relationships are to be written, the database has {others:,} others, and "
            f"IMGRET_NEO4J_MAX_RELATIONSHIPS is {limit:,}: nothing was written",
            remedy="raise the threshold (`imgret run --threshold`), keep the best pairs of each image alone "
            "(IMGRET_MAX_NEIGHBOURS), or use a larger database",
        )
