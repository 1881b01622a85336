"""Pictures to vectors: what an embedder is, and the one that runs a model with torch.

Belongs here: devices, precision, batches. Not here: which pictures need a vector (`domain.embed`), models
and weights (`domain.models`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from imgret_assets.domain.models import EmbeddingSpace, Model
from imgret_assets.errors import ModelError, SettingError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bfloat16")
DEFAULT_BATCH_SIZE = 32


class Embedder(Protocol):
    """What turns prepared pictures into vectors of one space."""

    batch_size: int

    @property
    def space(self) -> EmbeddingSpace:
        """The space its vectors are in; known without loading anything."""
        ...

    @property
    def engine(self) -> str:
        """What computes, such as `torch-cpu-float32`; stored with each vector."""
        ...

    def prepare(self, image: Image.Image) -> np.ndarray:
        """An RGB picture as the model's input, float32 (3, height, width); called from several threads."""
        ...

    def embed(self, batch: np.ndarray) -> np.ndarray:
        """Vectors float32 (n, dim) of prepared pictures float32 (n, 3, height, width), not normalised."""
        ...


class TorchEmbedder:
    """Runs a model with torch; loads it once, when the first batch comes."""

    def __init__(
        self, model: Model, *, device: str = "auto", precision: str = "float32", batch_size: int = DEFAULT_BATCH_SIZE
    ) -> None:
        if precision not in PRECISIONS:
            raise SettingError(f"precision is {precision!r}", expected=" or ".join(PRECISIONS))
        if batch_size < 1:
            raise SettingError(f"batch_size is {batch_size}", expected="at least 1")
        self.model = model
        self.precision = precision
        self.batch_size = batch_size
        self._asked_device = device
        self._device: str | None = None
        self._network: torch.nn.Module | None = None

    @property
    def space(self) -> EmbeddingSpace:
        """The model's space."""
        return self.model.space

    @property
    def device(self) -> str:
        """The device in use; asks torch.

        Raises:
            ModelError: the device asked for is not on this machine.
        """
        if self._device is None:
            self._device = choose_device(self._asked_device)
        return self._device

    @property
    def engine(self) -> str:
        """What computes, such as `torch-cpu-float32`."""
        return f"torch-{self.device}-{self.precision}"

    @property
    def loaded(self) -> bool:
        """True once the model is in memory."""
        return self._network is not None

    def prepare(self, image: Image.Image) -> np.ndarray:
        """An RGB picture as the model's input."""
        return self.space.preprocessing.apply(image)

    def embed(self, batch: np.ndarray) -> np.ndarray:
        """Vectors float32 (n, dim) of a batch float32 (n, 3, height, width).

        Raises:
            ModelError: the model gives vectors of another length than its space says.
        """
        import torch

        network = self.load()
        with torch.inference_mode():
            inputs = torch.from_numpy(batch).to(self.device, memory_format=torch.channels_last)
            with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
                outputs = network(inputs)
            vectors = outputs.float().cpu().numpy()
        if vectors.shape != (len(batch), self.space.dim):
            raise ModelError(
                f"{self.space.model} gave an array of shape {vectors.shape}",
                expected=f"({len(batch)}, {self.space.dim})",
            )
        return vectors

    def load(self) -> "torch.nn.Module":
        """The network on its device, built and loaded at the first call."""
        if self._network is None:
            import torch

            network = self.model.build()
            network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._network = network
        return self._network


def choose_device(asked: str) -> str:
    """The device to use: `auto` takes cuda, then mps, then cpu.

    Raises:
        ModelError: the device asked for is not on this machine.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return next(device for device, available in there.items() if available)
    if not there.get(asked, False):
        raise ModelError(
            f"The device {asked!r} is not available on this machine",
            expected="one of " + ", ".join(device for device, available in there.items() if available),
            remedy="set IMGRET_DEVICE=auto",
        )
    return asked


def unusable_vectors(vectors: np.ndarray) -> np.ndarray:
    """True for each row of float32 (n, dim) that has no direction: not finite, or zero."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return ~np.isfinite(norms) | (norms == 0.0)


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


def stack(prepared: Sequence[np.ndarray]) -> np.ndarray:
    """Prepared pictures (3, h, w) as one batch (n, 3, h, w)."""
    return np.stack(prepared)
