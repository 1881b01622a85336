"""A model without weights, and what it has been asked.

Belongs here: the fake embedder, which needs neither torch nor Dagster. Not here: the Dagster resource that provides it
(`fakes.py`), pictures (`pictures.py`).
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imgret_assets.domain.inference.openvino_engine import OpenVinoEmbedder
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.models.resolution import Model
from imgret_tests.support.pictures import picture


class FakeEmbedder:
    """Embeds a picture as the colours of its 4 x 4 reduction: 48 numbers, alike for alike pictures; counts batches.

    With another `side` than 4 it is a model of another dimension.
    """

    family = "fake"
    batch_size = 8
    forward_s = 0.0

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

    def load(self) -> None:
        """There is nothing to load."""

    def prepare(self, image: Image.Image) -> np.ndarray:
        return self._space.preprocessing.resize_and_crop(image)

    def embed(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(len(batch))
        values = self._space.preprocessing.normalise(batch)
        # Centred, so that cosines spread over -1..1; the offset keeps a grey picture from being zero.
        return (values.reshape(len(batch), -1) - 0.5 + 1e-3).astype(np.float32)

    def stream(self, images: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
        waiting: list[tuple[str, np.ndarray]] = []
        for image in images:
            waiting.append(image)
            if len(waiting) == self.batch_size:
                yield from self._vectors(waiting)
                waiting = []
        if waiting:
            yield from self._vectors(waiting)

    def _vectors(self, images: list[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
        keys, batch = zip(*images, strict=True)
        yield from zip(keys, self.embed(np.stack(batch)), strict=True)


class FailingEmbedder(FakeEmbedder):
    """Gives the pictures of `bad` seeds a vector that has no direction."""

    def __init__(self, bad: Sequence[int], value: float) -> None:
        super().__init__()
        self.bad = [FakeEmbedder().prepare(picture(seed)) for seed in bad]
        self.value = value

    def embed(self, batch: np.ndarray) -> np.ndarray:
        vectors = super().embed(batch)
        for row, prepared in enumerate(batch):
            if any(np.array_equal(prepared, bad) for bad in self.bad):
                vectors[row] = 0.0
                vectors[row, 0] = self.value
        return vectors


class ConvertedEmbedder(FakeEmbedder):
    """Converts a model before its first batch, as OpenVINO's embedder does; only the network is left out."""

    def __init__(self, folder: Path) -> None:
        super().__init__("converted")
        self._conversion = Conversion(Model(self.space, None), folder)

    def load(self) -> None:
        self._conversion.load()


class Conversion(OpenVinoEmbedder):
    """OpenVINO's embedder with an empty file for a network."""

    def convert(self) -> None:
        self.converted.parent.mkdir(parents=True)
        self.converted.touch()

    def compile(self) -> tuple[Any, str]:
        return object(), "float32"


_SIDES = {"small": 3}
_embedders: dict[str, FakeEmbedder] = {}


def fake_embedder(name: str = "fake") -> FakeEmbedder:
    """The embedder of that name in this process; `fakes.FakeEmbedderResource` provides it."""
    return _embedders.setdefault(name, FakeEmbedder(name, _SIDES.get(name, 4)))
