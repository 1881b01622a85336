"""Networks: what a model family builds, and the layers for pooling and centring that any network can get.

Belongs here: the layers, the forms of a built network and of a built text tower. Not here: architectures
(`domain.models.families`), reading a mean (`domain.models.means`), computing one (`domain.embeddings.mean_centring`),
running a network (`domain.inference`). torch is imported by the functions that need it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.models.text_tokenizer import TextTokenizer
from imgret_assets.errors import ModelError

if TYPE_CHECKING:
    import torch

# Radenović, Tolias and Chum, "Fine-tuning CNN image retrieval with no human annotation", 2018: the mean of the cubes.
# What is below epsilon, and with it everything negative, counts as epsilon.
GEM_POWER = 3.0
GEM_EPSILON = 1e-6


@dataclass(frozen=True)
class BuiltNetwork:
    """A network with its weights.

    Attributes:
        network: maps float32 (n, 3, height, width) to (n, dim).
        preprocessing: the model's own, with full decoding.
        dim: number of components of a vector.
        pooling: `auto` where it is the network's own pooling, whatever it was called.
    """

    network: "torch.nn.Module"
    preprocessing: Preprocessing
    dim: int
    pooling: str


@dataclass(frozen=True)
class BuiltTextTower:
    """A text tower with its weights.

    Attributes:
        network: maps tokens int64 (n, context_length) to vectors (n, dim) of the space of the model's images.
        tokenizer: makes the tokens of a text.
        reference: returns the vectors (n, dim) of texts by the tokenizer and the network of the model's own library.
    """

    network: "torch.nn.Module"
    tokenizer: TextTokenizer
    reference: "Callable[[list[str]], torch.Tensor]"


def pooled_network(network: Any, pooling: str, layout: str) -> "torch.nn.Module":
    """Return a network that pools the last features of another one into vectors (n, channels).

    Args:
        network: gives features float32; by its `forward_features` where it has one.
        pooling: `avg`, or `gem`: the generalised mean with power 3.
        layout: of the features: `NCHW`, `NHWC`, or `tokens:<number of tokens before those of the patches>` for
            (n, tokens, channels).
    """
    import torch

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.features = getattr(network, "forward_features", network)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            features = self.features(inputs)
            # To (n, channels, places).
            if layout == "NCHW":
                features = features.flatten(2)
            elif layout == "NHWC":
                features = features.flatten(1, 2).transpose(1, 2)
            else:
                features = features[:, int(layout.removeprefix("tokens:")) :].transpose(1, 2)
            if pooling == "avg":
                return features.mean(-1)
            return features.clamp(min=GEM_EPSILON).pow(GEM_POWER).mean(-1).pow(1 / GEM_POWER)

    return Pooled()


def centred_network(network: "torch.nn.Module", mean: np.ndarray) -> "torch.nn.Module":
    """Return a network that gives x / |x| - mean for the vectors x of another one; `mean` is float32 (dim,)."""
    import torch

    class Centred(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("mean", torch.from_numpy(mean))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            # In float32 whatever the network computes in. A zero vector becomes NaN, which is refused as a zero vector
            # is. Divided by a least length instead, it would pass as the vector of an image unlike all others.
            vectors = self.network(inputs).float()
            return vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True) - self.mean

    return Centred()


def no_projection_error(model: str, allowed: str) -> ModelError:
    """Return the error for pooling `head` of a model without a projection; `allowed` names the poolings it has."""
    return ModelError(
        f"{model} has no head that projects into a space joint with texts",
        expected=f"as pooling {allowed}",
        remedy="set IMGRET_POOLING=auto, or use a model like timm:vit_base_patch32_clip_224.openai",
    )
