"""A home whose tables are built over a few pictures with odd names, for commands that need no database.

Belongs here: the collection and how a command is run over it. Not here: commands that ask the graph (`server/`).
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from imgret_assets.cli.main import imgret
from imgret_assets.cli.support import image_arguments
from imgret_assets.domain.analysis.groups_table import refresh_groups
from imgret_assets.domain.duplicates.duplicates_table import refresh_duplicates
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import write_pictures

THRESHOLD = 0.8
ORIGINAL, EXACT_COPY, NEAR_COPY = "photo.png", "copies/same bytes.png", "copies/a tab\tand a\nbreak.jpg"
BAD_NAME = b"invalid \xff bytes.png"


@dataclass(frozen=True)
class Library:
    """A home with tables, and what it was built from."""

    home: Home
    space: EmbeddingSpace
    embedder: FakeEmbedder

    @property
    def root(self) -> Path:
        return self.home.images

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


def photo(seed: int) -> Image.Image:
    """A picture with enough structure to be told from others."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC)


def write_photos(root: Path) -> None:
    """An original, its two copies, and a file whose name is no UTF-8."""
    (root / "copies").mkdir()
    photo(1).save(root / ORIGINAL)
    shutil.copy(root / ORIGINAL, root / EXACT_COPY)
    photo(1).resize((320, 240), Image.Resampling.LANCZOS).save(root / NEAR_COPY, "JPEG", quality=85)
    with open(bytes(root) + b"/" + BAD_NAME, "wb") as file:  # noqa: PTH123 - the name is bytes
        photo(2).save(file, "PNG")


@pytest.fixture
def library(home: Home, images: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """Twenty pictures in five families, a photo with two copies, and a file that can't be listed by its name."""
    write_pictures(images, 20)
    write_photos(images)
    embedder = FakeEmbedder()
    # The fake model has no record of its own that a home could remember.
    monkeypatch.setattr(image_arguments, "space_of_last_run", lambda _: embedder.space)
    found = Library(home, embedder.space, embedder)
    found.build()
    return found
