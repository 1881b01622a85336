"""The model family: what the registry knows of a model, or of all models whose names have one pattern.

Belongs here: the interface of a family, and the family of one model with a known input. Not here: the families
themselves (`domain.models.families`), the list of them (`domain.models.registry`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from imgret_assets.domain.models.networks import BuiltNetwork, BuiltTextTower, no_projection_error
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.models.weights import file_sha256
from imgret_assets.errors import ModelError

if TYPE_CHECKING:
    import torch


Decoding = Literal["full", "scaled"]
WeightsState = Literal["here", "missing", "at the hub"]
"""On this machine, not to be found, or not on this machine but fetched when they are used."""


@dataclass(frozen=True)
class Definition:
    """What a model contributes to its embedding space; the attributes are those of `EmbeddingSpace`."""

    preprocessing: Preprocessing
    dim: int
    pooling: str
    weights_sha256: str


class ModelFamily(ABC):
    """The models of one name or pattern of names: how they are found, defined and built.

    Attributes:
        auto_decoding: what IMGRET_DECODING=auto means.
        has_text_tower: whether texts have vectors in the space of the images' vectors.
    """

    auto_decoding: Decoding
    has_text_tower: bool = False

    @property
    @abstractmethod
    def pattern(self) -> str:
        """The name or pattern, as messages show it."""

    @abstractmethod
    def matches(self, name: str) -> bool:
        """Return whether a model of this name belongs to the family."""

    @abstractmethod
    def usual_weights(self, name: str) -> Path | None:
        """Return the weights file of a model for which the user named none; None where a library fetches the weights.

        Raises:
            ModelError: the weights are not on this machine; the remedy says how to get them.
        """

    @abstractmethod
    def usual_weights_state(self, name: str) -> WeightsState:
        """Return where those weights are, without importing torch.

        Raises:
            ModelError: they are missing.
        """

    @abstractmethod
    def define(self, name: str, weights: Path | None, pooling: str) -> Definition:
        """Return what the model contributes to its embedding space.

        Args:
            name: the model's name.
            weights: its weights file; None where a library fetches the weights.
            pooling: `auto` for the network's own, `avg` or `gem` over its last features, `head` for the projection into
                the space that a model like CLIP shares between images and texts.

        Raises:
            ModelError: the weights can't be loaded, or the model has no such pooling.
        """

    @abstractmethod
    def build(self, name: str, weights: Path | None, pooling: str) -> BuiltNetwork:
        """Build the network and load its weights; arguments and errors are those of `define`."""

    def defining_files(self, name: str, weights: Path | None) -> list[Path]:
        """Return the files that define the model, by whose change its space is noticed to be another."""
        del name
        return [] if weights is None else [weights]

    def build_text_tower(self, name: str, weights: Path | None) -> BuiltTextTower:
        """Build the text tower of a family that has text towers, and load its weights.

        Raises:
            ModelError: the weights can't be loaded, or the family has none.
        """
        del weights
        raise ModelError(f"{name} has no text tower")


@dataclass(frozen=True)
class NamedModel(ModelFamily):
    """One model whose input and vectors are known without loading it, and whose network averages its last features.

    Attributes:
        name: as a user writes it.
        preprocessing: the model's own, with full decoding.
        dim: number of components of a vector.
        find_weights: returns the file with the usual weights, or raises a ModelError whose remedy says how to get it.
        build_network: builds the network from a weights file and a pooling, `auto` or `gem`; it maps float32
            (n, 3, height, width) to (n, dim).
        auto_decoding: what IMGRET_DECODING=auto means.
    """

    name: str
    preprocessing: Preprocessing
    dim: int
    find_weights: Callable[[], Path]
    build_network: "Callable[[Path, str], torch.nn.Module]"
    auto_decoding: Decoding = "scaled"

    @property
    def pattern(self) -> str:
        """The model's name."""
        return self.name

    def matches(self, name: str) -> bool:
        """Return whether it is this model's name."""
        return name == self.name

    def usual_weights(self, name: str) -> Path:
        """Return the weights file of the model."""
        del name
        return self.find_weights()

    def usual_weights_state(self, name: str) -> WeightsState:
        """Return the state `here`: the weights are on this machine. Raise an error where they are not."""
        self.usual_weights(name)
        return "here"

    def define(self, name: str, weights: Path | None, pooling: str) -> Definition:
        """Return what the model contributes to its embedding space; only the weights file is hashed."""
        file = weights or self.usual_weights(name)
        return Definition(self.preprocessing, self.dim, self._pooling(pooling), file_sha256(file))

    def build(self, name: str, weights: Path | None, pooling: str) -> BuiltNetwork:
        """Build the network and load its weights."""
        pooling = self._pooling(pooling)
        network = self.build_network(weights or self.usual_weights(name), pooling)
        return BuiltNetwork(network, self.preprocessing, self.dim, pooling)

    def _pooling(self, pooling: str) -> str:
        """Return `auto` where the network's own pooling is named: then both names give one space."""
        if pooling == "head":
            raise no_projection_error(self.name, "auto, avg or gem")
        return "auto" if pooling == "avg" else pooling
