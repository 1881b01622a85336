"""The home that tests of the analysis tables share."""

import pytest

from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import write_pictures


@pytest.fixture
def built(home: Home, settled: None) -> Home:
    """A home with 24 images, their embeddings and nearest neighbours."""
    write_pictures(home.images, 24)
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    refresh_neighbours(home, FakeEmbedder().space.id)
    return home
