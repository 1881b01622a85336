"""A served home: its tables are built over a few pictures, its database and its search are fakes.

Belongs here: fixtures. Not here: the fakes themselves (`support/fake_search.py`, `support/api_server.py`), a real graph
(`docs/test_api_examples.py`).
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from imgret_assets.api import service, similar
from imgret_assets.domain.graph import shared_connection
from imgret_assets.domain.models import resolution
from imgret_assets.domain.operations import complete_state
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.settings import ApiSettings, load_settings
from imgret_tests.support.api_server import PartsSearch, client_of
from imgret_tests.support.caught_up import catch_up
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.fake_search import FakeServer
from imgret_tests.support.photos import write_photos
from imgret_tests.support.pictures import write_pictures


@dataclass(frozen=True)
class Served:
    """A home with tables, and the fakes behind the API."""

    home: Home
    embedder: FakeEmbedder
    server: FakeServer
    search: PartsSearch

    def client(self, api: ApiSettings | None = None) -> TestClient:
        return client_of(self.home.settings, api)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Twelve pictures in three families, and a photo with copies; all tables."""
    folder = tmp_path_factory.mktemp("api")
    images = folder / "images"
    images.mkdir()
    write_pictures(images, 12, families=3)
    write_photos(images)
    home = open_home(load_settings({"home": folder / "home", "images": images, "shards": 4, "lock_timeout_s": 10}))
    catch_up(home, FakeEmbedder())
    return home


@pytest.fixture
def served(built: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A copy of the built home."""
    settings = replace(built.settings, home=tmp_path / "served")
    shutil.copytree(built.path, settings.home)
    home = open_home(settings)
    embedder, server, search = FakeEmbedder(), FakeServer(home), PartsSearch()
    # The fake model has no record of its own that a home could remember.
    for module in (resolution, complete_state):
        monkeypatch.setattr(module, "space_of_last_run", lambda _: embedder.space)
    monkeypatch.setattr(shared_connection, "open_database", server.open)
    monkeypatch.setattr(similar, "find_similar", search)
    monkeypatch.setattr(service, "query_embedder", lambda *_: embedder)
    monkeypatch.setattr(service, "search", lambda *_: ([], "index"))
    return Served(home, embedder, server, search)


@pytest.fixture
def client(served: Served) -> Iterator[TestClient]:
    with served.client() as client:
        yield client
