"""What tests of the page share: a home with a listed library, and a database that answers from a table.

Belongs here: fakes and fixtures of the page. Not here: a real Neo4j (`server/`).
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pyarrow as pa
import pytest
import streamlit as st
from neo4j.exceptions import ServiceUnavailable

from imgret_assets.app import data_access
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.images.files import label_of, shard_of
from imgret_assets.domain.search.query import Answer, Hit, Query, QueryImage, Relation
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.settings import Settings
from imgret_tests.support.fakes import write_pictures


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
    """Lends fake databases, or refuses to; stands for the server behind `open_database`."""

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
        self.copies: list[tuple[str, str]] = []
        self.lent: list[FakeDatabase] = []

    @contextmanager
    def open(self, settings: Settings) -> Iterator[Database]:
        if self.failure is not None:
            raise self.failure
        answers = {
            cypher.READ_STATE: [self.state] if self.state else [],
            cypher.COUNT_IMAGES: [{"nodes": 12 if self.state else 0}],
            cypher.COUNT_SIMILAR_TO: [{"relationships": 3}],
            cypher.DUPLICATES_OF: [{"path": path, "duplicate": other} for path, other in self.copies],
        }
        database = FakeDatabase(answers)
        self.lent.append(database)
        yield cast("Database", database)
        database.closed = True


class FakeSearch:
    """Answers every query with the same hits, and notes what was asked."""

    def __init__(self) -> None:
        self.hits: list[Hit] = []
        self.itself: list[str] = []
        self.failure: Exception | None = None
        self.refreshing = False
        self.asked: list[tuple[QueryImage, Query]] = []

    def __call__(self, home: Home, image: QueryImage, query: Query, *, database: Database) -> Answer:
        self.asked.append((image, query))
        if self.failure is not None:
            raise self.failure
        return Answer(image.name, "fake-00000000", query.mode, 12.3, self.refreshing, self.hits, self.itself)


@pytest.fixture(autouse=True)
def _main_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that runs makes itself `__main__`, which processes that later tests spawn would import."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(autouse=True)
def _nothing_cached() -> Iterator[None]:
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


@pytest.fixture
def server(home: Home, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer(home)
    monkeypatch.setattr(data_access, "open_database", fake.open)
    return fake


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> FakeSearch:
    fake = FakeSearch()
    monkeypatch.setattr(data_access, "find_similar", fake)
    return fake


@pytest.fixture
def listed(home: Home) -> Callable[[list[str]], Home]:
    """Writes a home's manifest of usable paths."""

    def write(paths: list[str]) -> Home:
        shards: dict[str, list[str]] = {shard: [] for shard in home.shards}
        for path in paths:
            shards[shard_of(path, len(home.shards))].append(path)
        for shard, inside in shards.items():
            rows = [{"path": path, "label": label_of(path), "status": "ok"} for path in inside]
            tables.write(
                tables.manifest_path(home.warehouse, shard), pa.Table.from_pylist(rows, tables.MANIFEST_SCHEMA), {}
            )
        return home

    return write


@pytest.fixture
def library(home: Home, listed: Callable[[list[str]], Home]) -> list[str]:
    """Twelve pictures under the image root, listed in the manifest; their paths in order."""
    paths = sorted(write_pictures(home.images, 12))
    listed(paths)
    return paths


def hit(path: str, score: float, *relations: tuple[str, float, bool]) -> Hit:
    """A hit with its relations: the other path, the score, and whether it goes out."""
    made = tuple(Relation(other, value, label_of(other), outgoing) for other, value, outgoing in relations)
    return replace(Hit(path, score, label_of(path)), relations=made)
