"""A model without weights, and what it has been asked.

Belongs here: the fake embedder, which needs neither torch nor Dagster. Not here: the Dagster resource that lends it
(`fakes.py`), pictures (`pictures.py`).
"""

import numpy as np
from PIL import Image

from imgret_assets.domain.models import EmbeddingSpace, Preprocessing


class FakeEmbedder:
    """Embeds a picture as the colours of its 4 x 4 reduction: 48 numbers, alike for alike pictures; counts batches.

    With another `side` than 4 it is a model of another dimension.
    """

    batch_size = 8

    def __init__(self, model: str = "fake", side: int = 4) -> None:
        preprocessing = Preprocessing((side, side), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        self._space = EmbeddingSpace(model, "0" * 64, preprocessing, 3 * side * side)
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


_SIDES = {"small": 3}
_lent: dict[str, FakeEmbedder] = {}


def fake_embedder(name: str = "fake") -> FakeEmbedder:
    """The embedder of that name in this process; `fakes.FakeEmbedderResource` lends it."""
    return _lent.setdefault(name, FakeEmbedder(name, _SIDES.get(name, 4)))
