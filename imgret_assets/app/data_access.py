"""The page's way to the home's graph and tables.

Belongs here: one connection for all views, opened again when it broke; what the header says; what can be picked.
Not here: finding (`domain.search.find_similar`), drawing (`app.views.search_page`).
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import streamlit as st

from imgret_assets.app.graph_chart.neighbourhood import BEST_OF_EACH, MAX_LINKS, NEAREST, Edge
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database, open_database
from imgret_assets.domain.graph.graph_state import GraphState, check_owner, require_ready
from imgret_assets.domain.images.decode import Status
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Answer, Hit, Query, QueryImage
from imgret_assets.domain.search.vector_cache import load_collection
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError, ImgretError
from imgret_assets.settings import Settings

Result = TypeVar("Result")


class DatabaseHolder:
    """One open connection, shared by all sessions of the page."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._database: Database | None = None

    def use(self, work: Callable[[Database], Result]) -> Result:
        """Do something with the connection, a new one where the old one broke.

        Raises:
            DatabaseError: there is no graph, or the server can't be asked.
            ServerError: the embedded server can't be started.
        """
        from neo4j.exceptions import DriverError

        database = self._lend()
        try:
            return work(database)
        except DriverError as error:
            # Of the driver's errors this one is left: another session found the connection broken and closed it.
            raise DatabaseError(f"The connection to {database.uri} was lost ({error})", remedy="ask again") from error

    def close(self) -> None:
        """Close the connection; a later use opens another."""
        with self._lock:
            self._close()

    def _lend(self) -> Database:
        with self._lock:
            if self._database is not None and not _is_alive(self._database):
                self._close()
            if self._database is None:
                self._database = self._stack.enter_context(open_database(self._settings))
            return self._database

    def _close(self) -> None:
        self._database = None
        self._stack.close()


def _is_alive(database: Database) -> bool:
    """Whether the server answers; asked first, because a query to a dead one is tried again for half a minute."""
    from neo4j.exceptions import DriverError, Neo4jError

    try:
        database.driver.verify_connectivity()
    except (DriverError, Neo4jError):
        return False
    return True


@st.cache_resource(
    show_spinner=False, max_entries=4, hash_funcs={Settings: hash}, on_release=lambda holder: holder.close()
)
def database_holder(settings: Settings) -> DatabaseHolder:
    """The holder of these settings' connection."""
    return DatabaseHolder(settings)


@dataclass(frozen=True)
class GraphFacts:
    """What there is to ask: counts, and whose graph in which space."""

    images: int
    relations: int
    state: GraphState


def read_facts(home: Home) -> GraphFacts:
    """What the graph holds.

    Raises:
        DatabaseError: there is no graph of this home, it is being rebuilt, or the server can't be asked.
        ServerError: the embedded server can't be started.
    """

    def read(database: Database) -> GraphFacts:
        state = require_ready(check_owner(database, home), database.uri)
        return GraphFacts(
            database.rows(cypher.COUNT_IMAGES)[0]["nodes"],
            database.rows(cypher.COUNT_RELATIONSHIPS)[0]["relationships"],
            state,
        )

    return database_holder(home.settings).use(read)


def ask(home: Home, image: QueryImage, query: Query) -> Answer:
    """`find_similar` over the shared connection; raises what it raises."""
    return database_holder(home.settings).use(lambda database: find_similar(home, image, query, database=database))


def _rows(home: Home, statement: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of a statement over the shared connection; raises what `DatabaseHolder.use` raises."""
    return database_holder(home.settings).use(lambda database: database.rows(statement, parameters))


def read_copies(home: Home, hits: Sequence[Hit]) -> list[tuple[str, str]]:
    """Pairs of copies (DUPLICATE_OF) with a hit among them; raises what `DatabaseHolder.use` raises."""
    parameters = {"paths": [hit.path for hit in hits]}
    rows = _rows(home, cypher.COPIES_OF, parameters)
    return [(row["path"], row["other"]) for row in rows]


def read_relations(home: Home, paths: Sequence[str], least: float) -> tuple[list[Edge], dict[str, int]]:
    """The best relations of some images with a score of at least `least`, and how many each has; copies always.

    Raises what `DatabaseHolder.use` raises.
    """
    parameters = {"paths": list(paths), "best": BEST_OF_EACH, "least": least}
    rows = _rows(home, cypher.BEST_RELATIONS_OF, parameters)
    edges = [Edge(**one) for row in rows for one in row["relations"]]
    return edges, {row["path"]: row["total"] for row in rows}


def read_among(home: Home, paths: Sequence[str]) -> list[Edge]:
    """Relations among some images, copies too, the best ones; raises what `DatabaseHolder.use` raises."""
    parameters = {"paths": list(paths), "limit": 10 * MAX_LINKS}
    rows = _rows(home, cypher.RELATIONS_AMONG, parameters)
    return [Edge(**row) for row in rows]


def read_nearest(home: Home, space: str, path: str, count: int) -> list[Edge]:
    """An image's nearest neighbours, joined or not; none where the tables don't allow it just now."""
    try:
        found = load_collection(home, space).nearest_of(path, count)
    except ImgretError:
        return []
    return [Edge(path, other, score, NEAREST) for other, score in found]


def read_nearest_among(home: Home, space: str, paths: Sequence[str], count: int) -> list[Edge]:
    """Of some images each one's nearest among the others; none where the tables don't allow it just now."""
    try:
        found = load_collection(home, space).nearest_among(paths, count)
    except ImgretError:
        return []
    return [Edge(*pair, NEAREST) for pair in found]


def all_scores(home: Home, answer: Answer) -> np.ndarray | None:
    """Cosines of all images but the query itself, float32 (n,); None where the tables don't allow it just now."""
    if answer.vector is None:
        return None
    try:
        collection = load_collection(home, answer.model)
    except ImgretError:
        return None
    scores = collection.cosines(answer.vector)
    return scores[collection.allowed(label=None, leave_out=answer.itself)]


@dataclass(frozen=True)
class Library:
    """What can be picked: usable paths in order, and the labels among them."""

    paths: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def spread(self, count: int) -> list[str]:
        """A few paths, evenly over the library, so that they come from many folders."""
        shown = min(count, len(self.paths))
        return [self.paths[(2 * i + 1) * len(self.paths) // (2 * shown)] for i in range(shown)]


def read_library(home: Home) -> Library:
    """The pictures of the manifest; none where no run has listed them yet.

    Raises:
        TableError: a manifest is damaged.
    """
    files = [tables.manifest_path(home.warehouse, shard) for shard in home.shards]
    stamp = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())
    return _read_library(stamp, home)


@st.cache_resource(show_spinner=False, max_entries=2)
def _read_library(stamp: tuple[tuple[str, int, int], ...], _home: Home) -> Library:
    del stamp
    paths: list[str] = []
    labels: set[str] = set()
    for shard in _home.shards:
        file = tables.manifest_path(_home.warehouse, shard)
        if file.is_file():
            table = tables.read(file, ["path", "label", "status"])
            usable = tables.where_equal(table, "status", Status.OK)
            paths += usable["path"].to_pylist()
            labels.update(label for label in usable["label"].to_pylist() if label is not None)
    return Library(tuple(sorted(paths)), tuple(sorted(labels)))
