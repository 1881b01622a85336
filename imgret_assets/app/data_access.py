"""The page's access to the home's graph and tables.

Belongs here: one connection for all views, opened again after it broke, and what is cached for them. Not here:
statements and tables (`domain.search.relations`, `domain.graph.graph_state`, `domain.images.library`), finding
(`domain.search.find_similar`), drawing (`app.views.search_page`).
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

import numpy as np
import streamlit as st

from imgret_assets.app.graph_chart.neighbourhood import BEST_OF_EACH, MAX_LINKS
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


def read_facts(home: Home) -> GraphFacts:
    """Return the counts and the state of the home's graph.

    Raises:
        DatabaseError: there is no graph of this home, it is being rebuilt, or the server can't be reached.
        ServerError: the embedded server can't be started.
    """
    return database_holder(home.settings).use(lambda database: graph_state.read_facts(home, database))


def ask(home: Home, image: QueryImage, query: Query) -> Answer:
    """`find_similar` over the shared connection; raises what it raises."""
    return database_holder(home.settings).use(lambda database: find_similar(home, image, query, database=database))


def read_copies(home: Home, hits: Sequence[Hit]) -> list[tuple[str, str]]:
    """Return the pairs of duplicates with a hit among them; raise what `DatabaseHolder.use` raises."""
    paths = [hit.path for hit in hits]
    return database_holder(home.settings).use(lambda database: relations.duplicates_of(database, paths))


def read_relations(home: Home, paths: Sequence[str], least: float) -> tuple[list[Edge], dict[str, int]]:
    """Return the best relationships of some images with a score of at least `least`, and how many each image has.

    Relationships without a score are always included. Raises what `DatabaseHolder.use` raises.
    """
    return database_holder(home.settings).use(
        lambda database: relations.best_relationships(database, paths, min_score=least, limit_per_image=BEST_OF_EACH)
    )


def read_among(home: Home, paths: Sequence[str]) -> list[Edge]:
    """Return the best relationships among some images; raise what `DatabaseHolder.use` raises."""
    return database_holder(home.settings).use(
        lambda database: relations.relationships_among(database, paths, limit=10 * MAX_LINKS)
    )


def read_nearest(home: Home, space: str, path: str, count: int) -> list[Edge]:
    """An image's nearest neighbours, joined or not; none where the tables don't allow it just now."""
    try:
        found = cached_vectors(home, space).nearest_of(path, count)
    except ImgretError:
        return []
    return [Edge(path, other, score, NEAREST) for other, score in found]


def read_nearest_among(home: Home, space: str, paths: Sequence[str], count: int) -> list[Edge]:
    """Of some images each one's nearest among the others; none where the tables don't allow it just now."""
    try:
        found = cached_vectors(home, space).nearest_among(paths, count)
    except ImgretError:
        return []
    return [Edge(*pair, NEAREST) for pair in found]


def all_scores(home: Home, answer: Answer) -> np.ndarray | None:
    """Cosines of all images but the query itself, float32 (n,); None where the tables don't allow it just now."""
    if answer.vector is None:
        return None
    try:
        collection = cached_vectors(home, answer.model)
    except ImgretError:
        return None
    scores = collection.cosines(answer.vector)
    return scores[collection.allowed_rows(label=None, excluded_paths=answer.query_paths)]


def read_library(home: Home) -> Library:
    """Return the images of the manifest, read again when it has changed; none if no run has listed them yet.

    Raises:
        TableError: a manifest is damaged.
    """
    return _read_library(library.library_stamp(home), home)


@st.cache_resource(show_spinner=False, max_entries=2)
def _read_library(stamp: library.Stamp, _home: Home) -> Library:
    del stamp
    return library.read_library(_home)
