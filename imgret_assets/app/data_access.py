"""The page's access to the home's graph and tables.

Belongs here: what the pages read over the connection that all sessions share. Not here: the connection
(`domain.graph.shared_connection`), statements and tables (`domain.search.relations`, `domain.graph.graph_state`,
`domain.images.library`), searching (`domain.search.find_similar`), drawing (`app.views`).
"""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from imgret_assets.app.graph_chart.neighbourhood import MAX_EDGES, RELATIONSHIPS_PER_IMAGE
from imgret_assets.domain.graph import graph_state
from imgret_assets.domain.graph.graph_state import GraphFacts
from imgret_assets.domain.graph.shared_connection import DatabaseHolder
from imgret_assets.domain.search import relations
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Answer, Hit, Query
from imgret_assets.domain.search.query_parts import QueryPart
from imgret_assets.domain.search.relations import NEAREST, Edge
from imgret_assets.domain.search.vector_cache import cached_vectors
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImgretError
from imgret_assets.settings import Settings


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


def search(home: Home, parts: Sequence[QueryPart], query: Query) -> Answer:
    """Return `find_similar` over the shared connection, unusable images left out; raise what it raises."""
    return database_holder(home.settings).use(
        lambda database: find_similar(home, parts, query, database=database, skip_unusable=True)
    )


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
            database, paths, min_score=min_score, limit_per_image=RELATIONSHIPS_PER_IMAGE, home=home
        )
    )


def read_relationships_among(home: Home, paths: Sequence[str]) -> list[Edge]:
    """Return the best relationships between images of `paths`; raise what `DatabaseHolder.use` raises."""
    return database_holder(home.settings).use(
        lambda database: relations.relationships_among(database, paths, limit=10 * MAX_EDGES, home=home)
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
    return scores[vectors.allowed_rows(excluded_paths=answer.query_paths)]
