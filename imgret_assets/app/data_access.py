"""The page's access to the home's graph and tables.

Belongs here: one connection for all sessions, opened again after it broke, and what is cached for them. Not here:
statements and tables (`domain.search.relations`, `domain.graph.graph_state`, `domain.images.library`), searching
(`domain.search.find_similar`), drawing (`app.views`).
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

import numpy as np
import streamlit as st

from imgret_assets.app.graph_chart.neighbourhood import MAX_EDGES, RELATIONSHIPS_PER_IMAGE
from imgret_assets.domain.graph import graph_state
from imgret_assets.domain.graph.connection import Database, open_database
from imgret_assets.domain.graph.graph_state import GraphFacts
from imgret_assets.domain.images import library
from imgret_assets.domain.images.library import Library
from imgret_assets.domain.search import relations
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Answer, Hit, Query, QueryImage
from imgret_assets.domain.search.relations import NEAREST, Edge
from imgret_assets.domain.search.vector_cache import cached_vectors
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
        """Return what `work` makes of the connection; a broken connection is replaced first.

        Raises:
            DatabaseError: there is no graph, or the server can't be reached.
            ServerError: the embedded server can't be started.
        """
        from neo4j.exceptions import DriverError

        database = self._open()
        try:
            return work(database)
        except DriverError as error:
            # The only one of the driver's errors left: another session found the connection broken and closed it.
            raise DatabaseError(f"The connection to {database.uri} was lost ({error})", remedy="try again") from error

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        with self._lock:
            self._close()

    def _open(self) -> Database:
        # Not under the lock: sessions would wait for one another's round trip to the server.
        found = self._database
        if found is not None and _is_alive(found):
            return found
        with self._lock:
            # Another session may have opened a new connection in the meantime.
            if self._database is found:
                self._close()
            if self._database is None:
                self._database = self._stack.enter_context(open_database(self._settings))
            return self._database

    def _close(self) -> None:
        self._database = None
        self._stack.close()


def _is_alive(database: Database) -> bool:
    """Return True if the server answers: a query to a server that is down would be retried for half a minute."""
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
    """Return the holder of the connection for these settings."""
    return DatabaseHolder(settings)


def read_facts(home: Home) -> GraphFacts:
    """Return the counts and the state of the home's graph.

    Raises:
        DatabaseError: there is no graph of this home, it is being rebuilt, or the server can't be reached.
        ServerError: the embedded server can't be started.
    """
    return database_holder(home.settings).use(lambda database: graph_state.read_facts(home, database))


def search(home: Home, image: QueryImage, query: Query) -> Answer:
    """Return `find_similar` over the shared connection; raise what it raises."""
    return database_holder(home.settings).use(lambda database: find_similar(home, image, query, database=database))


def read_duplicates(home: Home, hits: Sequence[Hit]) -> list[tuple[str, str]]:
    """Return the pairs of duplicates with a hit among them; raise what `DatabaseHolder.use` raises."""
    paths = [hit.path for hit in hits]
    return database_holder(home.settings).use(lambda database: relations.duplicates_of(database, paths))


def read_relationships(home: Home, paths: Sequence[str], min_score: float) -> tuple[list[Edge], dict[str, int]]:
    """Return the best relationships of images with a score of at least `min_score`, and how many each image has.

    Relationships of a kind without a score are always included. Raises what `DatabaseHolder.use` raises.
    """
    return database_holder(home.settings).use(
        lambda database: relations.best_relationships(
            database, paths, min_score=min_score, limit_per_image=RELATIONSHIPS_PER_IMAGE
        )
    )


def read_relationships_among(home: Home, paths: Sequence[str]) -> list[Edge]:
    """Return the best relationships between images of `paths`; raise what `DatabaseHolder.use` raises."""
    return database_holder(home.settings).use(
        lambda database: relations.relationships_among(database, paths, limit=10 * MAX_EDGES)
    )


def read_nearest(home: Home, space: str, path: str, count: int) -> list[Edge]:
    """Return an image's nearest neighbours, related or not; none while the tables can't be used."""
    try:
        neighbours = cached_vectors(home, space).nearest_of(path, count)
    except ImgretError:
        return []
    return [Edge(path, neighbour, score, NEAREST) for neighbour, score in neighbours]


def read_nearest_among(home: Home, space: str, paths: Sequence[str], count: int) -> list[Edge]:
    """Return the nearest neighbours of each image among the others of `paths`; none while the tables can't be used."""
    try:
        pairs = cached_vectors(home, space).nearest_among(paths, count)
    except ImgretError:
        return []
    return [Edge(path, neighbour, score, NEAREST) for path, neighbour, score in pairs]


def compute_all_scores(home: Home, answer: Answer) -> np.ndarray | None:
    """Return the scores of all images but the query image, float32 (n,); None while the tables can't be used."""
    if answer.vector is None:
        return None
    try:
        vectors = cached_vectors(home, answer.model)
    except ImgretError:
        return None
    scores = vectors.approximate_cosines(answer.vector)
    return scores[vectors.allowed_rows(label=None, excluded_paths=answer.query_paths)]


def read_library(home: Home) -> Library:
    """Return the images of the manifest, read again when it has changed; none if no run has listed them yet.

    Raises:
        TableError: a manifest is damaged.
    """
    return _read_library(library.library_stamp(home), home)


@st.cache_resource(show_spinner=False, max_entries=2)
def _read_library(stamp: tables.Stamp, _home: Home) -> Library:
    del stamp
    return library.read_library(_home)
