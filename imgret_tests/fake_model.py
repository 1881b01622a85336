"""A model without weights, and what it has been asked.

Belongs here: the fake embedder, which needs neither torch nor Dagster. Not here: the Dagster resource that lends it
(`fakes.py`), pictures (`pictures.py`).
"""

import numpy as np
from PIL import Image

from imgret_assets.domain.models import EmbeddingSpace, Preprocessing


class FakeEmbedder:
    """Embeds a picture as the colours of its 4 x 4 reduction: 48 numbers, alike for alike pictures; counts batches."""

    batch_size = 8

    def __init__(self, model: str = "fake") -> None:
        self._space = EmbeddingSpace(model, "0" * 64, Preprocessing((4, 4), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), 48)
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


_lent: dict[str, FakeEmbedder] = {}


def fake_embedder(name: str = "fake") -> FakeEmbedder:
    """The embedder of that name in this process; `fakes.FakeEmbedderResource` lends it."""
    return _lent.setdefault(name, FakeEmbedder(name))
