"""The vector index over the :Image nodes: which one queries use, and keeping it as it should be.

Belongs here: finding, creating, replacing and dropping it. Not here: statements (`domain.graph.cypher`), querying it
(`domain.search.find_similar`), the nodes (`domain.graph.image_nodes`).
"""

from dataclasses import dataclass

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database

NAME = "image_embeddings"
# Serves queries while `NAME` is replaced. It has one property more: a server refuses two indexes over the same ones.
INTERIM_NAME = "image_embeddings_interim"
_INTERIM_PROPERTY = "shard"
_VECTOR_PROPERTY = "embeddings"
WAIT_S = 1800


@dataclass(frozen=True)
class VectorIndex:
    """A vector index of a database.

    Attributes:
        name: `NAME` or `INTERIM_NAME`.
        dim: length of its vectors.
        properties: of nodes, which it has beside the vectors and can filter by.
        state: the server's word: `ONLINE` if it can be queried, `POPULATING`, `FAILED`.
    """

    name: str
    dim: int
    properties: tuple[str, ...]
    state: str


def usable_index(database: Database) -> VectorIndex | None:
    """Return the index that can be queried now; None if there is none, or it is still being built."""
    online = {name: index for name, index in _read(database).items() if index.state == "ONLINE"}
    return online.get(NAME) or online.get(INTERIM_NAME)


def has_index(database: Database) -> bool:
    """Return True if there is an index of imgret's, whatever its state."""
    return bool(_read(database))


def ensure_index(database: Database, dim: int) -> None:
    """Create the index if it is missing, replace it if it has not the properties of all filters, and wait for it.

    Queries find an index at every moment of a replacement: it is built under another name, then takes over while the
    one of the right name is built. What a killed run has left is finished by the next.

    Raises:
        DatabaseError: the server can't create it, or has not built it in half an hour.
    """
    properties = cypher.INDEXED_PROPERTIES if database.has_search else ()
    interim_properties = (*properties, _INTERIM_PROPERTY)
    indexes = _read(database)
    for name, wanted in ((NAME, None), (INTERIM_NAME, interim_properties)):
        if name in indexes and not _is_usable(indexes[name], dim, wanted):
            database.schema(cypher.drop_vector_index(name))
            del indexes[name]
    if NAME in indexes and indexes[NAME].properties != properties:
        _create(database, INTERIM_NAME, dim, interim_properties)
        await_indexes(database)
        database.schema(cypher.drop_vector_index(NAME))
        _create(database, NAME, dim, properties)
        indexes[INTERIM_NAME] = indexes.pop(NAME)
    elif NAME not in indexes:
        _create(database, NAME, dim, properties)
    await_indexes(database)
    if INTERIM_NAME in indexes:
        database.schema(cypher.drop_vector_index(INTERIM_NAME))


def drop_index(database: Database) -> None:
    """Remove the index, and the one that a killed replacement has left."""
    for name in (NAME, INTERIM_NAME):
        database.schema(cypher.drop_vector_index(name))


def drop_index_of_other_dim(database: Database, dim: int) -> None:
    """Remove the index if its vectors have another length."""
    if any(index.dim != dim for index in _read(database).values()):
        drop_index(database)


def _read(database: Database) -> dict[str, VectorIndex]:
    indexes = [
        VectorIndex(
            row["name"], row["dim"], tuple(name for name in row["properties"] if name != _VECTOR_PROPERTY), row["state"]
        )
        for row in database.rows(cypher.SHOW_VECTOR_INDEXES)
    ]
    return {index.name: index for index in indexes if index.name in (NAME, INTERIM_NAME)}


def _is_usable(index: VectorIndex, dim: int, properties: tuple[str, ...] | None) -> bool:
    """Return False for an index that can't serve queries, now or later."""
    return index.state != "FAILED" and index.dim == dim and properties in (None, index.properties)


def _create(database: Database, name: str, dim: int, properties: tuple[str, ...]) -> None:
    options = {"indexConfig": {"vector.dimensions": dim, "vector.similarity_function": "cosine"}}
    database.schema(cypher.create_vector_index(name, properties), {"options": options})


def await_indexes(database: Database) -> None:
    """Wait until all indexes of the database can be queried.

    Raises:
        DatabaseError: they can't in half an hour.
    """
    database.rows(cypher.AWAIT_INDEXES, {"timeout_s": WAIT_S})
