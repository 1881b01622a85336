"""ResNet50 as the article uses it: torchvision's network and weights, the image squeezed to a square.

Belongs here: this model's input, network and usual weights. Not here: downloading the weights
(`domain.models.default_model`).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from imgret_assets.domain.models.model_family import NamedModel
from imgret_assets.domain.models.networks import pooled_network
from imgret_assets.domain.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from imgret_assets.domain.models.weights import load_state, read_state
from imgret_assets.errors import ModelError
from imgret_assets.locations import torch_weights
from imgret_assets.settings import RESNET50_WEIGHTS

if TYPE_CHECKING:
    import torch

# As torchvision names its IMAGENET1K_V1 weights; the digits are the beginning of the file's SHA-256.
WEIGHTS_FILE = RESNET50_WEIGHTS


def cached_weights() -> Path:
    """Return the path at which torch keeps the downloaded weights, without importing torch; they may be missing."""
    return torch_weights(WEIGHTS_FILE)


def find_weights() -> Path:
    """Return the file with the downloaded weights.

    Raises:
        ModelError: it is not on this machine.
    """
    file = cached_weights()
    if not file.is_file():
        raise ModelError(
            f"The weights of resnet50 are not on this machine (looked for {file})",
            remedy="(1) run `imgret setup` where there is a network, which downloads them, "
            f"(2) set IMGRET_WEIGHTS to a copy of {WEIGHTS_FILE}, "
            "or (3) use IMGRET_MODEL=efficientnet_lite0, which needs no network",
        )
    return file


def build_network(file: Path, pooling: str) -> "torch.nn.Module":
    """Build the network without its classifier and load its weights."""
    import torch
    import torchvision

    network = torchvision.models.resnet50(weights=None)
    load_state(network, read_state(file), file)
    *layers, average, _ = network.children()
    if pooling == "gem":
        return pooled_network(torch.nn.Sequential(*layers), "gem", "NCHW")
    # The article's model: all layers but the last; flatten keeps the batch axis where squeeze would remove it.
    return torch.nn.Sequential(*layers, average, torch.nn.Flatten(1))


RESNET50 = NamedModel(
    name="resnet50",
    preprocessing=Preprocessing((224, 224), IMAGENET_MEAN, IMAGENET_STD),
    dim=2048,
    find_weights=find_weights,
    build_network=build_network,
    # The article's model sees every pixel, as in the article.
    auto_decoding="full",
)
