"""Pictures to vectors: what an embedder is.

Belongs here: the interface of engines and what every caller of one needs. Not here: the engines
(`domain.inference.openvino_engine`, `domain.inference.torch_engine`), choosing one
(`domain.inference.engine_selection`), which pictures need a vector (`domain.embeddings.embeddings_table`), models and
weights (`domain.models.registry`).
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
from PIL import Image

from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.numerics.vectors import unusable_vectors
from imgret_assets.errors import ModelError, SettingError

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
DEFAULT_BATCH_SIZE = 32


class Embedder(Protocol):
    """What turns prepared pictures into vectors of one space."""

    family: str
    """The engine as the setting IMGRET_ENGINE names it, such as `openvino`; the home records it."""
    batch_size: int
    forward_s: float
    """Seconds of forward passes so far, summed over those that ran side by side."""

    @property
    def space(self) -> EmbeddingSpace:
        """The space its vectors are in; known without loading anything."""
        ...

    @property
    def engine(self) -> str:
        """What computes, such as `openvino-cpu-float32`; stored with each vector. May load the model."""
        ...

    def load(self) -> object:
        """Bring the model into memory, which the first vectors would do otherwise."""
        ...

    def prepare(self, image: Image.Image) -> np.ndarray:
        """An RGB picture as an engine takes it, uint8 (height, width, 3); called from several threads."""
        ...

    def embed(self, batch: np.ndarray) -> np.ndarray:
        """Vectors float32 (n, dim) of prepared pictures uint8 (n, height, width, 3), not normalised."""
        ...

    def stream(self, pictures: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
        """Vectors float32 (dim,) of prepared pictures, each with its picture's key, in whatever order they come.

        Takes no more pictures than it has room for, so that a slow engine holds back the threads that decode.
        """
        ...


def check_choices(precision: str, batch_size: int) -> None:
    """Refuse what no engine has.

    Raises:
        SettingError: the precision is unknown, or the batch size below 1.
    """
    if precision not in PRECISIONS:
        raise SettingError(f"precision is {precision!r}", expected=" or ".join(PRECISIONS))
    if batch_size < 1:
        raise SettingError(f"batch_size is {batch_size}", expected="at least 1")


def embed_one(embedder: Embedder, image: Image.Image) -> np.ndarray:
    """Vector float32 (dim,) of one RGB picture.

    Raises:
        ModelError: the model gives it no direction.
    """
    vector = embedder.embed(embedder.prepare(image)[np.newaxis])[0]
    if unusable_vectors(vector[np.newaxis])[0]:
        raise ModelError(
            f"{embedder.space.model} gives this picture a zero or non-finite vector", remedy="use another model"
        )
    return vector
