"""The state node of the graph: whose it is, of which model, and whether it is ready.

Belongs here: reading, checking and changing the state. Not here: nodes and relationships (`domain.graph.image_nodes`,
`domain.graph.similar_to`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError, ForeignDatabaseError, GraphRebuildingError, StaleTableError

DELETED_ROWS = 10_000

READY, REFRESHING, REBUILDING = "ready", "refreshing", "rebuilding"


@dataclass(frozen=True)
class GraphState:
    """Whose graph a database holds, and in which space."""

    home: str
    root: str | None
    model: str
    dim: int
    threshold: float | None
    state: str


def read_state(database: Database) -> GraphState | None:
    """The database's state; None where imgret has built nothing.

    Raises:
        ForeignDatabaseError: several homes have written there.
    """
    rows = database.rows(cypher.READ_STATE)
    if len(rows) > 1:
        raise ForeignDatabaseError(
            f"The database at {database.uri} carries the state of {len(rows)} homes",
            remedy="run `imgret db adopt --wipe`",
        )
    return GraphState(**rows[0]) if rows else None


def check_owner(database: Database, home: Home) -> GraphState | None:
    """The state, if the database is this home's or empty of images.

    Raises:
        ForeignDatabaseError: it holds another home's images, or images without a home.
    """
    state = read_state(database)
    if state is None:
        images = database.rows(cypher.COUNT_IMAGES)[0]["nodes"]
        if images:
            raise ForeignDatabaseError(
                f"The database at {database.uri} holds {images:,} :Image nodes that no imgret home put there",
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
    """Delete every :Image node and state, so that a home can build its graph here; returns the nodes deleted."""
    database.schema(cypher.DROP_VECTOR_INDEX)
    _drain(database, cypher.DELETE_ANY_RELATIONSHIPS, {}, "relationships_deleted")
    deleted = _drain(database, cypher.DELETE_OTHER_MODEL, {"model": ""}, "nodes_deleted")
    database.write(("MATCH (s:ImgretState) DELETE s", {}))
    return deleted


def _drain(database: Database, statement: str, parameters: dict[str, Any], counter: str) -> int:
    total = 0
    while True:
        [(counters, _)] = database.write((statement, {**parameters, "batch_rows": DELETED_ROWS}))
        deleted = getattr(counters, counter)
        total += deleted
        if not deleted:
            return total


def _mark_refreshing(home: Home, database: Database) -> None:
    said = {"home": home.record.id, "from_state": READY, "state": REFRESHING}
    database.write((cypher.MARK_STATE, said))


@contextmanager
def refreshing(home: Home, database: Database, state: GraphState) -> Iterator[None]:
    """Call the graph `refreshing` while the block writes to it, and `ready` afterwards where `state` says it was.

    A block that fails or is killed leaves it `refreshing`, until the next run's SIMILAR_TO are complete.
    """
    _mark_refreshing(home, database)
    yield
    if state.state == READY:
        database.write((cypher.MARK_STATE, {"home": home.record.id, "from_state": REFRESHING, "state": READY}))


def check_space(state: GraphState | None, space: EmbeddingSpace) -> GraphState:
    """The state, if the graph holds this space.

    Raises:
        StaleTableError: it holds another, or nothing.
    """
    if state is None or state.model != space.id:
        raise StaleTableError(
            f"The graph holds {state.model if state else 'nothing'}",
            expected=space.id,
            remedy="materialise `image_nodes` for all shards",
        )
    return state


def require_ready(state: GraphState | None, uri: str) -> GraphState:
    """The state, if there is something to ask.

    Raises:
        DatabaseError: nothing was built yet.
        GraphRebuildingError: it is being rebuilt for another space.
    """
    if state is None:
        raise DatabaseError(f"The database at {uri} holds no graph yet", remedy="run `imgret run` first")
    if state.state == REBUILDING:
        raise GraphRebuildingError(
            f"The graph is being rebuilt for {state.model}",
            remedy="wait for that run, or start it again if it was stopped",
        )
    return state
