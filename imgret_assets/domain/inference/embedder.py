"""The embedder: what every engine that turns images into vectors offers.

Belongs here: the interface of engines, and what every caller of one needs. Not here: the engines
(`domain.inference.openvino_engine`, `domain.inference.torch_engine`), choosing one
(`domain.inference.engine_selection`), which images need a vector (`domain.embeddings.embeddings_table`), models and
weights (`domain.models`).
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
    """Turns prepared images into vectors of one space."""

    family: str
    """The engine as the setting IMGRET_ENGINE names it, such as `openvino`; the home records it."""
    batch_size: int
    """Images after which a caller may expect vectors."""
    forward_s: float
    """Seconds of forward passes so far, summed over those that ran at the same time."""

    @property
    def space(self) -> EmbeddingSpace:
        """The space of the vectors; known without loading anything."""
        ...

    @property
    def engine(self) -> str:
        """What computes, such as `openvino-cpu-float32`; stored with each vector. May load the model."""
        ...

    def load(self) -> object:
        """Load the model into memory if it is not there yet; the first batch would load it otherwise."""
        ...

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return an RGB image as an engine takes it, uint8 (height, width, 3). Several threads call this at once."""
        ...

    def embed(self, batch: np.ndarray) -> np.ndarray:
        """Return the vectors float32 (n, dim), not normalised, of prepared images uint8 (n, height, width, 3)."""
        ...

    def stream(self, images: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the vectors float32 (dim,) of prepared images, each with its image's key, in any order.

        It takes no more images than it has room for, so that a slow engine holds back the threads that decode.
        """
        ...


def check_choices(precision: str, batch_size: int) -> None:
    """Refuse a precision and a batch size that no engine has.

    Raises:
        SettingError: the precision is unknown, or the batch size below 1.
    """
    if precision not in PRECISIONS:
        raise SettingError(f"precision is {precision!r}", expected=" or ".join(PRECISIONS))
    if batch_size < 1:
        raise SettingError(f"batch_size is {batch_size}", expected="at least 1")


def embed_one(embedder: Embedder, image: Image.Image) -> np.ndarray:
    """Return the vector float32 (dim,) of one RGB image.

    Raises:
        ModelError: the vector is zero or not finite.
    """
    vector = embedder.embed(embedder.prepare(image)[np.newaxis])[0]
    if unusable_vectors(vector[np.newaxis])[0]:
        raise ModelError(
            f"{embedder.space.model} gives this image a zero or non-finite vector", remedy="use another model"
        )
    return vector
