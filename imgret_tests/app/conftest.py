"""Fixtures of the page's tests: a home with a listed library, a fake database and a fake search.

Belongs here: fixtures. Not here: the fakes themselves (`support/fake_search.py`), a real Neo4j (`server/`).
"""

import sys
from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa
import pytest
import streamlit as st

from imgret_assets.app import data_access
from imgret_assets.domain.graph import shared_connection
from imgret_assets.domain.images.files import label_of, shard_of
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.table_metadata import ManifestMetadata
from imgret_tests.support.fake_search import FakeSearch, FakeServer
from imgret_tests.support.pictures import write_pictures


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
def home_environment(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page opens `home`: it reads its settings from the environment."""
    monkeypatch.setenv("IMGRET_IMAGES", str(home.images))
    monkeypatch.setenv("IMGRET_SHARDS", str(home.record.shards))


@pytest.fixture
def server(home: Home, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer(home)
    monkeypatch.setattr(shared_connection, "open_database", fake.open)
    return fake


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> FakeSearch:
    fake = FakeSearch()
    monkeypatch.setattr(data_access, "find_similar", fake)
    return fake


@pytest.fixture
def listed(home: Home) -> Callable[..., Home]:
    """Writes a home's manifest of usable paths; `shots` are further columns by path."""

    def write(paths: list[str], shots: Mapping[str, Mapping[str, object]] | None = None) -> Home:
        shards: dict[str, list[str]] = {shard: [] for shard in home.shards}
        for path in paths:
            shards[shard_of(path, len(home.shards))].append(path)
        for shard, inside in shards.items():
            rows = [
                {
                    "path": path,
                    "label": label_of(path),
                    "status": "ok",
                    "sha256": f"sha-{path}",
                    **(shots or {}).get(path, {}),
                }
                for path in inside
            ]
            metadata = ManifestMetadata(root=str(home.images)).as_metadata()
            listed_rows = pa.Table.from_pylist(rows, tables.MANIFEST_SCHEMA)
            tables.write(tables.manifest_path(home.warehouse, shard), listed_rows, metadata)
        return home

    return write


@pytest.fixture
def library(home: Home, listed: Callable[[list[str]], Home]) -> list[str]:
    """Twelve pictures under the image root, listed in the manifest; their paths in order."""
    paths = sorted(write_pictures(home.images, 12))
    listed(paths)
    return paths
