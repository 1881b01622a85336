"""The state node of the graph: whose graph it is, of which model, and whether it is ready.

Belongs here: reading, checking and changing the state; the counts that go with it. Not here: nodes and relationships
(`domain.graph.image_nodes`, `domain.graph.similar_to`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.vector_index import drop_index
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError, ForeignDatabaseError, GraphRebuildingError, StaleTableError

# Rows that one transaction deletes.
DELETED_ROWS = 10_000

READY, REFRESHING, REBUILDING = "ready", "refreshing", "rebuilding"
# Filled by `neo4j-admin database import`: complete, but without constraints and indexes.
IMPORTED = "imported"


@dataclass(frozen=True)
class GraphState:
    """The home whose graph a database holds, the embedding space, and whether it is ready.

    `vectors` is True where all nodes have their vectors. Otherwise queries read the vectors of the tables.
    """

    home: str
    root: str | None
    model: str
    dim: int
    threshold: float | None
    state: str
    vectors: bool = True


@dataclass(frozen=True)
class GraphFacts:
    """Numbers of nodes and of SIMILAR_TO relationships, and the state."""

    images: int
    relations: int
    state: GraphState


def read_state(database: Database) -> GraphState | None:
    """Return the database's state; None if imgret has built nothing there.

    Raises:
        ForeignDatabaseError: several homes have written there.
    """
    rows = database.rows(cypher.READ_STATE)
    if len(rows) > 1:
        raise ForeignDatabaseError(
            f"The database at {database.uri} has the state of {len(rows)} homes",
            remedy="run `imgret db adopt --wipe`",
        )
    return GraphState(**rows[0]) if rows else None


def read_facts(home: Home, database: Database) -> GraphFacts:
    """Return the counts and the state of this home's graph.

    Raises:
        DatabaseError: there is no graph of this home.
        GraphRebuildingError: it is being rebuilt for another space.
        ForeignDatabaseError: the database belongs to another home.
    """
    state = require_ready(check_owner(database, home), database.uri)
    images = database.rows(cypher.COUNT_IMAGES)[0]["nodes"]
    return GraphFacts(images, database.rows(cypher.COUNT_SIMILAR_TO)[0]["relationships"], state)


def check_owner(database: Database, home: Home) -> GraphState | None:
    """Return the state if the database belongs to this home or is empty of images.

    Raises:
        ForeignDatabaseError: it holds images of another home, or images that no home has written.
    """
    state = read_state(database)
    if state is None:
        images = database.rows(cypher.COUNT_IMAGES)[0]["nodes"]
        if images:
            raise ForeignDatabaseError(
                f"The database at {database.uri} holds {images:,} :Image nodes that no imgret home has written",
                expected="an empty database, or this home's graph",
                remedy="use another database, or `imgret db adopt --wipe`, which deletes them",
            )
    elif state.home != home.record.id:
        raise ForeignDatabaseError(
            f"The database at {database.uri} holds the graph of another home (built from {state.root})",
            expected=f"the graph of {home.path}",
            remedy="use another database, or `imgret db adopt --wipe`, which deletes it",
        )
    return state


def adopt(database: Database) -> int:
    """Delete every :Image node and state, so that a home can build its graph there; return the number of nodes."""
    drop_index(database)
    delete_in_batches(database, cypher.DELETE_ANY_RELATIONSHIPS, {}, "relationships_deleted")
    deleted = delete_in_batches(database, cypher.DELETE_OTHER_MODEL, {"model": ""}, "nodes_deleted")
    database.write((cypher.DELETE_STATE, {}))
    return deleted


def delete_in_batches(database: Database, statement: str, parameters: Mapping[str, Any], counter: str) -> int:
    """Send a statement that deletes up to `$batch_rows` rows until it deletes none; return how many were deleted.

    Args:
        database: the graph.
        statement: what to send.
        parameters: its parameters besides `batch_rows`.
        counter: the server's counter of what it deletes, such as `nodes_deleted`.
    """
    total = 0
    while True:
        [(counters, _)] = database.write((statement, {**parameters, "batch_rows": DELETED_ROWS}))
        deleted = getattr(counters, counter)
        total += deleted
        if not deleted:
            return total


def mark_refreshing(home: Home, database: Database) -> None:
    """Change the state from `ready` to `refreshing`, before something is written."""
    parameters = {"home": home.record.id, "from_state": READY, "state": REFRESHING}
    database.write((cypher.MARK_STATE, parameters))


@contextmanager
def refreshing(home: Home, database: Database, state: GraphState) -> Iterator[None]:
    """Mark the graph as `refreshing` while the block writes to it, and as `ready` afterwards if `state` was that.

    A block that fails or is killed leaves it `refreshing`, until the next run's SIMILAR_TO are complete.
    """
    mark_refreshing(home, database)
    yield
    if state.state == READY:
        database.write((cypher.MARK_STATE, {"home": home.record.id, "from_state": REFRESHING, "state": READY}))


def check_space(state: GraphState | None, space: EmbeddingSpace) -> GraphState:
    """Return the state if the graph holds this space.

    Raises:
        StaleTableError: it holds another space, or nothing.
    """
    if state is None or state.model != space.id:
        raise StaleTableError(
            f"The graph holds {state.model if state else 'nothing'}",
            expected=space.id,
            remedy="materialise `image_nodes` for all shards",
        )
    if state.state == IMPORTED:
        raise StaleTableError(
            "The graph was imported and has no indexes yet", remedy="materialise `image_nodes`, or run `imgret run`"
        )
    return state


def require_ready(state: GraphState | None, uri: str) -> GraphState:
    """Return the state if there is a graph to query.

    Raises:
        DatabaseError: nothing was built yet, or the graph was imported and no run has made its indexes.
        GraphRebuildingError: it is being rebuilt for another space.
    """
    if state is None:
        raise DatabaseError(f"The database at {uri} holds no graph yet", remedy="run `imgret run` first")
    if state.state == IMPORTED:
        raise DatabaseError(
            f"The graph at {uri} was imported and has no indexes yet",
            remedy="run `imgret run`, which makes them and compares the graph with the tables",
        )
    if state.state == REBUILDING:
        raise GraphRebuildingError(
            f"The graph is being rebuilt for {state.model}",
            remedy="wait for that run, or start it again if it was stopped",
        )
    return state
