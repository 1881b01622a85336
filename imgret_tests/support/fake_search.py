"""Fakes of the database and the search for tests of the page, and the page drawn over them.

Belongs here: a database that answers from a table, a search that always finds the same hits. Not here: fixtures
(`app/conftest.py`), a real Neo4j (`support/neo4j_server.py`).
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from neo4j.exceptions import ServiceUnavailable
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.images.files import label_of
from imgret_assets.domain.search.query import Answer, Hit, Query, QueryImage, Relation
from imgret_assets.domain.search.query_parts import QueryPart, is_plain, query_name
from imgret_assets.domain.storage.home import Home
from imgret_assets.settings import Settings


class FakeDatabase:
    """Answers statements from a table, and can break."""

    uri = "bolt://fake:7687"

    def __init__(self, answers: Mapping[str, list[dict[str, Any]]]) -> None:
        self.answers = dict(answers)
        self.broken = False
        self.closed = False

    @property
    def driver(self) -> "FakeDatabase":
        return self

    def verify_connectivity(self) -> None:
        if self.broken:
            raise ServiceUnavailable("lost")

    def rows(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        return self.answers[statement]


class FakeServer:
    """Opens fake databases, or refuses to; stands for the server behind `open_database`."""

    def __init__(self, home: Home) -> None:
        self.state: dict[str, Any] | None = {
            "home": home.record.id,
            "root": str(home.images),
            "model": "fake-00000000",
            "dim": 48,
            "threshold": 0.8,
            "state": "ready",
        }
        self.failure: Exception | None = None
        self.duplicates: list[tuple[str, str]] = []
        self.relationships: list[dict[str, Any]] = []
        self.opened: list[FakeDatabase] = []

    @contextmanager
    def open(self, settings: Settings) -> Iterator[Database]:
        if self.failure is not None:
            raise self.failure
        answers = {
            cypher.READ_STATE: [self.state] if self.state else [],
            cypher.COUNT_IMAGES: [{"nodes": 12 if self.state else 0}],
            cypher.COUNT_SIMILAR_TO: [{"relationships": 3}],
            cypher.BEST_RELATIONSHIPS_OF: self.relationships,
            cypher.DUPLICATES_OF: [{"path": path, "duplicate": other} for path, other in self.duplicates],
        }
        database = FakeDatabase(answers)
        self.opened.append(database)
        yield cast("Database", database)
        database.closed = True


class FakeSearch:
    """Answers every query with the same hits, and records the queries: first image, if any, all parts, settings."""

    def __init__(self) -> None:
        self.hits: list[Hit] = []
        self.query_paths: list[str] = []
        self.failure: Exception | None = None
        self.refreshing = False
        self.queries: list[tuple[QueryImage, Query]] = []
        self.parts: list[list[QueryPart]] = []

    def __call__(
        self, home: Home, parts: Sequence[QueryPart], query: Query, *, database: Database, skip_unusable: bool
    ) -> Answer:
        first = parts[0].source
        if isinstance(first, QueryImage):
            self.queries.append((first, query))
        self.parts.append(list(parts))
        if self.failure is not None:
            raise self.failure
        described = [] if is_plain(parts) else [part.as_json() for part in parts]
        facts = (self.refreshing, self.hits, self.query_paths)
        return Answer(query_name(parts), "fake-00000000", query.mode, 12.3, *facts, parts=described)


def hit(path: str, score: float, *relations: tuple[str, float, bool]) -> Hit:
    """Return a hit with its relations: the other path, the score, and whether the relation goes out from the hit."""
    related = tuple(Relation(other, value, label_of(other), outgoing) for other, value, outgoing in relations)
    return Hit(path, score, label_of(path), relations=related)


# A server looks for installed components once. AppTest does so for every page, which takes longer than most pages.
manifest_scanner.scan_component_manifests = functools.cache(manifest_scanner.scan_component_manifests)


def page_test(name: str) -> AppTest:
    """Return a test of the page of this name: with the menu and all links, opened at that page."""
    return AppTest.from_function(_run_page, default_timeout=60, kwargs={"name": name})


def _run_page(name: str) -> None:
    # Streamlit runs this function's source as a script of its own: it sees nothing of this module.
    from imgret_assets.app.navigation import run_page
    from imgret_assets.app.page_list import PAGES

    run_page(sorted(PAGES, key=lambda page: page.name != name))
