"""Small stand-ins that answer and record, for things the project owns.

Belongs here: a model without weights, pictures without files. Not here: a fake Neo4j: the server tests use a
real one.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.domain.embedder import Embedder
from imgret_assets.domain.home import Home
from imgret_assets.domain.models import EmbeddingSpace, Preprocessing


class FakeEmbedder:
    """Embeds a picture as the colours of its 4 x 4 reduction: 48 numbers, alike for alike pictures; counts what it does."""

    batch_size = 8

    def __init__(self, model: str = "fake") -> None:
        self._space = EmbeddingSpace(model, "0" * 64, Preprocessing((4, 4), (0.0,) * 3, (1.0,) * 3), 48)
        self.batches: list[int] = []

    @property
    def space(self) -> EmbeddingSpace:
        return self._space

    @property
    def engine(self) -> str:
        return "fake"

    @property
    def embedded(self) -> int:
        """Pictures embedded so far."""
        return sum(self.batches)

    def prepare(self, image: Image.Image) -> np.ndarray:
        return self._space.preprocessing.apply(image)

    def embed(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(len(batch))
        # Centred, so that cosines spread over -1..1; the offset keeps a grey picture from being zero.
        return (batch.reshape(len(batch), -1) - 0.5 + 1e-3).astype(np.float32)


class FakeEmbedderResource(EmbedderResource):
    """Lends one FakeEmbedder, shared through the class so that a test can count over runs."""

    name: str = "fake"

    def lend(self, home: Home) -> Embedder:
        return fake_embedder(self.name)


_lent: dict[str, FakeEmbedder] = {}


def fake_embedder(name: str = "fake") -> FakeEmbedder:
    """The embedder that `FakeEmbedderResource` lends in this process."""
    return _lent.setdefault(name, FakeEmbedder(name))


def picture(seed: int, size: tuple[int, int] = (40, 30), family: int | None = None) -> Image.Image:
    """An RGB picture of coloured blocks; pictures of one family differ a little, others a lot."""
    base = np.random.default_rng(1000 + (seed if family is None else family)).uniform(0, 255, (4, 4, 3))
    if family is not None:
        base = base + np.random.default_rng(seed).normal(0, 18, base.shape)
    small = Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def picture_bytes(seed: int, *, family: int | None = None, form: str = "PNG") -> bytes:
    """The bytes of `picture` as a file."""
    buffer = io.BytesIO()
    picture(seed, family=family).save(buffer, form)
    return buffer.getvalue()


def write_pictures(root: Path, count: int, *, families: int = 5, start: int = 0) -> list[str]:
    """Write `count` PNG files in `families` folders; their relative paths, in order of their seeds."""
    paths = []
    for seed in range(start, start + count):
        path = f"family{seed % families}/picture{seed:04d}.png"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(picture_bytes(seed, family=seed % families))
        paths.append(path)
    return paths
