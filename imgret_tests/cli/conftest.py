"""A home whose tables are built over a few pictures with odd names, for commands that need no database.

Belongs here: the collection and how a command is run over it. Not here: commands that ask the graph (`server/`).
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from imgret_assets.cli.main import imgret
from imgret_assets.domain.analysis.groups_table import refresh_groups
from imgret_assets.domain.duplicates.duplicates_table import refresh_duplicates
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.models import resolution
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.photos import write_photos
from imgret_tests.support.pictures import write_pictures

THRESHOLD = 0.8


@dataclass(frozen=True)
class Library:
    """A home with tables, and what it was built from."""

    home: Home
    space: EmbeddingSpace
    embedder: FakeEmbedder

    @property
    def root(self) -> Path:
        return self.home.images.folder

    def run(self, *arguments: object) -> Result:
        """Run an `imgret` command over it; a failure comes out as its exception."""
        words = [*map(str, arguments), "--home", str(self.home.path)]
        return CliRunner().invoke(imgret, words, standalone_mode=False, catch_exceptions=False)

    def build(self) -> None:
        """Bring the tables up to date."""
        refresh_manifest(self.home)
        refresh_embeddings(self.home, self.embedder)
        refresh_pairs(self.home, self.space.id, THRESHOLD)
        refresh_neighbours(self.home, self.space.id)
        refresh_groups(self.home, self.space.id)
        refresh_duplicates(self.home, self.space.id)


@pytest.fixture
def library(home: Home, images: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """Twenty pictures in five families, a photo with two copies, and a file that can't be listed by its name."""
    write_pictures(images, 20)
    write_photos(images)
    embedder = FakeEmbedder()
    # The fake model has no record of its own that a home could remember.
    monkeypatch.setattr(resolution, "space_of_last_run", lambda _: embedder.space)
    found = Library(home, embedder.space, embedder)
    found.build()
    return found
